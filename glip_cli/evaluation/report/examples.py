"""The outcome of every box, and the best and the worst images of a set with their boxes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from glip_cli.data.image_io import read_image
from glip_cli.errors import ImageError
from glip_cli.evaluation.calibrate import Judged, Threshold, best_threshold
from glip_cli.evaluation.report.page import shortened
from glip_cli.outputs.draw import Rect, place_tags
from glip_cli.outputs.fonts import font_for
from glip_cli.utils.json import JsonObject

if TYPE_CHECKING:
    from hotcoco import COCO, COCOeval

    from glip_cli.data.box_transforms import BoxTransforms
    from glip_cli.evaluation.ground_truth import GroundTruth

MAX_TAGS = 16  # on one image; more would hide it
SIDE = 480  # pixels of an embedded image's longer side, at most
_FAR = 1e9  # pixels: beyond every image
_EACH = 6  # best, and as many worst
_QUALITY, _HEIGHT, _WIDEST = 80, 360, 1080  # units of a drawing: images in a row have one height, so one letter size
_LETTER, _PADDING, _NAME_LENGTH = 14, 4, 22
FOUND, MISSED, LABELLED, RIGHT, WRONG = "found", "missed", "labelled", "right", "wrong"
"""Outcomes of boxes, also their classes in the style sheet: of ground truth (labelled: nothing was asked), and of
detections."""
_ON_TOP = (WRONG, MISSED, LABELLED, RIGHT, FOUND)


@dataclass(frozen=True)
class Mark:
    """A box (x, y, width, height) in pixels of the upright image; `score` of a detection, None of ground truth."""

    box: tuple[float, ...]
    label: str
    outcome: str
    score: float | None = None

    @property
    def text(self) -> str:
        """The isolates keep a name that is written from right to left from moving the number."""
        number = "" if self.score is None else f" {self.score:.2f}"
        return f"\u2068{shortened(self.label, _NAME_LENGTH) or '(blank)'}\u2069{number}"

    @property
    def style(self) -> str:
        """Classes of the style sheet."""
        return f"{self.outcome} {'truth' if self.score is None else 'detection'}"

    @property
    def rank(self) -> tuple[int, float]:
        """Mistakes first, then right detections, then ground truth that was found; the higher score first."""
        return _ON_TOP.index(self.outcome), -(self.score or 0.0)


class Tally(NamedTuple):
    """Numbers of boxes of one image."""

    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 without any box."""
        return 2 * self.right / (2 * self.right + self.wrong + self.missed) if self.right else 0.0

    def __str__(self) -> str:
        return f"F1 {self.f1:.2f}: {self.right} right, {self.wrong} wrong, {self.missed} missed"


class Matches:
    """The boxes of an evaluation, matched at IoU 0.5 within their class, best score first.

    A threshold that leaves out low scores changes no other box's outcome. Boxes that count neither way (crowds and
    what lies in them, LVIS' classes that were not looked for) are left out.

    Attributes:
        judged: all detections, best first.
    """

    def __init__(self, evaluation: COCOeval, ground_truth: GroundTruth):
        self._evaluation = evaluation
        self._labels = {category.id: category.name for category in ground_truth.categories}
        self._found = evaluation.image_diagnostics(iou_thr=0.5)
        status, images = self._found["dt_status"], [image.id for image in ground_truth.images]
        rows = [(row["score"], status[row["id"]] == "tp") for i in images for row in self._detections(i)]
        self.judged = Judged.of(rows, len(self._found["gt_status"]))

    def best(self) -> Threshold:
        """The score threshold with the best F1 of all classes together."""
        scores = self.judged.scores
        return best_threshold(self.judged, float(scores[-1]) if len(scores) else 0.0)

    def curves(self) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
        """Thresholds [101], and over them F1, precision and recall [101]; precision of nothing is 1."""
        thresholds = np.linspace(0, 1, 101)
        kept = np.searchsorted(-self.judged.scores, -thresholds)  # scores above it
        right = np.concatenate([[0], np.cumsum(self.judged.right)])[kept]
        precision = np.where(kept > 0, right / kept.clip(1), 1.0)
        f1 = 2 * right / (kept + self.judged.boxes)
        return thresholds, {"F1": f1, "precision": precision, "recall": right / self.judged.boxes}

    def marks(self, image_id: int, threshold: float) -> Iterator[Mark]:
        """The outcome of each box of an image; detections above the threshold only."""
        kept = {row["id"]: row for row in self._detections(image_id) if row["score"] > threshold}
        for row in _boxes(self._evaluation.coco_gt, image_id):
            if row["id"] in self._found["gt_status"]:
                found = self._found["gt_match"].get(row["id"]) in kept
                yield Mark(tuple(row["bbox"]), self._labels[row["category_id"]], FOUND if found else MISSED)
        for row in kept.values():
            outcome = RIGHT if self._found["dt_status"][row["id"]] == "tp" else WRONG
            yield Mark(tuple(row["bbox"]), self._labels[row["category_id"]], outcome, row["score"])

    def tally(self, image_id: int, threshold: float) -> Tally:
        outcomes = [mark.outcome for mark in self.marks(image_id, threshold)]
        return Tally(outcomes.count(RIGHT), outcomes.count(WRONG), outcomes.count(MISSED))

    def _detections(self, image_id: int) -> list[JsonObject]:
        return [row for row in _boxes(self._evaluation.coco_dt, image_id) if row["id"] in self._found["dt_status"]]


