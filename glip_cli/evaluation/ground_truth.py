"""Boxes that are known to be right: a COCO or LVIS annotation file -> `GroundTruth`, and where its pictures lie.

Whatever pycocotools makes a number of is read so that the number stays the same; what it would make nonsense of is
an error of one line. What was odd, and what was done about it, is in `GroundTruth.notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hotcoco

from glip_cli.data.image_search import FoundImages, search
from glip_cli.data.reading import as_id, read_json, shown
from glip_cli.data.rows import (
    Annotation,
    Category,
    ImageRow,
    category_name,
    read_annotation,
    read_category,
    read_image_row,
)
from glip_cli.errors import UsageError
from glip_cli.readable import valid_unicode

__all__ = ["Annotation", "Category", "FoundImages", "GroundTruth", "ImageRow", "find_images", "read_ground_truth"]

_BACKGROUND = frozenset({"background", "__background__", "_background_"})


@dataclass(frozen=True)
class GroundTruth:
    """What a file of annotations says.

    Attributes:
        name: the file's name, for messages.
        images: in the file's order; also those without a box, where every detection is false.
        categories: in id order, which is the order of prompts and labels.
        annotations: only those of a known image and category, crowds among them.
        notes: what was odd and what was done about it, one line each.
    """

    name: str
    images: tuple[ImageRow, ...]
    categories: tuple[Category, ...]
    annotations: tuple[Annotation, ...]
    notes: tuple[str, ...] = ()

    @property
    def promptable(self) -> tuple[Category, ...]:
        """The categories that have a name; a blank one is scored, but nothing can be asked of the model for it."""
        return tuple(category for category in self.categories if category.name.strip())

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the promptable categories, in id order; label i is category `promptable[i]`."""
        return tuple(category.name for category in self.promptable)

    @property
    def is_federated(self) -> bool:
        """True where LVIS' rules can be applied: every picture says which categories were looked for in vain."""
        return bool(self.images) and all(image.neg_category_ids is not None for image in self.images)

    def to_coco(self) -> hotcoco.COCO:
        """The same, as hotcoco takes it."""
        images = [_as_coco(vars(image)) for image in self.images]
        categories = [_coco_category(category) for category in self.categories]
        return hotcoco.COCO({"images": images, "categories": categories, "annotations": list(self.annotations)})


def read_ground_truth(path: Path, *, names: Mapping[int, str] | None = None) -> GroundTruth:
    """A COCO or LVIS annotation file.

    Args:
        path: JSON with images, annotations (`bbox`; polygons are not looked at) and categories.
        names: category id -> the name to prompt with instead of the file's (ODinW's OVERRIDE_CATEGORY).

    Raises:
        UsageError: the file cannot be meant as ground truth; names the place in it.
    """
    rows = _tables(path, read_json(path))
    notes: list[str] = []
    images = tuple(read_image_row(row, where) for row, where in _unique(rows["images"], f"{path}: images", notes))
    annotations = _annotations(path, rows["annotations"])
    categories = _categories(path, rows["categories"], names or {}, annotations, notes)
    kept = _counted(annotations, images, categories, notes)
    notes.extend(_remarks(categories, kept))
    return GroundTruth(path.name, images, categories, kept, tuple(notes))


def _tables(path: Path, data: Any) -> dict[str, list[Any]]:
    if isinstance(data, list):
        raise UsageError(f"{path}: a list, as results are; ground truth is an object with images and annotations")
    if not isinstance(data, dict):
        raise UsageError(f"{path}: {shown(data)} is no ground truth; give a COCO annotation file")
    if "annotations" not in data and "images" in data:
        raise UsageError(f"{path}: has no 'annotations' (a test set, published without them?); give one that has")
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            raise UsageError(f"{path}: has no list '{key}'; give a COCO annotation file")
    if not data["images"] or not data["categories"]:
        raise UsageError(f"{path}: names no image or no category; give a COCO annotation file that does")
    return {key: data[key] for key in ("images", "annotations", "categories")}


