"""Boxes that are known to be right: any kind of `glip_cli.data.formats` -> `GroundTruth`, and where its images lie.

Whatever pycocotools makes a number of is read so that the number stays the same; what it would make nonsense of is
an error of one line. What was odd, and what was done about it, is in `GroundTruth.notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hotcoco

from glip_cli.data.dataset import (
    Annotation,
    Category,
    ImageRow,
    category_name,
    read_annotations,
    read_category,
    read_image_row,
)
from glip_cli.data.formats import collector_paused, read_tables
from glip_cli.data.image_files import FoundImages, search
from glip_cli.data.issues import STOPS, Tally
from glip_cli.data.values import Ids, shown
from glip_cli.errors import UsageError
from glip_cli.utils.text_format import valid_unicode

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
        folder: where its images are looked for.
        paths: image id -> its file, where the format says it.
        image_ids, category_ids: the file's own ids, for the numbers here.
    """

    name: str
    images: tuple[ImageRow, ...]
    categories: tuple[Category, ...]
    annotations: tuple[Annotation, ...]
    notes: tuple[str, ...] = ()
    folder: Path = Path()
    paths: Mapping[int, Path] = field(default_factory=dict)
    image_ids: Ids = field(default_factory=Ids)
    category_ids: Ids = field(default_factory=Ids)

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
        """True where LVIS' rules can be applied: every image says which categories were looked for in vain."""
        return bool(self.images) and all(image.neg_category_ids is not None for image in self.images)

    def as_given(self, results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Results with the file's own ids."""
        ids = {"image_id": self.image_ids, "category_id": self.category_ids}
        return [{**row, **{key: one.original(row[key]) for key, one in ids.items()}} for row in results]

    def to_coco(self) -> hotcoco.COCO:
        """The same, as hotcoco takes it."""
        images = [_as_coco(vars(image)) for image in self.images]
        categories = [_coco_category(category) for category in self.categories]
        return hotcoco.COCO({"images": images, "categories": categories, "annotations": list(self.annotations)})


@collector_paused()
def read_ground_truth(
    path: Path, *, names: Mapping[int, str] | None = None, images: Path | None = None, split: str | None = None
) -> GroundTruth:
    """A COCO or LVIS annotation file, or any other kind of `glip_cli.data.formats`.

    Args:
        path: JSON with images, annotations (`bbox`; polygons are not looked at) and categories; or YOLO, VOC, csv.
        names: category id -> the name to prompt with instead of the file's (ODinW's OVERRIDE_CATEGORY).
        images: the folder of the images, for formats whose boxes are fractions of their sizes.
        split: which part, of a set that has several; None for "val". It is a note where there are none.

    Raises:
        UsageError: the file cannot be meant as ground truth; names the place in it.
    """
    tally = Tally()
    tables = read_tables(path, images, split or "val", tally)
    if not tables.categories:
        raise UsageError(f"{path}: names no category; give a COCO annotation file that does")
    notes = [f"{path} has no part called {shown(split)}; all of it is read"] if split and not tables.is_part else []
    rows = tuple(read_image_row(row, where) for row, where in _unique(tables.images, f"{path}: images", notes))
    annotations = [row for _, row in read_annotations(tables, tally)]
    if tables.annotations and not annotations:
        raise UsageError(f"{path}: no annotation of it can be read, first {tally.rows()[0].example}")
    categories = _categories(path, tables.categories, names or {}, annotations, notes)
    kept = _counted(annotations, rows, categories, notes)
    notes.extend(_remarks(categories, kept))
    return GroundTruth(
        tables.name,
        rows,
        categories,
        kept,
        (*_issues(path, tally), *notes),
        tables.folder,
        tables.paths,
        tables.image_ids,
        tables.category_ids,
    )


def _issues(path: Path, tally: Tally) -> list[str]:
    """A line for each kind. Raises UsageError for what only the author of the set can correct."""
    lines = []
    for row in tally.rows():
        line = f"{row.count} {row.what}; first {row.example}"
        if row.action == STOPS:
            raise UsageError(f"{path}: {line}")
        lines.append(f"{line} ({row.action})")
    return lines


def _unique(rows: Sequence[dict[str, Any]], where: str, notes: list[str]) -> list[tuple[dict[str, Any], str]]:
    """Each id once, with its place: the last one counts, as in pycocotools."""
    by_id = {row["id"]: (row, f"{where}[{i}]") for i, row in enumerate(rows)}
    if len(by_id) < len(rows):
        notes.append(f"{where}: {len(rows) - len(by_id)} rows repeat an id; the last of each counts")
    return list(by_id.values())


def _categories(
    path: Path, rows: Sequence[Any], names: Mapping[int, str], annotations: Sequence[Annotation], notes: list[str]
) -> tuple[Category, ...]:
    table = {row["id"]: dict(row) for row, _ in _unique(rows, f"{path}: categories", notes)}
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
    flat = [row for row in annotations if min(row["bbox"][2:]) <= 0]
    if flat:
        first = f"first annotation {flat[0]['id']}, {shown(flat[0]['bbox'])}"
        yield f"{len(flat)} boxes have no width or height, {first}; they are counted, but nothing can match them"
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
    """The files of its images; see `image_search.search`. Raises UsageError where there is no such folder."""
    return search(ground_truth.images, folder, ground_truth.paths)
