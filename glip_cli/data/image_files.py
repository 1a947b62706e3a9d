"""Where the images of an annotation file lie."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, TypeVar

from PIL import Image, TiffImagePlugin

from glip_cli.data.dataset import Dataset, ImageRow, Size, url_parts
from glip_cli.data.disk import no_answer
from glip_cli.data.image_io import read_image
from glip_cli.data.issues import DataIssue
from glip_cli.data.pillow import open_image, quiet
from glip_cli.errors import DataError, ImageError
from glip_cli.utils.threads import READ_SECONDS, within


@dataclass(frozen=True)
class FoundImages:
    """Image id -> its file; and for each that has none, image id -> one line that names it and says why."""

    paths: dict[int, Path]
    missing: dict[int, str]


def find_images(dataset: Dataset, folder: Path | None = None) -> FoundImages:
    """The file of each image: folder/file_name; else as its coco_url ends; else by its base name below the folder.

    Files that the reader of the set knows need no search. A base name counts only where one file and one image have it;
    of several files, the one whose path ends as `file_name` does. Nothing is guessed beyond that, and no name leads out
    of the folder. Raises DataError where there is no such folder.
    """
    folder = folder or dataset.folder
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the one that holds the images")
    images, known = dataset.images, dataset.paths
    paths = {image.id: path for image in images if (path := known.get(image.id) or _direct(image, folder))}
    lost = [image for image in images if image.id not in paths]
    below = _files_below(folder) if lost else {}
    shared_names = Counter(_base(image) for image in images)
    missing: dict[int, str] = {}
    for image in lost:
        match = _matches(image, below, shared_names)
        if len(match) == 1:
            paths[image.id] = match[0]
        else:
            missing[image.id] = f"{image.file_name or f'image {image.id}'}: {_why_missing(match, image, folder)}"
    return FoundImages(paths, missing)


def inside(folder: Path, name: str) -> Path | None:
    """The place in a folder that an annotation file names; None where the name leads out of it.

    Absolute names and `..` may lead anywhere and are followed only where they stay inside. A link that lies in the
    folder is followed wherever it leads: whoever has the folder made it.
    """
    root = os.path.abspath(folder)
    path = os.path.normpath(os.path.join(root, name))
    return folder / os.path.relpath(path, root) if path.startswith(os.path.join(root, "")) else None


def _direct(image: ImageRow, folder: Path) -> Path | None:
    url = url_parts(image.coco_url)
    names = [image.file_name, "/".join(url[-2:]), "/".join(url[-1:])]
    candidates = (path for name in names if name and (path := inside(folder, name)))
    # os.path's takes a name that no file can have for absent; Path's raises
    return next((path for path in candidates if os.path.isfile(path)), None)


def _base(image: ImageRow) -> str:
    return PurePosixPath(image.file_name).name


def _files_below(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            found.setdefault(name, []).append(Path(place, name))
    return found


def _matches(image: ImageRow, below: Mapping[str, list[Path]], shared_names: Mapping[str, int]) -> list[Path]:
    files = below.get(_base(image), [])
    parts = PurePosixPath(image.file_name).parts
    exact = [path for path in files if path.parts[-len(parts) :] == parts]
    if len(exact) == 1:
        return exact
    return files if shared_names[_base(image)] == 1 or len(files) != 1 else []


def _why_missing(match: Sequence[Path], image: ImageRow, folder: Path) -> str:
    if match:
        return f"{len(match)} files below {folder} have this name"
    if image.file_name and inside(folder, image.file_name) is None:
        return f"the name leads out of {folder}, and no file in it is called so"
    return f"no such file in {folder}"


T = TypeVar("T")
_ORIENTATION_TAG = 0x0112
TURNED = range(5, 9)  # EXIF orientations that lay the image on its side
_TAIL = 65_536  # bytes at the end in which the mark of the end is looked for: some cameras write more behind it
_JPEG_END = b"\xff\xd9"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TURNING = (b"Raw profile type", b"XML:com.adobe.xmp")  # keywords of texts that may hold an orientation
_TIFF_PARTS = ((273, 279), (324, 325))  # tags of the offsets and lengths of strips, and of tiles


def open_images(dataset: Dataset) -> tuple[dict[int, Path], dict[int, Size]]:
    """Image id -> file and upright size, for those that are there and whole; the others are issues of the set.

    Raises DataError where there is no folder of images, UnavailableError where the disk of one does not answer.
    """
    found = find_images(dataset)
    known = {**dataset.sizes, **whole_sizes(path for path in found.paths.values() if path not in dataset.sizes)}
    paths, sizes = {}, {}
    for row in dataset.images:
        path = found.paths.get(row.id)
        if path is None:
            dataset.issues.add(DataIssue.IMAGE_MISSING, found.missing[row.id])
        elif isinstance(size := known[path], str):
            dataset.issues.add(DataIssue.IMAGE_UNREADABLE, size)
        else:
            paths[row.id], sizes[row.id] = path, size
    return paths, sizes


class Header(NamedTuple):
    """What a file says of itself: (width, height) once it is upright, and EXIF's orientation."""

    size: Size
    orientation: int


def whole_sizes(paths: Iterable[Path]) -> dict[Path, Size | str]:
    """The sizes that `read_image` finds; of what it cannot decode, why. Raises UnavailableError as `read_headers`."""
    return _of_each(paths, _whole_size)


def read_headers(paths: Iterable[Path]) -> dict[Path, Header]:
    """Of those that are images, whole or not. Raises UnavailableError where the disk of one does not answer."""
    headers = _of_each(paths, _header)
    return {path: header for path, header in headers.items() if header}


def _of_each(paths: Iterable[Path], function: Callable[[Path], T]) -> dict[Path, T]:
    """All in one other thread: one for each would take a third as long as reading its header."""
    wanted = dict.fromkeys(paths)  # many captions share an image
    found: dict[Path, T] = {}

    def read() -> None:
        for path in wanted:
            found[path] = function(path)

    try:
        within(READ_SECONDS, read, filled=found)
    except TimeoutError:
        raise no_answer(next(path for path in wanted if path not in found)) from None
    return found


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
        return _opened(path, whole) if path.is_file() else None  # a pipe may never say a word
    except Exception:  # damaged headers make decoders raise anything
        return None


def _opened(path: Path, whole: bool) -> Header | None:
    with quiet(), path.open("rb") as stream, open_image(stream) as image:
        is_whole = _is_whole(image, stream)
        if whole and not is_whole:
            return None
        # Pillow decodes a PNG to look for EXIF behind its data
        orientation = 1 if is_whole and image.format == "PNG" else image.getexif().get(_ORIENTATION_TAG, 1)
        return Header(image.size[::-1] if orientation in TURNED else image.size, orientation)


def _is_whole(image: Image.Image, stream: BinaryIO) -> bool:
    """False also where that is not known. The stream is left where Pillow left it."""
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
