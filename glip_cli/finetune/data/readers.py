"""A file or folder of somebody's boxes -> `TrainSet`, and what was wrong with it.

    x.json with captions and `tokens_positive`   grounding data (MDETR's format: Flickr30k, mixed)
    x.json otherwise                             COCO
    folder with data.yaml, or that file          YOLO           `yolo`
    folder with Annotations/*.xml, or with xml   Pascal VOC     `voc`

All become the rows of a COCO file; from there on there is one way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glip_cli.data.image_files import Picture, open_pictures
from glip_cli.data.image_search import search
from glip_cli.data.issues import Fault, Findings, Tally
from glip_cli.data.reading import as_id, read_json, shown
from glip_cli.data.rows import ImageRow
from glip_cli.data.tables import Tables
from glip_cli.data.voc import is_voc, read_voc
from glip_cli.data.yolo import data_yaml, read_yolo
from glip_cli.errors import PromptError, UsageError
from glip_cli.finetune.data.classes import class_names
from glip_cli.finetune.data.rows import Box, as_array, boxes_of, image_rows
from glip_cli.finetune.data.sets import DetectionItem, GroundingItem, TrainSet
from glip_cli.phrases import check_spans
from glip_cli.texts import check_text
from glip_cli.types import Span


def read_train_set(path: Path, images: Path | None = None, split: str = "train") -> tuple[TrainSet, Findings]:
    """Read a training set and check all of it: every row, and that every picture is there and is one.

    Args:
        path: see above; the kind is recognised.
        images: the folder of the pictures; by default where such a set has them, or beside the file, however deep.
        split: which part of a YOLO data.yaml.

    Returns:
        The set without what was dropped, and the table of what was wrong; with `findings.stops` do not train on it.

    Raises:
        UsageError: it is no training set, or a row of it cannot be read at all; names the place.
    """
    tally = Tally()
    tables = _tables(path, images, split, tally)
    rows = image_rows(tables, tally)
    pictures = open_pictures(rows, search(rows, tables.folder), tally)
    boxes = boxes_of(tables, rows, pictures, tally)
    if tables.is_grounding:
        train_set = _grounding_set(tables, rows, pictures, boxes, tally)
    else:
        train_set = _detection_set(tables, rows, pictures, boxes, tally)
    for item in train_set.items:
        if not len(item.boxes):
            tally.add(Fault.IMAGE_EMPTY, str(item.image))
    return train_set, tally.findings(tables.name, (len(item.boxes) for item in train_set.items))


def _tables(path: Path, images: Path | None, split: str, tally: Tally) -> Tables:
    if (described := data_yaml(path)) is not None:
        return read_yolo(described, images, split, tally)
    if path.is_dir():
        if not is_voc(path):
            raise UsageError(f"{path}: neither data.yaml (YOLO) nor xml files (VOC) in it; give a training set")
        return read_voc(path, images)
    return _from_json(path, images or path.parent)


def _from_json(path: Path, folder: Path) -> Tables:
    data = read_json(path)
    if not isinstance(data, dict):
        raise UsageError(f"{path}: {shown(data)} is no training set; give a COCO or grounding json")
    lists = {key: _objects(data, key, path) for key in ("images", "annotations")}
    is_grounding = any("caption" in row for row in lists["images"]) and any(
        "tokens_positive" in row for row in lists["annotations"]
    )
    categories = [] if is_grounding else _objects(data, "categories", path)
    return Tables(path.name, folder, lists["images"], lists["annotations"], categories, is_grounding)


def _objects(data: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    rows = data.get(key)
    if not isinstance(rows, list) or (not rows and key != "annotations"):
        raise UsageError(f"{path}: has no list '{key}' with something in it; give a COCO or grounding json")
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UsageError(f"{path}: {key}[{i}] is {shown(row)}, not an object; the file is damaged")
    return rows


def _detection_set(
    tables: Tables,
    rows: Sequence[ImageRow],
    pictures: Mapping[int, Picture],
    boxes: Mapping[int, list[Box]],
    tally: Tally,
) -> TrainSet:
    listed = class_names(tables, tally)
    kept = {number: name for number, name in sorted(listed.items()) if name.strip()}
    if not kept:
        raise UsageError(f"{tables.name}: none of its classes has a name to ask for; name the classes")
    place = {number: i for i, number in enumerate(kept)}
    items, used = [], set()
    for row in rows:
        if row.id in pictures:
            mine = [box for box in boxes.get(row.id, ()) if _is_of(listed, kept, box, row.file_name, tally)]
            labels = np.array([place[box.row["category_id"]] for box in mine], np.int64)
            items.append(DetectionItem(pictures[row.id].path, as_array(mine), labels, row.id))
            used.update(labels.tolist())
    for i, (number, name) in enumerate(kept.items()):
        if i not in used:
            tally.add(Fault.CATEGORY_EMPTY, f"{shown(name)}, id {number}")
    return TrainSet(tables.name, tuple(kept.values()), tuple(items), tuple(kept))


def _is_of(listed: Mapping[int, str], kept: Mapping[int, str], box: Box, image: str, tally: Tally) -> bool:
    """Whether the class of a box can be asked for."""
    number = box.row["category_id"]
    if number not in kept:
        fault = Fault.BOX_UNNAMED if number in listed else Fault.BOX_CATEGORY
        tally.add(fault, f"{image}: box {shown(box.row['bbox'])}, class {number}")
    return number in kept


def _grounding_set(
    tables: Tables,
    rows: Sequence[ImageRow],
    pictures: Mapping[int, Picture],
    boxes: Mapping[int, list[Box]],
    tally: Tally,
) -> TrainSet:
    captions = {as_id(raw["id"], tables.name): raw.get("caption") for raw in reversed(tables.images)}
    items = []
    for row in rows:
        caption = _caption(captions[row.id])
        if caption is None:
            tally.add(Fault.CAPTION, f"{row.file_name}, id {row.id}: {shown(captions[row.id])}")
        elif row.id in pictures:
            named = list(_named(tables, caption, row.file_name, boxes.get(row.id, ()), tally))
            spans = tuple(spans for _, spans in named)
            items.append(
                GroundingItem(pictures[row.id].path, as_array([box for box, _ in named]), caption, spans, row.id)
            )
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
            tally.add(Fault.SPAN, f"{image}: {shown(spans)} in {shown(caption)}")
