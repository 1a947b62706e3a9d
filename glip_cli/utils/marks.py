"""Marks in files that glip wrote, so that its images are not taken for a user's."""

from __future__ import annotations

from pathlib import Path

MARK = b"glip: "
"""What the comment in each JPEG of glip begins with."""
_HEAD_BYTES = 1000  # in which Pillow puts it

_RECORD = b'"schema": "glip/'


def is_marked(path: Path) -> bool:
    """Raises OSError."""
    with path.open("rb") as stream:
        return MARK in stream.read(_HEAD_BYTES)


def holds_records(path: Path) -> bool:
    """Whether it is a file of glip's records. Raises OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _RECORD in stream.read(_HEAD_BYTES)
