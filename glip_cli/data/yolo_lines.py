"""Lines of YOLO labels -> boxes.

A line is a class, then numbers in fractions of the upright image:

    cx cy w h                          a box
    cx cy w h  confidence [id]         what predictions and trackers leave
    cx cy w h  K keypoints             of 2 or 3 numbers each, where data.yaml has `kpt_shape`; perhaps confidence, id
    x1 y1 x2 y2 x3 y3 ...              a polygon, or the four corners of a turned box: the box around it

Two forms can have as many numbers. `kpt_shape` and `task` of data.yaml decide; without them all lines of the set
together, and where these do not, nothing is guessed: the lines are an issue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from glip_cli.data.dataset import Annotation, Size, new_annotation
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import read_text, shown
from glip_cli.errors import DataError
from glip_cli.utils.text_format import counted

TASKS = ("detect", "segment", "pose", "obb")
_BOX = 4  # numbers: cx, cy, w, h
_EXTRAS = (0, 1, 2)  # nothing, a confidence, a confidence and an id
_TRIANGLE = 6


@dataclass(frozen=True)
class Form:
    """The form of a line, from data.yaml; `keypoints`: how many numbers of a line are keypoints."""

    task: str | None = None
    keypoints: int | None = None


class YoloLine(NamedTuple):
    """`values` are the numbers after the class, all finite; `number` counts the lines of the file from 1."""

    image_id: int
    category: float
    values: list[float]
    file: Path
    number: int

    @property
    def where(self) -> str:
        return f"{self.file}, line {self.number}"


def read_label_file(image_id: int, file: Path | None, issues: Issues) -> Iterator[YoloLine]:
    """The lines with a class and four or more numbers; all others become issues."""
    if file is None:
        return
    try:
        rows = read_text(file).splitlines()
    except DataError as error:
        issues.add(DataIssue.LINE, str(error))
        return
    for number, row in enumerate(rows, 1):
        try:
            numbers = list(map(float, row.split(",") if "," in row else row.split()))
        except ValueError:
            numbers = []
        if len(numbers) > _BOX and all(map(math.isfinite, numbers)):
            yield YoloLine(image_id, numbers[0], numbers[1:], file, number)
        elif row.strip():
            issues.add(DataIssue.LINE, f"{file}, line {number} is {shown(row.strip())}")


def annotations_of(
    lines: Sequence[YoloLine],
    form: Form,
    sizes: Mapping[int, Size | str],
    classes: Set[int],
    issues: Issues,
) -> Iterator[Annotation]:
    """The boxes of the lines, in pixels; what fits no form is counted."""
    read, count = _reader(lines, form, issues), 0
    for line in lines:
        corners = _from_center(line.values) if len(line.values) == _BOX else read(line.values)
        if corners is None:
            issues.add(DataIssue.LINE, f"{line.where} has {counted(len(line.values) + 1, 'number')}")
        elif line.category not in classes:
            issues.add(DataIssue.BOX_CATEGORY, f"{line.where}: class {line.category:g}")
        elif isinstance(size := sizes[line.image_id], str):
            issues.add(DataIssue.BOX_UNPLACED, line.where)
        else:
            (x1, y1, x2, y2), (width, height) = corners, size
            bbox = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
            try:
                yield new_annotation(count + 1, line.image_id, int(line.category), bbox)
                count += 1
            except DataError as error:
                issues.add(DataIssue.BOX_FORM, f"{line.where}: {error}")


Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2, as fractions."""
Reader = Callable[[Sequence[float]], Corners | None]
"""The numbers after the class -> the box; None where they are none."""


def _reader(lines: Sequence[YoloLine], form: Form, issues: Issues) -> Reader:
    if form.keypoints is not None:
        counts = {base + extra for base in (_BOX, _BOX + form.keypoints) for extra in _EXTRAS}
        return lambda values: _from_center(values) if len(values) in counts else None
    if form.task == "pose":
        return _from_center
    if form.task == "segment":
        return lambda values: _with_extras(values, ends=(0, 1), least=_TRIANGLE)
    if form.task == "obb":
        return lambda values: _around(values[:8]) if len(values) in (8, 9, 10) else _detected(values)
    if form.task == "detect":
        return lambda values: _detected(values) or _with_extras(values, ends=(0,), least=8)
    return _undeclared(lines, issues)


def _detected(values: Sequence[float]) -> Corners | None:
    return _from_center(values) if len(values) - _BOX in _EXTRAS else None


def _with_extras(values: Sequence[float], ends: Sequence[int], least: int) -> Corners | None:
    """A polygon, perhaps with a confidence; a box with one where it is too short for a polygon."""
    if len(values) < least:
        return _from_center(values[:_BOX]) if len(values) == _BOX + 1 else None
    odd = len(values) % 2
    return _around(values[: len(values) - odd]) if odd in ends else None


def _undeclared(lines: Sequence[YoloLine], issues: Issues) -> Reader:
    """The form of lines that data.yaml does not declare, from the lines themselves."""
    short = [line for line in lines if len(line.values) == _TRIANGLE]
    long = [line for line in lines if len(line.values) > _TRIANGLE]
    ids = _end_in_ids([*short, *long])
    if short and not long and not ids and all(line.values[-1].is_integer() for line in short):
        return _undecided(short, "a triangle, or a box with confidence and id", issues)
    if long and _fit_keypoints(long):
        return _undecided(long, "a polygon, or a box with keypoints", issues)

    def read(values: Sequence[float]) -> Corners | None:
        if len(values) == _BOX + 1:
            return _from_center(values)
        if len(values) == _TRIANGLE:
            return _from_center(values) if ids and not long else _around(values)
        return None if len(values) % 2 else _around(values[:-2] if ids else values)

    return read


def _undecided(lines: Sequence[YoloLine], what: str, issues: Issues) -> Reader:
    for line in lines:
        issues.add(DataIssue.LINE_FORM, f"{line.where}: {what}")
    return _from_center  # not used: the issue stops the command


def _end_in_ids(lines: Sequence[YoloLine]) -> bool:
    """Whether all end in a whole number that, in some, is no fraction."""
    ends = [line.values[-1] for line in lines]
    return all(end.is_integer() for end in ends) and any(end > 1 for end in ends)


def _fit_keypoints(lines: Sequence[YoloLine]) -> bool:
    """Whether all have one length and, read as a box and points of 2 or 3 numbers, hold their points in their box."""
    if len({len(line.values) for line in lines}) > 1:
        return False
    rest = len(lines[0].values) - _BOX
    return any(
        rest % size == 0 and all(_holds_points(line.values, size) for line in lines) for size in (2, 3) if rest >= size
    )


def _holds_points(values: Sequence[float], size: int) -> bool:
    """Points at 0, 0 are keypoints that are not seen; a third number says whether one is: 0, 1 or 2."""
    x1, y1, x2, y2 = _from_center(values)
    slack = 1e-6
    for i in range(_BOX, len(values), size):
        x, y, *seen = values[i : i + size]
        inside = x1 - slack <= x <= x2 + slack and y1 - slack <= y <= y2 + slack
        if not (inside or x == y == 0) or any(value not in (0, 1, 2) for value in seen):
            return False
    return True


def _from_center(values: Sequence[float]) -> Corners:
    x, y, width, height = values[:_BOX]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _around(points: Sequence[float]) -> Corners:
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)