def _boxes(table: COCO, image_id: int) -> list[JsonObject]:
    rows: list[JsonObject] = table.load_anns(table.get_ann_ids(img_ids=[image_id]))
    return rows


@dataclass(frozen=True)
class Drawing:
    """An image and its boxes, as the page draws them."""

    title: str
    caption: str
    jpeg: str  # base64
    size: tuple[float, float]  # (width, height) of the drawing
    scale: float  # units of the drawing per pixel of the image
    marks: tuple[Mark, ...]  # the one on top last
    tags: tuple[tuple[Mark, Rect], ...]  # whose text stands where in the drawing

    @property
    def ratio(self) -> float:
        """Width over height, within what can stand in a row."""
        return min(max(self.size[0] / self.size[1], 0.5), _WIDEST / _HEIGHT)


def draw(image: Image.Image, marks: Sequence[Mark], title: str, caption: str = "") -> Drawing:
    """`image` is upright RGB. Labels are on all boxes but ground truth that was found, mistakes first."""
    scale = min(_HEIGHT / image.height, _WIDEST / image.width)
    size = max(1.0, image.width * scale), max(1.0, image.height * scale)
    ranked = sorted(marks, key=lambda mark: mark.rank)
    tags = _tags([mark for mark in ranked if mark.outcome != FOUND][:MAX_TAGS], scale, size)
    return Drawing(title, caption, _jpeg(image), size, scale, tuple(reversed(ranked)), tags)


def _jpeg(image: Image.Image) -> str:
    small, stream = image.copy(), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def _tags(marks: Sequence[Mark], scale: float, size: tuple[float, float]) -> tuple[tuple[Mark, Rect], ...]:
    boxes = []
    for mark in marks:
        x, y, width, height = (round(value * scale) for value in mark.box)
        boxes.append(Rect(x, y, x + max(width, 1), y + max(height, 1)))
    tag_boxes = place_tags(boxes, [_tag_size(mark.text) for mark in marks], (math.ceil(size[0]), math.ceil(size[1])))
    return tuple((mark, tag_box) for mark, tag_box in zip(marks, tag_boxes, strict=True) if tag_box)[::-1]


def _tag_size(text: str) -> tuple[int, int]:
    shown = text.translate({0x2068: None, 0x2069: None})
    left, _, right, _ = font_for(shown, _LETTER).getbbox(shown)
    return math.ceil(right - left) + 2 * _PADDING, _LETTER + _PADDING


def examples(
    matches: Matches, ground_truth: GroundTruth, images: Mapping[int, Path], transforms: BoxTransforms, threshold: float
) -> dict[str, list[Drawing]]:
    """Up to six of the images with the best F1 and six with the worst; only those that can be read.

    Args:
        images: image id -> file.
        transforms: where the boxes lie in images of another size than their annotations state.
        threshold: detections that do not score more are neither drawn nor counted.
    """
    tallies = {i: matches.tally(i, threshold) for i in images}
    names = {row.id: row.file_name for row in ground_truth.images}

    def drawn(ids: Sequence[int]) -> Iterator[tuple[int, Drawing]]:
        for i in ids:
            if image := readable(images[i]):
                marks = [
                    replace(m, box=drawable(transforms.to_image(i, list(m.box)))) for m in matches.marks(i, threshold)
                ]
                yield i, draw(image, marks, names.get(i, ""), str(tallies[i]))

    good = sorted((i for i in tallies if tallies[i].f1 > 0), key=lambda i: (-tallies[i].f1, -tallies[i].right))
    best = dict(islice(drawn(good), _EACH))
    mistakes = {i: one.wrong + one.missed for i, one in tallies.items() if i not in best}
    bad = sorted((i for i in mistakes if mistakes[i]), key=lambda i: (tallies[i].f1, -mistakes[i]))
    return {"Best": [*best.values()], "Worst": [one for _, one in islice(drawn(bad), _EACH)]}


def drawable(box: Iterable[float]) -> tuple[float, ...]:
    """Numbers of a box that lies anywhere, within what every way of drawing takes."""
    return tuple(min(max(number, -_FAR), _FAR) for number in box)


def readable(path: Path) -> Image.Image | None:
    """None for what cannot be read."""
    try:
        return read_image(path)
    except ImageError:
        return None
