"""Boxes that are known to be right: a `Dataset` of any kind as pycocotools would score it.

Whatever pycocotools makes a number of is read so that the number stays the same; what it would make nonsense of is
an error of one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import hotcoco

from glip_cli.data.dataset import Annotation, Dataset
from glip_cli.data.formats import read_dataset
from glip_cli.data.issues import STOPS, DataIssue
from glip_cli.data.values import shown
from glip_cli.errors import DataError
from glip_cli.utils.text_format import valid_unicode

if TYPE_CHECKING:
    from glip_cli.evaluation.results import CocoResult

_IMAGE_KEYS = ("id", "file_name", "width", "height", "neg_category_ids", "not_exhaustive_category_ids", "coco_url")


@dataclass(frozen=True)
class GroundTruth(Dataset):
    """`annotations` are only those of a known image and category, crowds among them.

    Attributes:
        notes: what is wrong and what happens to it, one line each.
    """

    notes: tuple[str, ...] = ()

    @property
    def is_federated(self) -> bool:
        """True where LVIS' rules can be applied: every image lists the categories that it does not show."""
        return bool(self.images) and all(image.neg_category_ids is not None for image in self.images)

    def as_given(self, results: Iterable[CocoResult]) -> list[dict[str, object]]:
        """Results with the file's own ids."""
        image, category = self.image_ids.original, self.category_ids.original
        return [
            {**row, "image_id": image(row["image_id"]), "category_id": category(row["category_id"])} for row in results
        ]

    def to_coco(self) -> hotcoco.COCO:
        """The same, as hotcoco takes it."""
        images = [_as_coco({key: getattr(image, key) for key in _IMAGE_KEYS}) for image in self.images]
        categories = [
            _as_coco({"id": one.id, "name": one.name or f"category {one.id}", "frequency": one.frequency})
            for one in self.categories
        ]
        return hotcoco.COCO({"images": images, "categories": categories, "annotations": list(self.annotations)})


def read_ground_truth(
    path: Path, *, names: Mapping[int, str] | None = None, images: Path | None = None, split: str | None = None
) -> GroundTruth:
    """A data set of any kind of `glip_cli.data.formats`.

    Args:
        path: COCO json, or what else `glip_cli.data.formats` reads. Where there is a `bbox`, polygons are ignored.
        names: category id -> the name to prompt with instead of the file's (ODinW's OVERRIDE_CATEGORY).
        images: the folder of the images, for formats whose boxes are fractions of their sizes.
        split: which part, of a set that has several; None for "val". It is a note where there are none.

    Raises:
        DataError: the file cannot be meant as ground truth; names the place in it.
    """
    dataset = read_dataset(path, images, split or "val", names)
    if not dataset.categories:
        raise DataError(f"{path}: names no category; give a COCO annotation file that does")
    if not dataset.annotations and DataIssue.BOX_FORM in dataset.issues:
        raise DataError(f"{path}: no annotation of it can be read, first {dataset.issues.example(DataIssue.BOX_FORM)}")
    positions = _counted(dataset)
    annotations = tuple(dataset.annotations[i] for i in positions)
    if DataIssue.BOX_ID in dataset.issues:
        annotations = tuple({**row, "id": number} for number, row in enumerate(annotations, 1))
    _add_issues(dataset, annotations)
    for row in dataset.issues.rows(evaluation=True):
        if row.action == STOPS:  # only the author of the set can correct it
            raise DataError(f"{path}: {row.count} {row.what}; first {row.example}")
    whole = [f"{path} has no part called {shown(split)}; all of it is read"] if split and not dataset.is_part else []
    values = {field.name: getattr(dataset, field.name) for field in fields(dataset)} | {"annotations": annotations}
    if dataset.spans is not None:
        values["spans"] = tuple(dataset.spans[i] for i in positions)
    return GroundTruth(**values, notes=(*dataset.issues.notes, *whole))


def _counted(dataset: Dataset) -> list[int]:
    """Which pycocotools would look at: those of a known image and category, the last of an id for each of that id."""
    image_ids, category_ids = {row.id for row in dataset.images}, {row.id for row in dataset.categories}
    last = {row["id"]: i for i, row in enumerate(dataset.annotations)}
    known = [row["image_id"] in image_ids and row["category_id"] in category_ids for row in dataset.annotations]
    each = (last[row["id"]] for row, is_known in zip(dataset.annotations, known, strict=True) if is_known)
    return [i for i in each if known[i]]


def _add_issues(dataset: Dataset, annotations: Iterable[Annotation]) -> None:
    once = DataIssue.BOX_ID not in dataset.issues  # else the same row stands for each of its id
    known: set[tuple[float, ...]] = set()
    for row in annotations:
        _, _, width, height = row["bbox"]
        key = (row["image_id"], row["category_id"], *row["bbox"])
        if once and key in known and not row["iscrowd"]:
            dataset.issues.add(DataIssue.BOX_REPEATED, f"annotation {row['id']}, {shown(row['bbox'])}")
        known.add(key)
        if width <= 0 or height <= 0:
            dataset.issues.add(DataIssue.BOX_FLAT, f"annotation {row['id']}, {shown(row['bbox'])}")
        if row["id"] == 0:
            dataset.issues.add(DataIssue.BOX_ID_0, f"annotation of image {row['image_id']}")


def _as_coco(row: Mapping[str, object]) -> dict[str, object]:
    """Without None; and in valid Unicode, of which JSON's escapes can write halves that hotcoco refuses."""
    whole = ((key, valid_unicode(value) if isinstance(value, str) else value) for key, value in row.items())
    return {key: value for key, value in whole if value is not None}
