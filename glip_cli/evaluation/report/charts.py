"""Precision over recall as SVG within the page, and the frame that charts share.

Everything here is in the units of the SVG's view box, y downwards; colours are the style sheet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from glip_cli.evaluation.report.html import Html, element, fragment, name, percent

if TYPE_CHECKING:
    from hotcoco import COCOeval

    from glip_cli.evaluation.coco import ClassScore

Floats = npt.NDArray[np.float64]
MAX_CLASS_CURVES = 80
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Frame:
    """The square from (0, 0) to (1, 1) of a chart, and where it lies in the image."""

    left: float
    top: float
    width: float
    height: float

    def x(self, value: float) -> float:
        return self.left + value * self.width

    def y(self, value: float) -> float:
        return self.top + (1 - value) * self.height

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Straight lines through (x, y) in [0, 1]."""
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points) if points else ""


class Curve(NamedTuple):
    """`precision` [R] at recall 0, 0.01 ... 1."""

    title: str
    precision: Floats

    @property
    def area(self) -> float:
        """AP, as COCO computes it: the mean over the recalls."""
        return float(self.precision.mean())


def precision_table(evaluation: COCOeval) -> Floats:
    """[T, R, K]: precision at each IoU threshold, recall and class, all sizes, most detections; -1 without truth."""
    params = evaluation.params
    all_sizes = list(params.area_rng_lbl).index("all")
    most = int(np.argmax(params.max_dets))
    assert evaluation.eval is not None, "the evaluation was not accumulated"
    table: Floats = np.asarray(evaluation.eval["precision"])[:, :, :, all_sizes, most]
    return table


def mean_curves(evaluation: COCOeval) -> list[Curve]:
    """Means over the classes that have ground truth, at IoU 0.5, 0.75 and over all thresholds; empty without truth."""
    precision = precision_table(evaluation)
    used = precision[:, :, (precision > -1).all(axis=(0, 1))]
    if used.shape[2] == 0 or used.shape[1] == 0:
        return []
    means, thresholds = used.mean(axis=2), np.asarray(evaluation.params.iou_thrs)
    span = f"mean of IoU {thresholds.min():.2f} to {thresholds.max():.2f}"
    at = [(f"IoU {iou:.2f}", means[_nearest(thresholds, iou)]) for iou in (0.5, 0.75)]
    return [Curve(title, curve) for title, curve in [*at, (span, means.mean(axis=0))]]


def _nearest(values: Floats, wanted: float) -> int:
    return int(np.abs(values - wanted).argmin())


def curves_chart(curves: Sequence[Curve]) -> Html:
    """Precision over recall, one line per curve, its area under the curve in the legend."""
    frame = Frame(52, 12, 556, 330)
    lines = (
        element("path", d=frame.path(_points(curve.precision)), class_=f"line series{i + 1}")
        for i, curve in enumerate(curves)
    )
    label = "Precision over recall: " + ", ".join(f"{curve.title} {percent(curve.area)}" for curve in curves)
    parts = (axes(frame, "recall", "precision"), *lines)
    image = element("svg", *parts, viewBox="0 0 620 392", role="img", aria_label=label, class_="chart")
    return element("figure", image, _legend(curves))


def _legend(curves: Sequence[Curve]) -> Html:
    items = (element("li", _sample(i), f" {c.title} ", element("b", percent(c.area))) for i, c in enumerate(curves))
    return element("ul", *items, class_="legend")


def _sample(index: int) -> Html:
    line = element("path", d="M1 5H27", class_=f"line series{index + 1}")
    return element("svg", line, viewBox="0 0 28 10", class_="sample", aria_hidden="true")


def _points(precision: Floats) -> list[tuple[float, float]]:
    recall = np.linspace(0, 1, len(precision))
    return list(zip(recall.tolist(), precision.tolist(), strict=True))


def steps(frame: Frame, precision: Floats) -> str:
    """The same as stairs with a corner only where the value changes: a tenth of the letters of all points."""
    points = _points(precision.clip(0, 1).round(3))
    kept = [points[0]]
    for before, after in pairwise(points):
        if after[1] != before[1]:
            kept += [before, after]
    return frame.path([*kept, points[-1]])


def axes(frame: Frame, x_title: str, y_title: str) -> Html:
    """Lines and numbers at the quarters, and what they measure."""
    parts = []
    for tick in _TICKS:
        x, y = frame.x(tick), frame.y(tick)
        parts.append(element("path", d=f"M{frame.left:g} {y:g}H{frame.left + frame.width:g}", class_="grid"))
        parts.append(chart_text(f"{tick:g}", frame.left - 8, y + 4, "end"))
        parts.append(chart_text(f"{tick:g}", x, frame.top + frame.height + 18, "middle"))
    middle = frame.top + frame.height / 2
    parts.append(chart_text(x_title, frame.x(0.5), frame.top + frame.height + 40, "middle", "title"))
    turned = f"rotate(-90 12 {middle:g})"
    parts.append(element("text", y_title, x=12, y=middle, text_anchor="middle", class_="title", transform=turned))
    return fragment(parts)


def chart_text(text: str, x: float, y: float, anchor: str, class_: str | None = None) -> Html:
    """`anchor` is start, middle or end."""
    return element("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def class_curves(evaluation: COCOeval, scores: Sequence[ClassScore]) -> Html:
    """A small chart for each class with ground truth, by name; of the most frequent ones where they are many."""
    precision = precision_table(evaluation)
    if precision.shape[2] != len(scores):
        return Html("")
    halves = [_nearest(np.asarray(evaluation.params.iou_thrs), iou) for iou in (0.5, 0.75)]
    seen = [k for k in range(len(scores)) if (precision[:, :, k] > -1).all()]
    shown = sorted(seen, key=lambda k: -scores[k].boxes)[:MAX_CLASS_CURVES]
    small = (_small_chart(scores[k], precision[halves, :, k]) for k in sorted(shown, key=lambda k: scores[k].name))
    which = f"the {MAX_CLASS_CURVES} classes with most boxes" if len(shown) < len(seen) else "each class"
    summary = element("summary", f"Curves of {which}")
    return element("details", summary, element("div", *small, class_="curves")) if shown else Html("")


def _small_chart(score: ClassScore, precision: Floats) -> Html:
    frame = Frame(1, 1, 118, 68)
    lines = (element("path", d=steps(frame, curve), class_=f"line series{i + 1}") for i, curve in enumerate(precision))
    box = element("path", d="M1 1V69H119", class_="axis")
    image = element("svg", box, *lines, viewBox="0 0 120 70", class_="chart small", aria_hidden="true")
    caption = element("figcaption", name(score.name, 40), " ", element("b", percent(score.AP50)))
    return element("figure", image, caption)
