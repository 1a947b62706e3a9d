"""What there is to learn from: images with boxes, each box of a class or of words of a caption.

Nothing here reads a file: `readers` makes a `TrainSet`, `batches` turns it into tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
