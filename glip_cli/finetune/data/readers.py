"""A file or folder of somebody's boxes -> `TrainSet`, and what was wrong with it.

`glip_cli.data.formats` makes the rows of a COCO file of each kind; from there on there is one way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from glip_cli.data.collector import collector_paused
from glip_cli.data.formats import read_tables
from glip_cli.data.image_files import ImageFile, open_images
from glip_cli.data.image_search import search
from glip_cli.data.issues import DataIssue, Findings, Tally
from glip_cli.data.reading import shown
from glip_cli.data.rows import ImageRow, read_annotations
from glip_cli.data.tables import Tables
from glip_cli.errors import PromptError, UsageError
from glip_cli.finetune.data.classes import class_names
from glip_cli.finetune.data.rows import Box, as_array, boxes_of, image_rows, in_pixels, once
from glip_cli.finetune.data.sets import DetectionItem, GroundingItem, TrainSet
from glip_cli.prompts.labels import check_text
from glip_cli.prompts.spans import check_spans
from glip_cli.types import Span


@collector_paused()
def read_train_set(path: Path, images: Path | None = None, split: str = "train") -> tuple[TrainSet, Findings]:
    """Read a training set and check all of it: every row, and that every image is there and is one.

    Args:
        path: any kind of `glip_cli.data.formats`.
        images: the folder of the images; by default where such a set has them, or beside the file, however deep.
        split: which part, of a set that has several.

    Returns:
        The set without what was dropped, and the table of what was wrong; with `findings.stops` do not train on it.

    Raises:
        UsageError: it is no training set, or a row of it cannot be read at all; names the place.
    """
    tally = Tally()
    tables = read_tables(path, images, split, tally)
    rows = image_rows(tables, tally)
    files = open_images(rows, search(rows, tables.folder, tables.paths), tally, tables.sizes)
    annotations = read_annotations(tables, tally)
    boxes = boxes_of(tables, in_pixels(annotations, rows, files, tally), rows, files, tally)
    if tables.is_grounding:
        train_set = _grounding_set(tables, rows, files, boxes, tally)
    else:
        names = class_names(tables, {row["category_id"] for _, row in annotations}, tally)
        train_set = _detection_set(tables, names, rows, files, boxes, tally)
    for item in train_set.items:
        if not len(item.boxes):
            tally.add(DataIssue.IMAGE_EMPTY, str(item.image))
    return train_set, tally.findings(tables.name, (len(item.boxes) for item in train_set.items))


def _detection_set(
    tables: Tables,
    listed: Mapping[int, str],
    rows: Sequence[ImageRow],
    files: Mapping[int, ImageFile],
    boxes: Mapping[int, list[Box]],
    tally: Tally,
) -> TrainSet:
    kept = {number: name for number, name in sorted(listed.items()) if name.strip()}
    if not kept:
        raise UsageError(f"{tables.name}: none of its classes has a name to ask for; name the classes")
    place = {number: i for i, number in enumerate(kept)}
    items, used = [], set()
    for row in rows:
        if row.id in files:
            mine = [box for box in boxes.get(row.id, ()) if _is_of(listed, kept, box, row.file_name, tally)]
            mine = once(mine, row.file_name, tally)
            labels = np.array([place[box.row["category_id"]] for box in mine], np.int64)
            items.append(DetectionItem(files[row.id].path, as_array(mine), labels, row.id))
            used.update(labels.tolist())
    for i, (number, name) in enumerate(kept.items()):
        if i not in used:
            tally.add(DataIssue.CATEGORY_EMPTY, f"{shown(name)}, id {number}")
    return TrainSet(tables.name, tuple(kept.values()), tuple(items), tuple(kept))


def _is_of(listed: Mapping[int, str], kept: Mapping[int, str], box: Box, image: str, tally: Tally) -> bool:
    """Whether the class of a box can be asked for."""
    number = box.row["category_id"]
    if number not in kept:
        fault = DataIssue.BOX_UNNAMED if number in listed else DataIssue.BOX_CATEGORY
        tally.add(fault, f"{image}: box {shown(box.row['bbox'])}, class {number}")
    return number in kept


def _grounding_set(
    tables: Tables,
    rows: Sequence[ImageRow],
    files: Mapping[int, ImageFile],
    boxes: Mapping[int, list[Box]],
    tally: Tally,
) -> TrainSet:
    captions = {raw["id"]: raw.get("caption") for raw in reversed(tables.images)}
    items = []
    for row in rows:
        caption = _caption(captions[row.id])
        if caption is None:
            tally.add(DataIssue.CAPTION, f"{row.file_name}, id {row.id}: {shown(captions[row.id])}")
        elif row.id in files:
            named = list(_named(tables, caption, row.file_name, boxes.get(row.id, ()), tally))
            spans = tuple(spans for _, spans in named)
            items.append(GroundingItem(files[row.id].path, as_array([box for box, _ in named]), caption, spans, row.id))
    return TrainSet(tables.name, (), tuple(items))


def _caption(value: object) -> str | None:
    try:
        caption = check_text(value, "the caption")
    except PromptError:
        return None
    return caption if caption.strip() else None


def _named(
    tables: Tables, caption: str, image: str, boxes: Sequence[Box], tally: Tally
) -> Iterator[tuple[Box, tuple[Span, ...]]]:
    """The boxes with the spans that name them; those that nothing names are left out."""
    for box in boxes:
        spans = tables.annotations[box.place].get("tokens_positive")
        try:
            yield box, check_spans([spans], caption)[0]  # type: ignore[list-item]  # it checks that they are some
        except PromptError:
            tally.add(DataIssue.SPAN, f"{image}: {shown(spans)} in {shown(caption)}")
