"""Training data: images with boxes, each box of a class or of words of a caption.

A `Dataset` becomes a `TrainSet` here, whose boxes all lie in their images; `sampler` and `batches` make tensors of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from glip_cli.data.box_transforms import Corners, box_example, box_transforms_of, corners_inside
from glip_cli.data.dataset import Annotation, Dataset, Size
from glip_cli.data.formats import collector_paused, read_dataset
from glip_cli.data.image_files import open_images
from glip_cli.data.issues import DataIssue, Findings
from glip_cli.data.values import shown
from glip_cli.errors import DataError, OptionError, PromptError
from glip_cli.prompts.labels import check_text
from glip_cli.prompts.spans import check_spans
from glip_cli.prompts.words import Words
from glip_cli.types import Span

FloatBoxes = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DetectionItem:
    """An image and the things of known classes in it; M may be 0.

    Attributes:
        image: the file.
        boxes: float32 [M, 4], (x1, y1, x2, y2) in pixels of the upright image, x2 and y2 one past the last.
        labels: int64 [M], indices into the set's `labels`.
        image_id: of the file that the set was read from.
    """

    image: Path
    boxes: FloatBoxes
    labels: npt.NDArray[np.int64]
    image_id: int = 0


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


Item = DetectionItem | GroundingItem


@dataclass(frozen=True, eq=False)
class TrainSet:
    """Everything that one `--train` names.

    Attributes:
        name: of the file or folder, for messages.
        labels: class names in the order of their ids, which is the order of the prompt; empty for captions.
        items: all of one kind, in the order of the file.
        words: what the model reads for some of the labels.
    """

    name: str
    labels: tuple[str, ...]
    items: tuple[Item, ...]
    words: Words = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def box_count(self) -> int:
        return sum(len(item.boxes) for item in self.items)


@collector_paused()
def read_train_set(path: Path, images: Path | None = None, split: str = "train") -> tuple[TrainSet, Findings]:
    """Read a training set and check every row and every image.

    Args:
        path: any kind of `glip_cli.data.formats`.
        images: the folder of the images; by default where such a set has them, or beside the file, however deep.
        split: which part, of a set that has several.

    Returns:
        The set without what was dropped, and the table of what was wrong; with `findings.stops` do not train on it.

    Raises:
        DataError: it is no training set, or a row of it cannot be read at all; names the place.
    """
    dataset = read_dataset(path, images, split)
    train_set = train_set_of(dataset)
    return train_set, dataset.issues.findings(dataset.name, (len(item.boxes) for item in train_set.items))


def train_set_of(dataset: Dataset) -> TrainSet:
    """A data set without what cannot be learned from, which becomes issues of it.

    Raises DataError where there is nothing to ask for, and UnavailableError where the disk of an image does not answer.
    """
    paths, sizes = open_images(dataset)
    if dataset.spans is None and not dataset.labels:
        raise DataError(f"{dataset.name}: none of its classes has a name to ask for; name the classes")
    boxes = _boxes_by_image(dataset, paths, sizes)
    make_items = _detection_items if dataset.spans is None else _grounding_items
    items: tuple[Item, ...] = tuple(make_items(dataset, paths, boxes))
    for item in items:
        if not len(item.boxes):
            dataset.issues.add(DataIssue.IMAGE_EMPTY, str(item.image))
    return TrainSet(dataset.name, dataset.labels if dataset.spans is None else (), items)


class TrainingBox(NamedTuple):
    """A box to train on: its row, its corners within the image, and its number among the annotations, from 0."""

    row: Annotation
    corners: Corners
    number: int


def _boxes_by_image(
    dataset: Dataset, paths: Mapping[int, Path], sizes: Mapping[int, Size]
) -> dict[int, list[TrainingBox]]:
    """Image id -> its boxes to train on; the others are issues."""
    found: dict[int, list[TrainingBox]] = defaultdict(list)
    names, classes = {row.id: row.file_name for row in dataset.images}, {row.id for row in dataset.categories}
    transforms = box_transforms_of(dataset.images, dataset.annotations, sizes, paths)
    dataset.issues.extend(transforms.issues)
    for index, row in enumerate(dataset.annotations):
        name, size = names.get(row["image_id"]), sizes.get(row["image_id"])
        if name is None or (dataset.spans is None and row["category_id"] not in classes):
            continue  # an issue already
        if row["iscrowd"]:
            dataset.issues.add(DataIssue.BOX_CROWD, box_example(row, name))
        elif size:
            if row["image_id"] in transforms.by_id:
                row = {**row, "bbox": transforms.to_image(row["image_id"], row["bbox"])}
            if corners := corners_inside(row, size, name, dataset.issues):
                found[row["image_id"]].append(TrainingBox(row, corners, index))
    return found


def _detection_items(
    dataset: Dataset, paths: Mapping[int, Path], boxes: Mapping[int, list[TrainingBox]]
) -> Iterator[DetectionItem]:
    label_of = {category.id: i for i, category in enumerate(dataset.promptable)}
    unused = {category.id: category.name for category in dataset.promptable}
    unnamed = {category.id for category in dataset.categories} - label_of.keys()
    for image in dataset.images:
        if image.id not in paths:
            continue
        kept: dict[tuple[int, tuple[float, ...]], TrainingBox] = {}
        for box in boxes.get(image.id, ()):
            number = box.row["category_id"]
            if number in unnamed:
                dataset.issues.add(DataIssue.BOX_UNNAMED, f"{box_example(box.row, image.file_name)}, class {number}")
            elif kept.setdefault((number, box.corners), box) is not box:
                dataset.issues.add(DataIssue.BOX_REPEATED, box_example(box.row, image.file_name))
        labels = np.array([label_of[number] for number, _ in kept], np.int64)
        yield DetectionItem(paths[image.id], as_array(kept.values()), labels, image.id)
        for number, _ in kept:
            unused.pop(number, None)
    for number, name in unused.items():
        dataset.issues.add(DataIssue.CATEGORY_EMPTY, f"{shown(name)}, id {number}")


def _grounding_items(
    dataset: Dataset, paths: Mapping[int, Path], boxes: Mapping[int, list[TrainingBox]]
) -> Iterator[GroundingItem]:
    for image in dataset.images:
        caption = _caption(image.caption)
        if caption is None:
            dataset.issues.add(DataIssue.CAPTION, f"{image.file_name}, id {image.id}: {shown(image.caption)}")
        elif image.id in paths:
            named = list(_named(dataset, caption, image.file_name, boxes.get(image.id, ())))
            spans = tuple(spans for _, spans in named)
            yield GroundingItem(paths[image.id], as_array([box for box, _ in named]), caption, spans, image.id)


def _caption(value: object) -> str | None:
    try:
        caption = check_text(value, "the caption")
    except PromptError:
        return None
    return caption if caption.strip() else None


def _named(
    dataset: Dataset, caption: str, image: str, boxes: Sequence[TrainingBox]
) -> Iterator[tuple[TrainingBox, tuple[Span, ...]]]:
    """The boxes with the spans that name them; those that nothing names are left out."""
    assert dataset.spans is not None
    for box in boxes:
        spans = dataset.spans[box.number]
        try:
            yield box, check_spans([spans], caption)[0]  # type: ignore[list-item]  # it checks that they are some
        except PromptError:
            dataset.issues.add(DataIssue.SPAN, f"{image}: {shown(spans)} in {shown(caption)}")


def as_array(boxes: Iterable[TrainingBox]) -> FloatBoxes:
    return np.array([box.corners for box in boxes], np.float32).reshape(-1, 4)


# ------------------------------------------------------------------------------------------------------------- few-shot


def few_shot(train_set: TrainSet, shots: int, seed: int) -> TrainSet:
    """Choose images until every class is in `shots` of them, or in all that it has.

    microsoft/GLIP's rule (data/datasets/modulated_coco.py:62-79): images come one by one, one is taken if any class
    in it is still wanted, and then counts for all its classes. There they come by id, whatever the seed; here in an
    order that depends on the seed and the ids alone, so that no version of any library changes the choice.

    Raises OptionError where `shots` is below one, or the set has captions, and so no classes.
    """
    if shots < 1:
        raise OptionError("shots", shots, "at least 1 image per class is needed")
    if not train_set.labels:
        raise OptionError("shots", shots, f"counts images per class; {train_set.name} has captions and no classes")
    items = [item for item in train_set.items if isinstance(item, DetectionItem)]
    seen: Counter[int] = Counter()
    chosen: set[int] = set()
    for item in sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{item.image_id}".encode()).digest()):
        classes = set(item.labels.tolist())
        if any(seen[number] < shots for number in classes):
            chosen.add(item.image_id)
            seen.update(classes)
    return replace(train_set, items=tuple(item for item in items if item.image_id in chosen))
