"""The sizes and orientations of images by the headers of their files, and whether these are whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from PIL import Image, TiffImagePlugin

from glip_cli.data.dataset import Size
from glip_cli.data.disk import no_answer
from glip_cli.data.image_io import ORIENTATION_TAG, read_image
from glip_cli.data.pillow import open_image, quiet
from glip_cli.errors import ImageError
from glip_cli.utils.threads import READ_SECONDS, within

T = TypeVar("T")
TURNED = range(5, 9)  # EXIF orientations that lay the image on its side
_TAIL = 65_536  # bytes at the end in which the mark of the end is looked for: some cameras write more behind it
_JPEG_END = b"\xff\xd9"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TURNING = (b"Raw profile type", b"XML:com.adobe.xmp")  # keywords of texts that may hold an orientation
_TIFF_PARTS = ((273, 279), (324, 325))  # tags of the offsets and lengths of strips, and of tiles


class Header(NamedTuple):
    """From the header of an image: (width, height) when upright, and EXIF's orientation."""

    size: Size
    orientation: int


def whole_sizes(paths: Iterable[Path]) -> dict[Path, Size | str]:
    """The sizes that `read_image` finds; of what it cannot decode, why. Raises UnavailableError as `read_headers`."""
    return _of_each(paths, _whole_size)


def read_headers(paths: Iterable[Path]) -> dict[Path, Header]:
    """The headers of the files that are images, complete or not. Raises UnavailableError for a disk that fails."""
    headers = _of_each(paths, _header)
    return {path: header for path, header in headers.items() if header}


def _of_each(paths: Iterable[Path], function: Callable[[Path], T]) -> dict[Path, T]:
    """All in one other thread: one for each would take a third as long as reading its header."""
    unique_paths = dict.fromkeys(paths)  # many captions share an image
    results: dict[Path, T] = {}

    def read() -> None:
        for path in unique_paths:
            results[path] = function(path)

    try:
        within(READ_SECONDS, read, filled=results)
    except TimeoutError:
        raise no_answer(next(path for path in unique_paths if path not in results)) from None
    return results


def _whole_size(path: Path) -> Size | str:
    if header := _header(path, whole=True):
        return header.size
    try:
        return read_image(path).size
    except ImageError as error:
        return str(error)


def _header(path: Path, whole: bool = False) -> Header | None:
    """None where it is no image; with `whole`, also where the file may be cut short."""
    try:
        if not path.is_file():  # a pipe may never say a word
            return None
        with quiet(), path.open("rb") as stream, open_image(stream) as image:
            is_whole = _is_whole(image, stream)
            if whole and not is_whole:
                return None
            # Pillow decodes a PNG to look for EXIF behind its data
            orientation = 1 if is_whole and image.format == "PNG" else image.getexif().get(ORIENTATION_TAG, 1)
            return Header(image.size[::-1] if orientation in TURNED else image.size, orientation)
    except Exception:  # damaged headers make decoders raise anything
        return None


def _is_whole(image: Image.Image, stream: BinaryIO) -> bool:
    """False also where that is not known. The stream is left where Pillow left it."""
    check = _CHECKS.get(image.format or "")
    begin = stream.tell()
    try:
        return check is not None and check(image, stream, os.fstat(stream.fileno()).st_size)
    finally:
        stream.seek(begin)


def _read(stream: BinaryIO, offset: int, size: int = -1) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def _jpeg(image: Image.Image, stream: BinaryIO, size: int) -> bool:
    """Compressed data never holds the mark of the end; a thumbnail before it may."""
    begin = stream.tell()  # of the data: Pillow has read the headers
    return any(_JPEG_END in _read(stream, max(size - length, begin)) for length in (len(_JPEG_END), _TAIL))


def _png(image: Image.Image, stream: BinaryIO, size: int) -> bool:
    """Whether all chunks are there; False also where one of them may tell how the image is turned."""
    offset = 8
    while offset < size:
        head = _read(stream, offset, 8)
        name = head[4:]
        if name == b"eXIf" or (name in _PNG_TEXTS and stream.read(20).startswith(_TURNING)):
            return False
        offset += 12 + int.from_bytes(head[:4], "big")
        if name == b"IEND":
            return offset <= size
    return False


def _tiff(image: Image.Image, stream: BinaryIO, size: int) -> bool:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    ends = [a + b for i, j in _TIFF_PARTS for a, b in zip(tags.get(i, ()), tags.get(j, ()), strict=True)]
    return bool(ends) and max(ends) <= size


def _stated(stream: BinaryIO, offset: int) -> int:
    """The length of the file as it says it there."""
    return int.from_bytes(_read(stream, offset, 4), "little")


_CHECKS: Mapping[str, Callable[[Image.Image, BinaryIO, int], bool]] = {
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "PNG": _png,
    "WEBP": lambda image, stream, size: _stated(stream, 4) + 8 <= size,
    "BMP": lambda image, stream, size: 0 < _stated(stream, 2) <= size,
    "TIFF": _tiff,
}
