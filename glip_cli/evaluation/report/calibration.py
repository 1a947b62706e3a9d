"""How far a score can be believed, as SVG within the page."""

from __future__ import annotations

from typing import Any

from glip_cli.evaluation.report.charts import Frame, axes, chart_text
from glip_cli.evaluation.report.html import Html, compact, element, fragment, percent, plural


def calibration_figure(calibration: dict[str, Any]) -> Html:
    """Reliability (Guo et al., arXiv 1706.04599): the share of right detections in each tenth of the scores.

    Args:
        calibration: hotcoco's, with `bins` of bin_lower, bin_upper, avg_confidence, avg_accuracy, count.
    """
    frame, below = Frame(52, 12, 400, 300), Frame(52, 372, 400, 60)
    bins = [item for item in calibration["bins"] if item["count"]]
    most = max(item["count"] for item in bins)
    columns = fragment(_reliability(frame, item) for item in bins)
    counts = fragment(_count_column(below, item, most) for item in bins)
    diagonal = element("path", d=frame.path([(0, 0), (1, 1)]), class_="diagonal")
    base = element("path", d=f"M52 {below.y(0):g}H452", class_="axis")
    label = f"Reliability diagram; expected calibration error {percent(calibration['ece'])} points"
    parts = (axes(frame, "score", "share that is right"), columns, diagonal, counts, base)
    image = element("svg", *parts, viewBox="0 0 464 452", role="img", aria_label=label, class_="chart narrow")
    promises = (("column", "right"), ("gap over", "promised too much"), ("gap under", "promised too little"))
    legend = element("ul", *(element("li", _patch(kind), f" {text}") for kind, text in promises), class_="legend")
    return element("figure", image, legend)


def _patch(kind: str) -> Html:
    patch = element("rect", x=1, y=1, width=26, height=12, class_=kind)
    return element("svg", patch, viewBox="0 0 28 14", class_="sample", aria_hidden="true")


def _reliability(frame: Frame, item: dict[str, Any]) -> Html:
    left, right = frame.x(item["bin_lower"]) + 1, frame.x(item["bin_upper"]) - 1
    right_share, score = item["avg_accuracy"], item["avg_confidence"]
    tip = f"scores {score:.2f} on average, {percent(right_share)} % right, {plural(item['count'], 'detection')}"
    column = {"x": left, "width": right - left}
    gap_top, gap_bottom = frame.y(max(right_share, score)), frame.y(min(right_share, score))
    solid = element("rect", **column, y=frame.y(right_share), height=right_share * frame.height, class_="column")
    kind = "gap over" if score > right_share else "gap under"
    gap = element("rect", **column, y=gap_top, height=gap_bottom - gap_top, class_=kind)
    return element("g", element("title", tip), solid, gap)


def _count_column(frame: Frame, item: dict[str, Any], most: int) -> Html:
    left, right = frame.x(item["bin_lower"]) + 1, frame.x(item["bin_upper"]) - 1
    share = item["count"] / most
    bar = element("rect", x=left, width=right - left, y=frame.y(share), height=share * frame.height, class_="count")
    return fragment([bar, chart_text(compact(item["count"]), (left + right) / 2, frame.y(share) - 4, "middle")])
