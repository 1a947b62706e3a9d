"""Folders of YOLO labels: data.yaml, pictures, and for each a .txt of lines `class cx cy w h`, fractions of its size.

hotcoco converts the boxes. What it does not take is put right in a copy for it: data.yaml in all of YAML's spellings,
a sixth column (a score), polygons (as the boxes around them), and lines of a class that there is none of.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotcoco
import yaml

from glip_cli.data.image_files import upright_size
from glip_cli.data.issues import Fault, Tally
from glip_cli.data.reading import read_text, shown
from glip_cli.data.tables import Tables
from glip_cli.errors import UsageError
from glip_cli.walk import IMAGE_SUFFIXES

_FILES = ("data.yaml", "data.yml")
_SPLITS = ("train", "val", "test")


def data_yaml(path: Path) -> Path | None:
    """The file that describes a YOLO set: `path` itself, or the one in it; None where it is no such set."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return path
    return next((path / name for name in _FILES if (path / name).is_file()), None)


@dataclass(frozen=True)
class _Picture:
    """A picture and where its labels would be."""

    image: Path
    labels: Path


def read_yolo(described: Path, images: Path | None, split: str, tally: Tally) -> Tables:
    """The rows of one split.

    Pictures are where data.yaml says, or else in `images`; where it names no split at all, in images/ or beside it.
    Labels are in the folder whose path has "labels" for the last "images", or beside the picture. A picture without a
    .txt has no box.

    Raises:
        UsageError: data.yaml names no class or no pictures; a line is none; names the place.
    """
    described = described.absolute()
    content = _yaml(described)
    names = _names(content, described)
    pictures = [_Picture(image, _labels_of(image)) for image in _images(content, described, images, split)]
    annotations = _converted(pictures, list(names), tally)
    rows = [{"id": i, "file_name": str(picture.image)} for i, picture in enumerate(pictures, 1)]
    categories = [{"id": number, "name": name} for number, name in names.items()]
    return Tables(described.parent.name, described.parent, rows, annotations, categories)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: no YAML ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: names no classes; it describes a YOLO set by 'names' and 'train'")
    return content


def _names(content: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Class number -> name, from a list or a map."""
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or any(type(number) is not int or number < 0 for number in names):
        raise UsageError(f"{path}: 'names' is {shown(names)}; write the class names as a list, or as number: name")
    return {number: "" if names[number] is None else str(names[number]) for number in sorted(names)}


def _images(content: Mapping[str, Any], path: Path, given: Path | None, split: str) -> list[Path]:
    """The pictures of a split, sorted; one that data.yaml leaves out is never filled from the others."""
    value = content.get(split)
    places = value if isinstance(value, list) else [value] if value else []
    roots = [path.parent / str(content.get("path") or ""), path.parent, *([given] if given else [])]
    found = [image for place in places for image in _listed(str(place), roots)]
    if not found and (given if places else not any(content.get(key) for key in _SPLITS)):
        folders = [given] if given else [path.parent / "images", path.parent]
        found = _below(next((folder for folder in folders if folder.is_dir()), path.parent))
    if not found:
        raise UsageError(f"{path}: no picture for '{split}' ({shown(value)}); correct it or give --images")
    return sorted(set(found))


def _listed(place: str, roots: list[Path]) -> list[Path]:
    """Pictures of a folder, or of a .txt with one per line; Roboflow writes `../train/images` for `train/images`."""
    candidates = [root / name for root in roots for name in (place, place.removeprefix("../"))]
    found = next((path for path in candidates if path.exists()), None)
    if found is None or not found.is_file():
        return _below(found) if found else []
    lines = (line.strip() for line in read_text(found).splitlines())
    return [(found.parent / line).absolute() for line in lines if line]


def _below(folder: Path) -> list[Path]:
    return [path.absolute() for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES]


def _labels_of(image: Path) -> Path:
    parts = list(image.with_suffix(".txt").parts)
    beside = Path(*parts)
    folders = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if not folders or beside.is_file():
        return beside
    parts[folders[-1]] = "labels"
    return Path(*parts)


def _converted(pictures: Iterable[_Picture], classes: list[int], tally: Tally) -> list[dict[str, Any]]:
    """The boxes of all pictures, by hotcoco from a copy in which every name is a number."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        (copy / "labels").mkdir()
        (copy / "images").mkdir()
        (copy / "labels" / "data.yaml").write_text("names:\n" + "".join(f"  {i}: c{i}\n" for i in range(len(classes))))
        for number, picture in enumerate(pictures, 1):
            stem = f"{number:09d}"  # hotcoco goes by the order of names
            (copy / "labels" / f"{stem}.txt").write_text("\n".join(_lines(picture, classes, tally)))
            # It asks Pillow for the size, and forgets EXIF: a header alone tells it the upright one.
            width, height = upright_size(picture.image) or (1, 1)
            (copy / "images" / f"{stem}.jpg").write_text(f"P5 {width} {height} 255\n")
        dataset = hotcoco.COCO.from_yolo(str(copy / "labels"), images_dir=str(copy / "images")).dataset
    # hotcoco counts classes from 1
    return [{**row, "category_id": classes[row["category_id"] - 1]} for row in dataset["annotations"]]


def _lines(picture: _Picture, classes: list[int], tally: Tally) -> Iterable[str]:
    if not picture.labels.is_file():
        return
    for number, line in enumerate(read_text(picture.labels).splitlines(), 1):
        if line.strip():
            where = f"{picture.labels}, line {number}"
            kind, *values = _numbers(line, where)
            if kind not in classes:
                tally.add(Fault.BOX_CATEGORY, f"{where}: class {kind:g}")
                continue
            yield " ".join([str(classes.index(int(kind))), *(repr(value) for value in _box(values, where))])


def _numbers(line: str, where: str) -> list[float]:
    try:
        numbers = [float(text) for text in line.split()]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"{where} is {shown(line)}; a line is `class cx cy w h`, all numbers")
    return numbers


def _box(values: list[float], where: str) -> list[float]:
    """Centre and size of a line's four numbers, of four and a score, or of the points of a polygon."""
    if len(values) in (4, 5):
        return values[:4]
    if len(values) < 6 or len(values) % 2:
        raise UsageError(f"{where} has {len(values) + 1} columns; a line is `class cx cy w h`")
    xs, ys = values[::2], values[1::2]
    return [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