def _rows(rows: Sequence[Any], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row with its place in the file."""
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UsageError(f"{where}[{i}] is {shown(row)}, not an object; the file is damaged")
        yield row, f"{where}[{i}]"


def _unique(rows: Sequence[Any], where: str, notes: list[str]) -> list[tuple[dict[str, Any], str]]:
    """The rows with ids that are numbers, each id once: the last one counts, as in pycocotools."""
    by_id: dict[int, tuple[dict[str, Any], str]] = {}
    for row, place in _rows(rows, where):
        number = as_id(row.get("id"), f"{place}.id")
        by_id[number] = ({**row, "id": number}, place)
    if len(by_id) < len(rows):
        notes.append(f"{where}: {len(rows) - len(by_id)} rows repeat an id; the last of each counts")
    return list(by_id.values())


def _annotations(path: Path, rows: Sequence[Any]) -> list[Annotation]:
    return [read_annotation(row, i + 1, where) for i, (row, where) in enumerate(_rows(rows, f"{path}: annotations"))]


def _categories(
    path: Path, rows: Sequence[Any], names: Mapping[int, str], annotations: Sequence[Annotation], notes: list[str]
) -> tuple[Category, ...]:
    table = {row["id"]: row for row, _ in _unique(rows, f"{path}: categories", notes)}
    for number, name in names.items():
        if number not in table:
            raise UsageError(f"{path}: has no category {number}, for which the name {shown(name)} was given")
        table[number]["name"] = name
    for number in _background_ids(table, {row["category_id"] for row in annotations}):
        notes.append(f"category {number}, {shown(table.pop(number).get('name'))}, is the background; left out")
    return tuple(read_category(table[number]) for number in sorted(table))


def _background_ids(table: Mapping[int, dict[str, Any]], used: set[int]) -> list[int]:
    """Rows that no box uses and that mean no object: named so, or id 0 named as the others' supercategory (Roboflow).

    An id 0 with a name of its own is a class like others: many files count from 0.
    """
    above = {str(row.get("supercategory")) for number, row in table.items() if number != 0}
    found = [
        number
        for number, row in table.items()
        if category_name(row).strip().lower() in _BACKGROUND or (number == 0 and category_name(row) in above)
    ]
    return [number for number in found if number not in used]


def _counted(
    annotations: Sequence[Annotation], images: Sequence[ImageRow], categories: Sequence[Category], notes: list[str]
) -> tuple[Annotation, ...]:
    """Those that pycocotools would look at: of a known image and category, the last of an id for each of that id."""
    image_ids, category_ids = {row.id for row in images}, {row.id for row in categories}
    known = [row["image_id"] in image_ids and row["category_id"] in category_ids for row in annotations]
    if not all(known):
        notes.append(f"{known.count(False)} annotations are of an image or category not listed; left out")
    last = {row["id"]: i for i, row in enumerate(annotations)}
    places = [last[row["id"]] for i, row in enumerate(annotations) if known[i] and known[last[row["id"]]]]
    if len(last) == len(annotations):
        return tuple(annotations[i] for i in places)
    notes.append(
        f"{len(annotations) - len(last)} annotations repeat an id; as in pycocotools the last of each counts, as often "
        "as its id is there"
    )
    return tuple({**annotations[i], "id": number + 1} for number, i in enumerate(places))


def _remarks(categories: Sequence[Category], annotations: Sequence[Annotation]) -> Iterator[str]:
    for category in categories:
        if not category.name.strip():
            yield f"category {category.id} has no name to ask for; it is scored, but nothing will be found for it"
    for name, count in Counter(category.name for category in categories if category.name.strip()).items():
        if count > 1:
            yield f"{count} categories are named {shown(name)}"
    flat = sum(min(row["bbox"][2:]) <= 0 for row in annotations)
    if flat:
        yield f"{flat} boxes have no width or height; they are counted, but nothing can match them"
    if any(row["id"] == 0 for row in annotations):
        yield "an annotation has the id 0, whose match pycocotools counts as false; here it counts as found"


def _coco_category(category: Category) -> dict[str, Any]:
    name = category.name or f"category {category.id}"
    return _as_coco({"id": category.id, "name": name, "frequency": category.frequency})


def _as_coco(row: Mapping[str, Any]) -> dict[str, Any]:
    """Without None; and in valid Unicode, of which JSON's escapes can write halves that hotcoco refuses."""
    whole = ((key, valid_unicode(value) if isinstance(value, str) else value) for key, value in row.items())
    return {key: value for key, value in whole if value is not None}


def find_images(ground_truth: GroundTruth, folder: Path) -> FoundImages:
    """The files of its pictures; see `images.search`. Raises UsageError where there is no such folder."""
    return search(ground_truth.images, folder)
