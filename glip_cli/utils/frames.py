"""Frames of videos and of files with several images: what they are called, and which video they are of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_FRAME = re.compile(r"#frame=(\d{1,9})$")


@dataclass(frozen=True, eq=False)
class Clip:
    """A video, each time that it is read; `rate` in frames per second, of those that are chosen."""

    name: str
    rate: Fraction


def frame_name(file_name: str, number: int) -> str:
    """`scan.tif#frame=2`, the third of the file."""
    return f"{file_name}#frame={number}"


def split_frame(name: str) -> tuple[str, int | None]:
    """The file's name and the frame's number, from 0; None where the name is that of a whole file."""
    match = _FRAME.search(name)
    return (name[: match.start()], int(match[1])) if match else (name, None)
