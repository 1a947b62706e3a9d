"""Folders of Pascal VOC: one xml per image, in Annotations/ or in the folder itself, at any depth.

The xml may be in any encoding. No DTD is fetched, and a file that declares entities is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from glip_cli.data.dataset import Dataset
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.per_image import AnnotationFile, NamedBox, dataset_of, subfolder, visible_files
from glip_cli.data.values import read_bytes, read_lines, shown, stated_size, text_numbers
from glip_cli.errors import DataError
from glip_cli.utils.text_format import encoding_of

_FOLDERS = ("Annotations", "Annotation")
_ROOT = "annotation"
_LISTS = {"train": ("train", "trainval")}


def xml_files(path: Path) -> list[Path]:
    """The xml files in Annotations/; else those of the folder where one at its top is VOC's; both at any depth.

    Where none at the top is, those at the top alone: they are of something else, and say nothing of the subfolders.
    """
    folder = subfolder(path, *_FOLDERS)
    if folder and (files := xml_files_below(folder)):
        return files
    top = visible_files(path.iterdir() if path.is_dir() else (), path, ".xml")
    return xml_files_below(path) if any(map(_is_voc, top)) else top


def xml_files_below(path: Path) -> list[Path]:
    """At any depth; sorted."""
    return visible_files(path.rglob("*"), path, ".xml")


def _is_voc(file: Path) -> bool:
    try:
        return _root(file).tag.lower() == _ROOT
    except DataError:
        return False


def read_voc(path: Path, files: Sequence[Path], images: Path | None, split: str, issues: Issues) -> Dataset:
    """The boxes of the xml files that ImageSets/Main lists for the split, or of all where it has no such list.

    Raises:
        DataError: the list has none of the files, or none can be read; says why not the first.
    """
    listed = _list_of(path, split)
    chosen = _listed(files, listed, issues) if listed else files
    if not chosen:
        raise DataError(f"{path}: ImageSets/Main lists none of the xml files for '{split}'; correct the list")
    folder = subfolder(path, *_FOLDERS)
    return dataset_of(
        path,
        chosen,
        read_voc_xml,
        images,
        folder if folder and chosen[0].is_relative_to(folder) else path,
        issues,
        are_all=len(chosen) == len(files),
        is_part=listed is not None,
    )


def _list_of(path: Path, split: str) -> Path | None:
    sets = subfolder(path, "ImageSets")
    folder = subfolder(sets, "Main") if sets else None
    lists = (folder / f"{name}.txt" for name in _LISTS.get(split, (split,))) if folder else ()
    return next((file for file in lists if file.is_file()), None)


def _listed(files: Sequence[Path], listed: Path, issues: Issues) -> Sequence[Path]:
    """The files whose stems a list has, perhaps with 1, -1 or 0 behind them as the lists of a class."""
    known = {file.stem for file in files}
    lines = [line.strip() for line in read_lines(listed) if line.strip()]
    stems = {line if line in known else line.rpartition(" ")[0].strip() or line for line in lines}
    for file in files:
        if file.stem not in stems:
            issues.add(DataIssue.IMAGE_OTHER, f"{file}: not in {listed}")
    return [file for file in files if file.stem in stems]


# ---------------------------------------------------------------------------------------------------------------- xml


_DECLARATION = re.compile(r"\s*<\?xml[^>]*?(?:encoding\s*=\s*[\"']([\w.:-]+)[\"'][^>]*?)?\?>")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FALSE = ("", "0", "false", "no", "unspecified")


def read_voc_xml(file: Path, issues: Issues) -> AnnotationFile:
    """Objects without four corners are counted. Raises DataError where it is no xml of VOC."""
    root = _root(file)
    if root.tag.lower() != _ROOT:
        raise DataError(f"{file}: its <{shown(root.tag)[1:-1]}> is no <annotation> of Pascal VOC; export VOC or COCO")
    size = stated_size(root.findtext("size/width") or "", root.findtext("size/height") or "")
    image, path = _text_of(root, "filename"), _text_of(root, "path")
    if _is_of_glip(root) and "\\" in path:  # what stands before it may be a part of the name
        image = path
    return AnnotationFile(file, image, size, tuple(_objects(root, file, issues)))


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


def _objects(root: ElementTree.Element, file: Path, issues: Issues) -> Iterator[NamedBox]:
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
        yield NamedBox(_text_of(thing, "name"), bbox, _text_of(thing, "difficult").lower() not in _FALSE)


def _text_of(thing: ElementTree.Element, tag: str) -> str:
    return (thing.findtext(tag) or "").strip()


def _is_of_glip(root: ElementTree.Element) -> bool:
    return root.findtext("source/database", "").startswith("glip ")


def _counts_from_0(root: ElementTree.Element) -> bool:
    """Whether its pixels begin at 0, and xmax and ymax are edges, which tools do without saying so.

    An older glip names itself, and not where its pixels begin. Datumaro, and so CVAT, has fractions then.
    """
    if _is_of_glip(root):
        return root.findtext("source/annotation") is None
    if _text_of(root, "owner/name") == "Label Studio":
        return True
    by_datumaro = all(_text_of(root, f"source/{tag}") == "Unknown" for tag in ("database", "annotation", "image"))
    return by_datumaro and any("." in (one.text or "") for one in root.iter("xmin"))
