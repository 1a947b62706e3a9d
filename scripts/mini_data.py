"""The small vocabulary of glip-mini: `python scripts/mini_data.py` writes it into the package."""

from __future__ import annotations

import string
from pathlib import Path

from glip_cli.data.synthetic import COLOURS, PATTERNS, SEEN, SHAPES, SIZES

__all__ = ["SEEN", "VOCABULARY", "vocabulary"]

VOCABULARY = Path(__file__).parents[1] / "glip_cli" / "assets" / "glip-mini" / "vocab.txt"


def vocabulary() -> list[str]:
    """Word pieces: the words of the scenes, some that tie them together, and every ASCII letter for all others."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [
        *SHAPES,
        *COLOURS,
        *PATTERNS,
        *SIZES,
        *["a", "an", "the", "and", "on", "of", "in", "is", "next", "to", "above", "two", "large"],
    ]
    letters = string.digits + string.ascii_lowercase
    return [*special, *words, *string.punctuation, *letters, *(f"##{c}" for c in letters), "thing", "things"]


if __name__ == "__main__":
    VOCABULARY.write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
