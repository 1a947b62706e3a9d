"""Whether the images of a data set are there and whole, and how large: mostly without decoding them.

The header says the size, and the end of a file whether it is cut short. Where the end is not as it should be, or of a
kind that is not known here, the image is decoded: what `read_image` takes is an image, and nothing else is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, TiffImagePlugin

from glip_cli.data.image_search import FoundImages
from glip_cli.data.issues import Fault, Tally
from glip_cli.data.rows import ImageRow
from glip_cli.errors import ImageError
from glip_cli.image import read_image
from glip_cli.pillow import open_image, quiet
from glip_cli.threads import READ_SECONDS, within

_ORIENTATION_TAG = 0x0112
TURNED = range(5, 9)  # EXIF orientations that lay the image on its side
_TAIL = 65_536  # bytes at the end in which the mark of the end is looked for: some cameras write more behind it
_JPEG_END = b"\xff\xd9"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TURNING = (b"Raw profile type", b"XML:com.adobe.xmp")  # keywords of texts that may hold an orientation
_TIFF_PARTS = ((273, 279), (324, 325))  # tags of the offsets and lengths of strips, and of tiles


@dataclass(frozen=True)
class Picture:
    """A file, and its width and height in pixels once it is upright."""

    path: Path
    width: int
    height: int


def open_pictures(
    rows: Sequence[ImageRow], found: FoundImages, tally: Tally, known: Mapping[Path, tuple[int, int]] | None = None
) -> dict[int, Picture]:
    """Image id -> image, for those that are there and whole; `known` are sizes that need not be measured again."""
    sizes: dict[Path, tuple[int, int] | str] = dict(known or {})  # many captions share an image
    pictures: dict[int, Picture] = {}
    for row in rows:
        path = found.paths.get(row.id)
        if path is None:
            tally.add(Fault.IMAGE_MISSING, found.missing[row.id])
            continue
        size = sizes[path] if path in sizes else sizes.setdefault(path, _measured(path))
        if isinstance(size, str):
            tally.add(Fault.IMAGE_UNREADABLE, size)
            continue
        pictures[row.id] = Picture(path, *size)
    return pictures


def _measured(path: Path) -> tuple[int, int] | str:
    """The size, or why there is none."""
    try:
        return whole_size(path)
    except ImageError as error:
        return str(error)


class Header(NamedTuple):
    """What a file says of itself: (width, height) once it is upright, and EXIF's orientation."""

    size: tuple[int, int]
    orientation: int


def whole_size(path: Path) -> tuple[int, int]:
    """`upright_size` of an image that is whole.

    Raises:
        ImageError: there is no such file, or it cannot be decoded.
    """
    header = read_header(path, whole=True)
    return header.size if header else read_image(path).size


def upright_size(path: Path) -> tuple[int, int] | None:
    """(width, height) as `glip_cli.image.read_image` finds them, from the header; None where it is no image."""
    header = read_header(path)
    return header.size if header else None


def read_header(path: Path, whole: bool = False) -> Header | None:
    """None where it is no image; with `whole`, also where the file may be cut short."""
    try:
        return within(READ_SECONDS, _header, path, whole)
    except Exception:  # damaged headers make decoders raise anything
        return None


def _header(path: Path, whole: bool) -> Header | None:
    if not path.is_file():  # a pipe may never say a word
        return None
    with quiet(), path.open("rb") as stream, open_image(stream) as image:
        is_whole = _is_whole(image, stream)
        if whole and not is_whole:
            return None
        # Pillow decodes a PNG to look for EXIF behind its data
        orientation = 1 if is_whole and image.format == "PNG" else image.getexif().get(_ORIENTATION_TAG, 1)
        return Header(image.size[::-1] if orientation in TURNED else image.size, orientation)


def _is_whole(image: Image.Image, stream: BinaryIO) -> bool:
    """False also where it cannot be told. The stream is left where Pillow left it."""
    check = _CHECKS.get(image.format or "")
    begin = stream.tell()
    try:
        return check is not None and check(image, stream, os.fstat(stream.fileno()).st_size)
    finally:
        stream.seek(begin)


def _jpeg(image: Image.Image, stream: BinaryIO, size: int) -> bool:
    """Compressed data never holds the mark of the end; a thumbnail before it may."""
    begin = stream.tell()  # of the data: Pillow has read the headers
    return any(_JPEG_END in _tail(stream, max(size - length, begin)) for length in (len(_JPEG_END), _TAIL))


def _tail(stream: BinaryIO, begin: int) -> bytes:
    stream.seek(begin)
    return stream.read()


def _png(image: Image.Image, stream: BinaryIO, size: int) -> bool:
    """Whether all chunks are there; False also where one of them may tell how the image is turned."""
    place = 8
    while place < size:
        stream.seek(place)
        length, name = int.from_bytes(stream.read(4), "big"), stream.read(4)
        if name == b"eXIf" or (name in _PNG_TEXTS and stream.read(20).startswith(_TURNING)):
            return False
        place += 12 + length
        if name == b"IEND":
            return place <= size
    return False


def _webp(image: Image.Image, stream: BinaryIO, size: int) -> bool:
    stream.seek(4)
    return int.from_bytes(stream.read(4), "little") + 8 <= size


def _bmp(image: Image.Image, stream: BinaryIO, size: int) -> bool:
    stream.seek(2)
    return 0 < int.from_bytes(stream.read(4), "little") <= size


def _tiff(image: Image.Image, stream: BinaryIO, size: int) -> bool:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    ends = [a + b for i, j in _TIFF_PARTS for a, b in zip(tags.get(i, ()), tags.get(j, ()), strict=True)]
    return bool(ends) and max(ends) <= size


_CHECKS: Mapping[str, Callable[[Image.Image, BinaryIO, int], bool]] = {
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
}
