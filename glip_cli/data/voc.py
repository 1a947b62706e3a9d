"""Folders of Pascal VOC: one xml per image, in Annotations/ or in the folder itself, at any depth.

Corners count from 1 and xmax is the last pixel, as in the VOC devkit, but in older files of glip, which count from 0.
`difficult` becomes COCO's `iscrowd`. No DTD is fetched, and a file that declares entities is not read.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from glip_cli.data.issues import Fault, Tally
from glip_cli.data.reading import read_bytes, read_text, stated_size, text_number
from glip_cli.data.tables import Tables
from glip_cli.errors import UsageError
from glip_cli.walk import pictures_below

_FOLDER = "Annotations"
_PICTURES = "JPEGImages"
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*?(?:encoding\s*=\s*[\"']([\w.:-]+)[\"'][^>]*?)?\?>")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FALSE = ("", "0", "false", "no", "unspecified")


def is_voc(path: Path) -> bool:
    """Whether a folder holds xml files where VOC has them."""
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    return _xml_below(path / _FOLDER) or sorted(file for file in _listed(path) if _is_xml(file))


def _xml_below(folder: Path) -> list[Path]:
    return sorted((file for file in folder.rglob("*") if _is_xml(file)), key=lambda file: file.parts)


def _is_xml(file: Path) -> bool:
    return file.suffix.lower() == ".xml" and not file.name.startswith(".")


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


@dataclass(frozen=True)
class _Annotated:
    """An xml file that was read."""

    file: Path
    root: ElementTree.Element

    @property
    def objects(self) -> Iterator[ElementTree.Element]:
        return self.root.iter("object")

    @property
    def stated(self) -> str:
        """The name of the image as the xml gives it, some with the folders of another computer."""
        name = (self.root.findtext("filename") or "").strip().replace("\\", "/")
        return PurePosixPath(name).name


def read_voc(path: Path, images: Path | None, tally: Tally) -> Tables:
    """The rows of all xml files; classes in alphabetical order, or as labels.txt lists them.

    Raises:
        UsageError: none of them can be read; says why not the first.
    """
    read = _read(_files(path), tally)
    folder = images or _pictures(path)
    names = _names(path, read)
    numbers = {name: i for i, name in enumerate(names, 1)}
    rows, paths = [], {}
    places = _Places(folder, read)
    for i, one in enumerate(read, 1):
        name, file = places.of(one)
        rows.append({"id": i, "file_name": name, **_size(one.root)})
        if file:
            paths[i] = file
    if images is None:
        places.count_unused(set(paths.values()), tally)
    annotations = [row for i, one in enumerate(read, 1) for row in _annotations(one, i, numbers, tally)]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return Tables(path.name, folder, rows, annotations, categories, paths=paths)


# ---------------------------------------------------------------------------------------------------------------- xml


def _read(files: Sequence[Path], tally: Tally) -> list[_Annotated]:
    read, unread = [], []
    for file in files:
        try:
            read.append(_Annotated(file, _root(file)))
        except UsageError as error:
            unread.append(str(error))
            tally.add(Fault.FILE_UNREADABLE, unread[0])
    if not read:
        raise UsageError(unread[0])
    return read


def _root(file: Path) -> ElementTree.Element:
    """Raises UsageError."""
    data = read_bytes(file)
    try:
        text = _text(data)
        if "<!ENTITY" in text:  # a few lines of them can unfold to gigabytes, or name files of this machine
            raise UsageError(f"{file}: declares entities, which are not expanded; write it without them")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UsageError(f"{file}: not a whole xml file ({' '.join(str(error).split())}); write it again") from None


def _text(data: bytes) -> str:
    """Without the declaration, which names encodings that the parser does not know. Raises ValueError, LookupError."""
    marked = next((encoding for mark, encoding in _MARKS.items() if data.startswith(mark)), None)
    declaration = _DECLARATION.match(data[:200].decode("ascii", "replace"))
    encoding = marked or (declaration and declaration[1]) or "utf-8"
    return _DECLARATION.sub("", data.decode(encoding))


def _size(root: ElementTree.Element) -> dict[str, int]:
    return stated_size(root.findtext("size/width") or "", root.findtext("size/height") or "")


# ------------------------------------------------------------------------------------------------------------- images


def _pictures(path: Path) -> Path:
    folders = (path / _PICTURES, path.parent / _PICTURES, path / "images", path.parent / "images")
    return next((folder for folder in folders if folder.is_dir()), path)


class _Places:
    """The file of each xml: of the name that the xml gives; else of its stem; else of the xml's own stem.

    A name that several xml files give, as copies do, says nothing.
    """

    def __init__(self, folder: Path, read: Sequence[_Annotated]) -> None:
        self._folder = folder
        self._names: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for path in pictures_below(folder):
            self._names.setdefault(path.name, []).append(path)
            self._stems.setdefault(path.stem, []).append(path)
        self._given = Counter((one.file.parent, one.stated) for one in read)

    def of(self, one: _Annotated) -> tuple[str, Path | None]:
        """The name, and the file if there is one."""
        own = one.file.stem
        stated = one.stated if self._given[one.file.parent, one.stated] == 1 else ""
        found = self._names.get(stated) or self._stems.get(stated) or self._stems.get(PurePosixPath(stated).stem)
        file = self._nearest(found or self._stems.get(own) or [], one.file)
        if file is None:
            return stated or own, None
        return (file.relative_to(self._folder)).as_posix(), file

    def count_unused(self, used: set[Path], tally: Tally) -> None:
        for path in chain.from_iterable(self._stems.values()):
            if path not in used:
                tally.add(Fault.IMAGE_UNLISTED, str(path))

    def _nearest(self, files: Sequence[Path], xml: Path) -> Path | None:
        """Of several the one whose folders are those of the xml; None where that does not decide."""
        if len(files) < 2:
            return files[0] if files else None
        alike = [file for file in files if file.parent.name == xml.parent.name]
        return alike[0] if len(alike) == 1 else None


# -------------------------------------------------------------------------------------------------------------- boxes


def _names(path: Path, read: Sequence[_Annotated]) -> list[str]:
    used = {_name(thing) for one in read for thing in one.objects}
    listed = path / "labels.txt"
    given = [line.strip() for line in read_text(listed).splitlines() if line.strip()] if listed.is_file() else []
    return [*dict.fromkeys(given), *sorted(used - set(given))]


def _name(thing: ElementTree.Element) -> str:
    return (thing.findtext("name") or "").strip()


def _annotations(one: _Annotated, image_id: int, numbers: Mapping[str, int], tally: Tally) -> Iterator[dict[str, Any]]:
    origin = 0 if _counts_from_0(one.root) else 1
    for i, thing in enumerate(one.objects):
        box = thing.find("bndbox")
        try:
            x1, y1, x2, y2 = (text_number(None if box is None else box.findtext(key), key) for key in _CORNERS)
        except UsageError as error:
            tally.add(Fault.BOX_FORM, f"{one.file}: object {i + 1}: {error}")
            continue
        yield {
            "image_id": image_id,
            "category_id": numbers[_name(thing)],
            "bbox": [x1 - origin, y1 - origin, x2 - x1 + origin, y2 - y1 + origin],
            "iscrowd": int((thing.findtext("difficult") or "").strip().lower() not in _FALSE),
        }


def _counts_from_0(root: ElementTree.Element) -> bool:
    """Whether an older glip wrote it: such a file names glip, but does not say where its pixels begin."""
    by_glip = root.findtext("source/database", "").startswith("glip ")
    return by_glip and root.findtext("source/annotation") is None
