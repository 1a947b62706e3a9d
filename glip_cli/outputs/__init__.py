"""What was found, as a picture (`draw`), as one object (`records`), as files (`formats`). Never torch."""
