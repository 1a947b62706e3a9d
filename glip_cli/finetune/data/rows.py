"""The rows of a training set, checked one by one: images with an id of their own, boxes that lie in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from glip_cli.data.frames import frames_of
from glip_cli.data.image_files import ImageFile
from glip_cli.data.issues import DataIssue, Tally
from glip_cli.data.reading import shown
from glip_cli.data.rows import Annotation, ImageRow, read_image_row
from glip_cli.data.tables import Tables
from glip_cli.finetune.data.sets import FloatBoxes

_ROUNDING = 1.0  # pixels that a box may pass the edge by without a word: tools round, and some count from 1


class Box(NamedTuple):
    """A box that survived: its row, its corners within the image, and its place among the annotations."""

    row: Annotation
    corners: tuple[float, float, float, float]
    place: int


def image_rows(tables: Tables, tally: Tally) -> list[ImageRow]:
    """Each id once."""
    by_id: dict[int, ImageRow] = {}
    captions: dict[int, object] = {}
    for i, raw in enumerate(tables.images):
        where = f"{tables.name}: images[{i}]"
        row = read_image_row(raw, where)
        known = by_id.setdefault(row.id, row)
        if known is not row:
            same = known.file_name == row.file_name and captions[row.id] == raw.get("caption")
            tally.add(DataIssue.IMAGE_REPEATED if same else DataIssue.IMAGE_ID, f"{row.file_name}, id {row.id}")
        captions.setdefault(row.id, raw.get("caption"))
    return list(by_id.values())


def in_pixels(
    annotations: list[tuple[int, Annotation]],
    rows: Sequence[ImageRow],
    images: Mapping[int, ImageFile],
    tally: Tally,
) -> list[tuple[int, Annotation]]:
    """Annotations with their boxes in pixels of the upright images, where these are of another size than stated."""
    sizes = {number: (file.width, file.height) for number, file in images.items()}
    files = {number: file.path for number, file in images.items()}
    frames = frames_of(rows, (row for _, row in annotations), sizes, files)
    for row in frames.odd:
        (width, height), fault = (
            sizes[row.id],
            DataIssue.IMAGE_SCALED if row.id in frames.by_id else DataIssue.IMAGE_SIZE,
        )
        tally.add(fault, f"{files[row.id]}: {width} x {height}, stated {row.width} x {row.height}")
    if not frames.by_id:
        return annotations
    return [(place, {**row, "bbox": frames.to_image(row["image_id"], row["bbox"])}) for place, row in annotations]


def boxes_of(
    tables: Tables,
    annotations: Sequence[tuple[int, Annotation]],
    rows: Sequence[ImageRow],
    images: Mapping[int, ImageFile],
    tally: Tally,
) -> dict[int, list[Box]]:
    """Image id -> its boxes that can be learnt from; `annotations` are those of the tables, with their places."""
    names = {row.id: row.file_name for row in rows}
    found: dict[int, list[Box]] = defaultdict(list)
    ids: set[int] = set()
    repeated: set[int] = set()
    for place, row in annotations:
        image = names.get(row["image_id"])
        file = images.get(row["image_id"])
        if (number := row["id"]) not in ids:
            ids.add(number)
        elif number not in repeated:
            repeated.add(number)
            tally.add(DataIssue.BOX_ID, _example(row, image))
        if image is None:
            tally.add(DataIssue.BOX_IMAGE, _example(row, f"image {shown(tables.annotations[place].get('image_id'))}"))
        elif row["iscrowd"]:
            tally.add(DataIssue.BOX_CROWD, _example(row, image))
        elif file and (corners := _inside(row, file, image, tally)):
            found[row["image_id"]].append(Box(row, corners, place))
    return found


def once(boxes: Sequence[Box], image: str, tally: Tally) -> list[Box]:
    """Without those that an image has of the same class already."""
    first: dict[tuple[int, tuple[float, ...]], Box] = {}
    for box in boxes:
        if first.setdefault((box.row["category_id"], box.corners), box) is not box:
            tally.add(DataIssue.BOX_REPEATED, _example(box.row, image))
    return list(first.values())


def _example(row: Annotation, image: str | None) -> str:
    return f"{image}: box {shown(row['bbox'])}, id {row['id']}"


def _inside(row: Annotation, file: ImageFile, image: str, tally: Tally) -> tuple[float, float, float, float] | None:
    """The corners of the part of a box that lies in its image; None where there is not enough of it."""
    x, y, width, height = row["bbox"]
    right, bottom = x + width, y + height
    if x >= 0 and y >= 0 and width > 1 and height > 1 and right <= file.width and bottom <= file.height:
        return x, y, right, bottom
    if min(width, height) <= 1:  # less its far edge, nothing is left of it: `transforms`
        tally.add(DataIssue.BOX_SIZE, _example(row, image))
        return None
    x1, y1 = max(x, 0.0), max(y, 0.0)
    x2, y2 = min(right, float(file.width)), min(bottom, float(file.height))
    if min(x2 - x1, y2 - y1) <= 1:
        tally.add(DataIssue.BOX_OUTSIDE, f"{_example(row, image)} in {file.width} x {file.height}")
        return None
    if max(x1 - x, y1 - y, right - x2, bottom - y2) > _ROUNDING:
        tally.add(DataIssue.BOX_CLIPPED, f"{_example(row, image)} in {file.width} x {file.height}")
    return x1, y1, x2, y2


def as_array(boxes: Sequence[Box]) -> FloatBoxes:
    return np.array([box.corners for box in boxes], np.float32).reshape(-1, 4)
