"""What was found, as an image (`draw`), as one object (`records`), as files (`formats`). Never torch."""
