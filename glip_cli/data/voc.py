"""Folders of Pascal VOC: one xml per picture, in Annotations/ or in the folder itself.

hotcoco converts the boxes: corners count from 1 and xmax is the last pixel, as in the VOC devkit, and `difficult`
becomes COCO's `iscrowd`. Older files of glip count from 0. hotcoco loses what stands before an `&` or `<` in a name, so
it gets a copy with numbers for names.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hotcoco

from glip_cli.data.reading import read_text
from glip_cli.data.tables import Tables
from glip_cli.errors import UsageError
from glip_cli.walk import IMAGE_SUFFIXES

_FOLDER = "Annotations"
_PICTURES = "JPEGImages"


def is_voc(path: Path) -> bool:
    """Whether a folder holds xml files where VOC has them."""
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    return sorted((path / _FOLDER).glob("*.xml")) or sorted(path.glob("*.xml"))


def read_voc(path: Path, images: Path | None) -> Tables:
    """The rows of all xml files; classes in alphabetical order, or as labels.txt lists them.

    Raises:
        UsageError: a file is no such xml; names it.
    """
    files = _files(path)
    roots = [_root(file) for file in files]
    folder = images or _pictures(path)
    stems = {file.stem: file.name for file in _existing(folder) if file.suffix.lower() in IMAGE_SUFFIXES}
    rows = [
        {"id": number, "file_name": _file_name(file, root, stems)}
        for number, (file, root) in enumerate(zip(files, roots, strict=True), 1)
    ]
    names = _names(path, roots)
    numbers = {name: i for i, name in enumerate(names, 1)}
    annotations = _converted(roots, numbers, files)
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return Tables(path.name, folder, rows, annotations, categories)


def _root(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(read_text(file))
    except ElementTree.ParseError as failure:
        raise UsageError(f"{file}: not a whole xml file ({failure}); write it again") from None


def _file_name(file: Path, root: ElementTree.Element, stems: dict[str, str]) -> str:
    """The name that the xml gives, some without a suffix, or else the xml's own."""
    name = (root.findtext("filename") or "").strip() or file.stem
    return name if Path(name).suffix.lower() in IMAGE_SUFFIXES else stems.get(name, name)


def _existing(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _names(path: Path, roots: list[ElementTree.Element]) -> list[str]:
    used = {_name(thing) for root in roots for thing in root.iter("object")}
    listed = path / "labels.txt"
    given = [line.strip() for line in read_text(listed).splitlines() if line.strip()] if listed.is_file() else []
    return [*dict.fromkeys(given), *sorted(used - set(given))]


def _name(thing: ElementTree.Element) -> str:
    return (thing.findtext("name") or "").strip()


def _pictures(path: Path) -> Path:
    folders = (path / _PICTURES, path.parent / _PICTURES)
    return next((folder for folder in folders if folder.is_dir()), path)


def _converted(roots: list[ElementTree.Element], numbers: dict[str, int], files: list[Path]) -> list[dict[str, Any]]:
    """The boxes of all files, with the numbers of classes and pictures of our own."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for number, root in enumerate(roots, 1):
            stem = f"{number:09d}"  # hotcoco goes by the order of names
            ElementTree.ElementTree(_plain(root, stem, numbers)).write(copy / f"{stem}.xml")
        try:
            dataset = hotcoco.COCO.from_voc(str(copy)).dataset
        except (OSError, ValueError) as error:
            raise UsageError(_told(error, copy, files)) from None
    kinds = {row["id"]: int(row["name"]) for row in dataset["categories"]}
    return [{**row, "category_id": kinds[row["category_id"]]} for row in dataset["annotations"]]


def _plain(root: ElementTree.Element, stem: str, numbers: dict[str, int]) -> ElementTree.Element:
    """Only what hotcoco reads, with a number for every name."""
    plain = ElementTree.Element("annotation")
    ElementTree.SubElement(plain, "filename").text = stem
    plain.extend(root.findall("size"))
    for thing in root.iter("object"):
        row = ElementTree.SubElement(plain, "object")
        ElementTree.SubElement(row, "name").text = str(numbers[_name(thing)])
        row.extend([*thing.findall("difficult"), *thing.findall("bndbox")])
    if _counts_from_0(root):
        for corner in (*plain.iter("xmin"), *plain.iter("ymin")):
            corner.text = str(int(corner.text) + 1) if corner.text and corner.text.isdecimal() else corner.text
    return plain


def _counts_from_0(root: ElementTree.Element) -> bool:
    """Whether an older glip wrote it: such a file names glip, but does not say where its pixels begin."""
    by_glip = root.findtext("source/database", "").startswith("glip ")
    return by_glip and root.findtext("source/annotation") is None


def _told(error: Exception, copy: Path, files: list[Path]) -> str:
    """What hotcoco complains of, with the file's own name."""
    text = " ".join(str(error).split())
    for number, file in enumerate(files, 1):
        text = text.replace(str(copy / f"{number:09d}.xml"), str(file))
    return f"{text.removeprefix('parse error: ')}; mend the file"
