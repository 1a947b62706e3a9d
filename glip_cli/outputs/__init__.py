"""Outputs: images (`draw`), records (`records`), files (`formats`). Never imports torch."""
