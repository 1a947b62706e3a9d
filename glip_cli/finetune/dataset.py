"""What there is to learn from: images with boxes, each box of a class or of words of a caption.

Nothing here reads a file: `readers` makes a `TrainSet`, `batches` turns it into tensors.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glip_cli.data.dataset import Annotation, ImageRow, Tables, category_name, read_annotations, read_image_row
from glip_cli.data.formats import collector_paused, read_tables
from glip_cli.data.frames import frames_of
from glip_cli.data.image_files import ImageFile, open_images, search
from glip_cli.data.issues import DataIssue, Findings, Tally
from glip_cli.data.values import shown
from glip_cli.errors import PromptError, UsageError
from glip_cli.prompts.labels import check_text
from glip_cli.prompts.prompt import clean_name
from glip_cli.prompts.spans import check_spans
from glip_cli.types import Span

FloatBoxes = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DetectionItem:
    """An image and the things of known classes in it; M may be 0.

    Attributes:
        image: the file.
        boxes: float32 [M, 4], (x1, y1, x2, y2) in pixels of the upright image, x2 and y2 one past the last.
        labels: int64 [M], places in the set's `labels`.
        image_id: of the file that the set was read from.
    """

    image: Path
    boxes: FloatBoxes
    labels: npt.NDArray[np.int64]
    image_id: int = 0

    def __post_init__(self) -> None:
        _check_boxes(self.boxes, len(self.labels))


@dataclass(frozen=True, eq=False)
class GroundingItem:
    """An image, a sentence about it, and the things that parts of the sentence name; M may be 0.

    Attributes:
        image, boxes, image_id: as in `DetectionItem`.
        caption: as typed.
        spans: for each box the characters [begin, end) of the caption that name it; at least one span each.
    """

    image: Path
    boxes: FloatBoxes
    caption: str
    spans: tuple[tuple[Span, ...], ...]
    image_id: int = 0

    def __post_init__(self) -> None:
        _check_boxes(self.boxes, len(self.spans))
        if any(not 0 <= begin < end <= len(self.caption) for spans in self.spans for begin, end in spans):
            raise ValueError(f"a span lies outside the caption {self.caption!r}")


Item = DetectionItem | GroundingItem


@dataclass(frozen=True, eq=False)
class TrainSet:
    """Everything that one `--train` names.

    Attributes:
        name: of the file or folder, for messages.
        labels: class names in the order of their ids, which is the order of the prompt; empty for captions.
        items: all of one kind, in the order of the file.
        category_ids: the id of each label in the file.
    """

    name: str
    labels: tuple[str, ...]
    items: tuple[Item, ...]
    category_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.category_ids) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels but {len(self.category_ids)} ids")
        for item in self.items:
            if isinstance(item, DetectionItem) != bool(self.labels):
                raise ValueError("boxes of classes need labels, captions have none")
            if isinstance(item, DetectionItem) and len(item.labels) and not _within(item.labels, len(self.labels)):
                raise ValueError(f"{item.image}: a label lies outside the {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def box_count(self) -> int:
        return sum(len(item.boxes) for item in self.items)


def _check_boxes(boxes: FloatBoxes, count: int) -> None:
    if boxes.shape != (count, 4):
        raise ValueError(f"boxes of shape {boxes.shape} for {count} names")


def _within(labels: npt.NDArray[np.int64], count: int) -> bool:
    return bool(labels.min() >= 0 and labels.max() < count)


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


_BACKGROUND = frozenset({"background", "__background__", "_background_"})


def class_names(tables: Tables, used: Collection[int], tally: Tally) -> dict[int, str]:
    """Class id -> name, those left out that mean the background and are not `used`."""
    rows: dict[int, dict[str, Any]] = {}
    for row in tables.categories:
        number = row["id"]
        if category_name(rows.setdefault(number, row)) != category_name(row):
            tally.add(DataIssue.CATEGORY_ID, f"{shown(row.get('name'))}, id {number}")
    for number in [number for number, row in rows.items() if number not in used and _is_background(number, rows)]:
        tally.add(DataIssue.CATEGORY_BACKGROUND, f"{shown(rows.pop(number).get('name'))}, id {number}")
    names = {number: category_name(row) for number, row in rows.items()}
    _remark_names(names, tally)
    return names


def _is_background(number: int, rows: Mapping[int, Mapping[str, Any]]) -> bool:
    """Named so, or id 0 named as the others' supercategory (Roboflow); an id 0 with a name of its own is a class."""
    name = category_name(rows[number])
    above = {str(row.get("supercategory")) for other, row in rows.items() if other != 0}
    return name.strip().lower() in _BACKGROUND or (number == 0 and name in above)


def _remark_names(names: Mapping[int, str], tally: Tally) -> None:
    read: set[str] = set()
    for number, name in names.items():
        if not name.strip():
            tally.add(DataIssue.CATEGORY_UNNAMED, f"id {number}")
        elif (alike := read_as(name)) in read:
            tally.add(DataIssue.CATEGORY_SAME, f"{shown(name)}, id {number}")
        else:
            read.add(alike)


def read_as(name: str) -> str:
    """What the model reads of a class name: equal for those that it cannot tell apart."""
    return " ".join(clean_name(name).lower().split()) or name


@dataclass(frozen=True)
class FewShot:
    """The chosen part of a set, in the set's order, and the ids of its images."""

    train_set: TrainSet
    image_ids: tuple[int, ...]


def few_shot(train_set: TrainSet, shots: int, seed: int) -> FewShot:
    """Choose images until every class is in `shots` of them, or in all that it has.

    microsoft/GLIP's rule (data/datasets/modulated_coco.py:62-79): images come one by one, one is taken if any class
    in it is still wanted, and then counts for all its classes. There they come by id, whatever the seed; here in an
    order that hangs on the seed and the ids alone, so that no version of any library changes the choice.

    Raises:
        UsageError: `shots` is below one, or the set has captions, and so no classes.
    """
    if shots < 1:
        raise UsageError(f"--shots is {shots}; at least 1 image per class is needed")
    if not train_set.labels:
        raise UsageError(f"--shots counts images per class; {train_set.name} has captions and no classes")
    items = [item for item in train_set.items if isinstance(item, DetectionItem)]
    seen: Counter[int] = Counter()
    chosen: set[int] = set()
    for item in sorted(items, key=lambda item: _order(seed, item.image_id)):
        classes = set(item.labels.tolist())
        if any(seen[number] < shots for number in classes):
            chosen.add(item.image_id)
            seen.update(classes)
    kept = tuple(item for item in items if item.image_id in chosen)
    return FewShot(replace(train_set, items=kept), tuple(item.image_id for item in kept))


def shots_table(sets: Sequence[TrainSet]) -> list[dict[str, Any]]:
    """Which images they hold, as JSON has it; ids are those of the file that a set was read from, or its own."""
    return [
        {"set": one.name, "images": [{"id": item.image_id, "file": str(item.image)} for item in one.items]}
        for one in sets
    ]


def _order(seed: int, image_id: int) -> bytes:
    return hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
