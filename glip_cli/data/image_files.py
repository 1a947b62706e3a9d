"""Whether the pictures of a training set are there, and how large they are: their headers, not their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glip_cli.data.image_search import FoundImages
from glip_cli.data.issues import Fault, Tally
from glip_cli.data.rows import ImageRow
from glip_cli.pillow import open_image, quiet
from glip_cli.threads import READ_SECONDS, within

_ORIENTATION_TAG = 0x0112
_TURNED = range(5, 9)  # EXIF orientations that lay the picture on its side


@dataclass(frozen=True)
class Picture:
    """A file, and its width and height in pixels once it is upright."""

    path: Path
    width: int
    height: int


def open_pictures(rows: Sequence[ImageRow], found: FoundImages, tally: Tally) -> dict[int, Picture]:
    """Image id -> picture, for those that are there and can be opened."""
    sizes: dict[Path, tuple[int, int] | None] = {}  # many captions share a picture
    pictures: dict[int, Picture] = {}
    for row in rows:
        path = found.paths.get(row.id)
        if path is None:
            tally.add(Fault.IMAGE_MISSING, found.missing[row.id])
            continue
        if path not in sizes:
            sizes[path] = upright_size(path)
        size = sizes[path]
        if size is None:
            tally.add(Fault.IMAGE_UNREADABLE, str(path))
            continue
        if row.width and row.height and (row.width, row.height) != size:
            tally.add(Fault.IMAGE_SIZE, f"{path}: {size[0]} x {size[1]}, stated {row.width} x {row.height}")
        pictures[row.id] = Picture(path, *size)
    return pictures


def upright_size(path: Path) -> tuple[int, int] | None:
    """(width, height) as `glip_cli.image.read_image` will find them, from the header; None where it is no picture."""
    try:
        return within(READ_SECONDS, _upright_size, path)
    except Exception:  # damaged headers make decoders raise anything
        return None


def _upright_size(path: Path) -> tuple[int, int]:
    if not path.is_file():  # a pipe may never say a word
        raise FileNotFoundError(path)
    with quiet(), path.open("rb") as stream, open_image(stream) as image:
        turned = image.getexif().get(_ORIENTATION_TAG) in _TURNED
        return (image.height, image.width) if turned else image.size
