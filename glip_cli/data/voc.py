"""Folders of Pascal VOC: one xml per image, in Annotations/ or in the folder itself, at any depth.

The xml may be in any encoding. No DTD is fetched, and a file that declares entities is not read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

from glip_cli.data.dataset import Annotation, Category, Dataset, ImageRow, new_annotation
from glip_cli.data.image_files_below import images_below
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import read_bytes, read_text, stated_size, text_numbers
from glip_cli.errors import DataError
from glip_cli.utils.text_format import encoding_of

_FOLDER = "Annotations"
_LISTS = {"train": ("train", "trainval")}
_IMAGES = ("JPEGImages", "images")


def is_voc(path: Path) -> bool:
    """Whether a folder holds xml files where VOC has them."""
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    below = path / _FOLDER
    files = (below.rglob("*") if below.is_dir() else ()), (path.iterdir() if path.is_dir() else ())
    found = (sorted(filter(_is_xml, one), key=lambda file: file.parts) for one in files)
    return next(filter(None, found), [])


def _is_xml(file: Path) -> bool:
    return file.suffix.lower() == ".xml" and not file.name.startswith(".")


def read_voc(path: Path, images: Path | None, split: str, issues: Issues) -> Dataset:
    """The boxes of the xml files that ImageSets/Main lists for the split, or of all where it has no such list.

    Classes are in alphabetical order, or as labels.txt lists them.

    Raises:
        DataError: the list has none of the files, or none can be read; says why not the first.
    """
    files, listed = _files(path), _list_of(path, split)
    chosen = _listed(files, listed, issues) if listed else files
    if not chosen:
        raise DataError(f"{path}: ImageSets/Main lists none of the xml files for '{split}'; correct the list")
    read = _read(chosen, issues)
    places = _Places(images or _image_folder(path), read)
    named = [places.of(one) for one in read]
    if images is None and len(chosen) == len(files):
        places.count_unused({file for _, file in named if file}, issues)
    numbers = {name: i for i, name in enumerate(_names(path, read), 1)}
    return Dataset(
        path.name,
        tuple(ImageRow(i, name, *one.size) for i, (one, (name, _)) in enumerate(zip(read, named, strict=True), 1)),
        tuple(Category(number, name) for name, number in numbers.items()),
        tuple(_annotations(read, numbers, issues)),
        places.folder,
        issues,
        paths={i: file for i, (_, file) in enumerate(named, 1) if file},
        is_part=listed is not None,
    )


def _list_of(path: Path, split: str) -> Path | None:
    lists = (path / "ImageSets" / "Main" / f"{name}.txt" for name in _LISTS.get(split, (split,)))
    return next((file for file in lists if file.is_file()), None)


def _listed(files: Sequence[Path], listed: Path, issues: Issues) -> Sequence[Path]:
    stems = {line.split()[0] for line in read_text(listed).splitlines() if line.strip()}
    for file in files:
        if file.stem not in stems:
            issues.add(DataIssue.IMAGE_OTHER, f"{file}: not in {listed}")
    return [file for file in files if file.stem in stems]


def _read(files: Sequence[Path], issues: Issues) -> list[VocFile]:
    read, unread = [], []
    for file in files:
        try:
            read.append(read_voc_xml(file, issues))
        except DataError as error:
            unread.append(str(error))
            issues.add(DataIssue.FILE_UNREADABLE, unread[0])
    if not read:
        raise DataError(unread[0])
    return read


def _names(path: Path, read: Sequence[VocFile]) -> list[str]:
    used = {thing.name for one in read for thing in one.objects}
    listed = path / "labels.txt"
    given = [line.strip() for line in read_text(listed).splitlines() if line.strip()] if listed.is_file() else []
    return [*dict.fromkeys(given), *sorted(used - set(given))]


def _annotations(read: Sequence[VocFile], numbers: Mapping[str, int], issues: Issues) -> Iterator[Annotation]:
    count = 0
    for image_id, one in enumerate(read, 1):
        for name, bbox, is_difficult in one.objects:
            try:
                yield new_annotation(count + 1, image_id, numbers[name], bbox, is_difficult)
                count += 1
            except DataError as error:
                issues.add(DataIssue.BOX_FORM, f"{one.file}: {error}")


def _image_folder(path: Path) -> Path:
    folders = (root / name for root in (path, path.parent) for name in _IMAGES)
    return next((folder for folder in folders if folder.is_dir()), path)


class _Places:
    """The image of each xml: of the name that the xml gives; else of that stem; else of the xml's own stem.

    A name that several xml files of a folder give, as copies do, says nothing.
    """

    def __init__(self, folder: Path, read: Sequence[VocFile]) -> None:
        self.folder = folder
        self._names: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for path in images_below(folder):
            self._names.setdefault(path.name, []).append(path)
            self._stems.setdefault(path.stem, []).append(path)
        self._given = Counter((one.file.parent, one.image) for one in read)

    def of(self, one: VocFile) -> tuple[str, Path | None]:
        """Its name, and its file if there is one."""
        own = one.file.stem
        stated = one.image if self._given[one.file.parent, one.image] == 1 else ""
        by_stem = self._stems.get(stated) or self._stems.get(PurePosixPath(stated).stem) or self._stems.get(own)
        file = self._nearest(self._names.get(stated) or by_stem or [], one.file)
        return (file.relative_to(self.folder).as_posix(), file) if file else (stated or own, None)

    def _nearest(self, files: Sequence[Path], xml: Path) -> Path | None:
        """Of several the one in the folder that the xml's is called as; None where that does not decide."""
        if len(files) < 2:
            return files[0] if files else None
        inner = xml.parent.parts[xml.parent.parts.index(_FOLDER) + 1 :] if _FOLDER in xml.parent.parts else ()
        alike = [file for file in files if file.parent.relative_to(self.folder).parts == inner]
        return alike[0] if len(alike) == 1 else None

    def count_unused(self, used: set[Path], issues: Issues) -> None:
        for path in chain.from_iterable(self._stems.values()):
            if path not in used:
                issues.add(DataIssue.IMAGE_UNLISTED, str(path))


