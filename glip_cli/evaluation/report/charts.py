"""Curves of a page as SVG, by matplotlib, in the page's own colours and fonts: light, dark or in print.

No chart holds a text of a data set, so matplotlib's fonts have every letter.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from glip_cli.utils.json import JsonObject

if TYPE_CHECKING:
    from hotcoco import COCOeval
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

Floats = npt.NDArray[np.float64]
INK, SOFT, RULE = "#1d1f21", "#5c6166", "#dcdcd6"
SERIES = ("#0072b2", "#c65300", "#00805f", "#8a5a9e")  # after Okabe and Ito: distinct with any colour vision
BAR = "#9fc9e6"
_VARIABLES = {INK: "ink", SOFT: "soft", RULE: "rule", BAR: "bar", **{c: f"series{i}" for i, c in enumerate(SERIES, 1)}}
STYLES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), "-.")
_UNUSED = re.compile(
    r' id="[a-z][a-z_0-9.]*_\d+"'  # of groups; clip paths have hashes
    r'| width="[^"]*pt"| height="[^"]*pt"| xmlns:xlink="[^"]*"| version="1.1"'
    r"|<metadata>.*?</metadata>|<style.*?</style>",
    re.DOTALL,
)
_RC: dict[RcKeyType, object] = {
    "svg.fonttype": "none", "axes.facecolor": "none", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": SOFT, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "text.color": INK, "xtick.color": SOFT, "ytick.color": SOFT, "axes.grid": True, "grid.color": RULE,
    "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "axes.titlesize": 9,
    "axes.titleweight": "bold", "axes.titlelocation": "left",
}  # fmt: skip


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches, with this module's style while it is drawn on."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a home that cannot be written
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        yield Figure(figsize=(width, height), layout="constrained")


def to_svg(figure: Figure, salt: str = "", ground: str = "none") -> str:
    """The text of an SVG file on a ground of this colour; `salt` keeps its ids apart from those of other charts."""
    from matplotlib import rcParams

    rcParams["svg.hashsalt"], stream = f"glip {salt}", io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, facecolor=ground)
    return stream.getvalue()


def to_markup(figure: Figure, label: str) -> Markup:
    """The SVG for a page: colours are its variables, and `label` says to a screen reader what is shown."""
    svg = _UNUSED.sub("", to_svg(figure, label).partition("<svg")[2])
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return Markup('<svg class="chart" role="img" aria-label="{}"{}').format(label, Markup(svg))


def precision_table(evaluation: COCOeval) -> Floats:
    """[T, R, K]: precision at each IoU threshold, recall and class, all sizes, most detections; -1 without truth."""
    params = evaluation.params
    all_sizes, most = list(params.area_rng_lbl).index("all"), int(np.argmax(params.max_dets))
    assert evaluation.eval is not None, "the evaluation was not accumulated"
    table: Floats = np.asarray(evaluation.eval["precision"])[:, :, :, all_sizes, most]
    return table


def nearest_iou(evaluation: COCOeval, iou: float) -> int:
    return int(np.abs(np.asarray(evaluation.params.iou_thrs) - iou).argmin())


def mean_curves(evaluation: COCOeval) -> dict[str, Floats]:
    """Precision [R] over recall at IoU 0.5, 0.75 and over all thresholds; empty without ground truth.

    Means over the classes that have ground truth. The mean of a curve is AP, as COCO computes it.
    """
    precision = precision_table(evaluation)
    used = precision[:, :, (precision > -1).all(axis=(0, 1))]
    if used.shape[2] == 0 or used.shape[1] == 0:
        return {}
    means, thresholds = used.mean(axis=2), np.asarray(evaluation.params.iou_thrs)
    span = f"mean of IoU {thresholds.min():.2f} to {thresholds.max():.2f}"
    at = {f"IoU {iou:.2f}": means[nearest_iou(evaluation, iou)] for iou in (0.5, 0.75)}
    return {**at, span: means.mean(axis=0)}


def precision_chart(curves: Mapping[str, Floats]) -> Markup:
    """Precision [R] over recall, with the area under each curve."""
    labels = [f"{title}: {100 * curve.mean():.1f}" for title, curve in curves.items()]
    with figure(5.2, 3.4) as drawn:
        axes = _unit_axes(drawn, "recall", "precision")
        for curve, label, colour, style in zip(curves.values(), labels, SERIES, STYLES, strict=False):
            axes.plot(np.linspace(0, 1, len(curve)), curve, color=colour, linestyle=style, label=label)
        drawn.legend(loc="outside upper left", ncols=3)
        return to_markup(drawn, f"Precision over recall; areas: {', '.join(labels)}")


def threshold_chart(thresholds: Floats, lines: Mapping[str, Floats], best: float) -> Markup:
    """Lines [n] over score thresholds [n], and where F1 is best."""
    with figure(5.2, 3.4) as drawn:
        axes = _unit_axes(drawn, "score threshold", "share")
        for (name, values), colour, style in zip(lines.items(), SERIES, STYLES, strict=False):
            axes.plot(thresholds, values, color=colour, linestyle=style, label=name)
        axes.axvline(best, color=INK, linewidth=0.8)
        axes.annotate(f" {best:.3f}", (best, 1), color=INK, va="top")
        drawn.legend(loc="outside upper left", ncols=3)
        return to_markup(drawn, f"{', '.join(lines)} over the score threshold; F1 is best at {best:.3f}")


def calibration_chart(calibration: JsonObject) -> Markup:
    """The share of right detections in each tenth of the scores (Guo et al., arXiv 1706.04599), and their numbers.

    Args:
        calibration: hotcoco's, with `bins` of bin_lower, bin_upper, avg_confidence, avg_accuracy, count.
    """
    bins = [item for item in calibration["bins"] if item["count"]]
    middle = [(item["bin_lower"] + item["bin_upper"]) / 2 for item in bins]
    width = 0.9 * (bins[0]["bin_upper"] - bins[0]["bin_lower"])
    with figure(5.2, 3.4) as drawn:
        axes = _unit_axes(drawn, "score", "share that is right")
        axes.bar(middle, [item["avg_accuracy"] for item in bins], width, color=BAR, label="right")
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
        scores = [item["avg_confidence"] for item in bins]
        axes.plot(scores, scores, "o", color=SERIES[1], markersize=4, label="mean score")
        for x, item in zip(middle, bins, strict=True):
            top = max(item["avg_accuracy"], item["avg_confidence"])
            axes.annotate(f"{item['count']}", (x, top), (0, 5), textcoords="offset points", ha="center", color=SOFT)
        drawn.legend(loc="outside upper left", ncols=3)
        return to_markup(drawn, f"Reliability; expected calibration error {100 * calibration['ece']:.1f} points")


def _unit_axes(drawn: Figure, x_title: str, y_title: str) -> Axes:
    """Both from 0 to 1."""
    axes = drawn.subplots()
    axes.set(xlabel=x_title, ylabel=y_title, xlim=(0, 1), ylim=(0, 1.05))
    return axes


def sparkline(precision: Floats) -> str:
    """Points of an SVG polyline in a box of 100 by 30, of precision [R] over recall."""
    y = 30 * (1 - precision[::5].clip(0, 1))
    x = np.linspace(0, 100, len(y))
    return " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(x, y, strict=True))