_DECLARATION = re.compile(r"\s*<\?xml[^>]*?(?:encoding\s*=\s*[\"']([\w.:-]+)[\"'][^>]*?)?\?>")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FALSE = ("", "0", "false", "no", "unspecified")


class VocObject(NamedTuple):
    """`bbox` is [x, y, width, height] in pixels."""

    name: str
    bbox: list[float]
    is_difficult: bool


@dataclass(frozen=True)
class VocFile:
    """
    Attributes:
        image: the name of the image as the xml gives it, without folders, which may be those of another computer.
        size: (width, height) of the image as the xml states it; (None, None) where it states none, or 0 x 0.
    """

    file: Path
    image: str
    size: tuple[int, int] | tuple[None, None]
    objects: tuple[VocObject, ...]


def read_voc_xml(file: Path, issues: Issues) -> VocFile:
    """Objects without four corners are counted. Raises DataError where it is no xml."""
    root = _root(file)
    name = _text_of(root, "filename").replace("\\", "/").rstrip("/").rpartition("/")[2]
    size = stated_size(root.findtext("size/width") or "", root.findtext("size/height") or "")
    return VocFile(file, name, size, tuple(_objects(root, file, issues)))


def _root(file: Path) -> ElementTree.Element:
    """Raises DataError."""
    data = read_bytes(file)
    try:
        text = _text(data)
        if "<!ENTITY" in text:  # a few lines of them can unfold to gigabytes, or name files of this machine
            raise DataError(f"{file}: declares entities, which are not expanded; write it without them")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file}: not a whole xml file ({' '.join(str(error).split())}); write it again") from None


def _text(data: bytes) -> str:
    """Without the declaration, which names encodings that the parser does not know. Raises ValueError, LookupError."""
    declared = _DECLARATION.match(data[:200].decode("ascii", "replace"))
    text = data.decode(encoding_of(data, (declared and declared[1]) or "utf-8"))
    declaration = _DECLARATION.match(text)
    return text[declaration.end() :] if declaration else text


def _objects(root: ElementTree.Element, file: Path, issues: Issues) -> Iterator[VocObject]:
    """Corners count from 1, and xmax and ymax are the last pixel: one past it is as many from 0."""
    origin = 0 if _counts_from_0(root) else 1
    for i, thing in enumerate(root.iter("object"), 1):
        box = thing.find("bndbox")
        try:
            x1, y1, x2, y2 = text_numbers({key: None if box is None else box.findtext(key) for key in _CORNERS})
        except DataError as error:
            issues.add(DataIssue.BOX_FORM, f"{file}: object {i}: {error}")
            continue
        bbox = [x1 - origin, y1 - origin, x2 - x1 + origin, y2 - y1 + origin]
        yield VocObject(_text_of(thing, "name"), bbox, _text_of(thing, "difficult").lower() not in _FALSE)


def _text_of(thing: ElementTree.Element, tag: str) -> str:
    return (thing.findtext(tag) or "").strip()


def _counts_from_0(root: ElementTree.Element) -> bool:
    """Whether an older glip wrote it: such a file names glip, but does not say where its pixels begin."""
    by_glip = root.findtext("source/database", "").startswith("glip ")
    return by_glip and root.findtext("source/annotation") is None
