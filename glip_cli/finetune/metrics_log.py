"""What a training was like: rows of numbers, and their curves.

metrics.jsonl   a row per `log_every` steps: {"step", "epoch", "lr", "loss", "token", "box", "centerness", ...};
                a row per validation: {"step", "epoch", "AP", "AP50", ..., "best"}; null where an AP is undefined;
                a row at the end, where images could not be read in training: {"step", "epoch", "unread": {why: times}}
curves.svg      the losses above, AP below, over the steps
tensorboard/    the same numbers, where tensorboard is installed
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glip_cli.evaluation.report.html import Html, element
from glip_cli.outputs.files import atomic_write, json_bytes

Row = dict[str, Any]
LOSSES = ("loss", "token", "box", "centerness")
SCORES = ("AP", "AP50")
COLOURS = ("#222222", "#0072b2", "#d55e00", "#009e73")  # of Okabe and Ito: told apart by everyone
WIDTH, HEIGHT, LEFT, TOP, GAP = 640, 200, 56, 26, 62  # of the drawing, in pixels: each of two panels is HEIGHT high
_NOT_DRAWN = ("step", "epoch", "best", "halved", "unread")


class History:
    """Rows in a file that a kill leaves whole but for its last line.

    Attributes:
        rows: all of them so far.
    """

    def __init__(self, metrics: Path, curves: Path, until: int):
        """Keep what is there of the first `until` steps: what came later is to come again."""
        self._metrics, self._curves = metrics, curves
        self.rows = [row for row in read_rows(metrics) if row["step"] <= until]
        with atomic_write(metrics) as stream:
            stream.writelines(json_bytes(row) + b"\n" for row in self.rows)
        self._board = _tensorboard(metrics.parent / "tensorboard", until)

    def add(self, row: Row) -> None:
        """Raises OSError."""
        self.rows.append(row)
        with self._metrics.open("ab") as stream:
            stream.write(json_bytes(row) + b"\n")
        if self._board:
            for name, value in row.items():
                if name not in _NOT_DRAWN and value is not None:
                    self._board.add_scalar(name, value, row["step"])

    def draw(self) -> None:
        """Write the curves. Raises OSError."""
        with atomic_write(self._curves) as stream:
            stream.write(draw_curves(self.rows).encode())

    def close(self) -> None:
        self.draw()
        if self._board:
            self._board.close()


def read_rows(path: Path) -> list[Row]:
    """Up to the first line that is not whole; none where there is no file."""
    rows: list[Row] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _tensorboard(folder: Path, until: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=until + 1)


def draw_curves(rows: Sequence[Mapping[str, Any]]) -> str:
    """An SVG image, whole in itself: the losses, and below them AP where it was measured."""
    last = max([row["step"] for row in rows], default=1)
    panels = [_panel(_lines(rows, LOSSES), "Losses", TOP, last, None)]
    if scores := _lines(rows, SCORES):
        panels.append(_panel(scores, "AP on --val", TOP + HEIGHT + GAP, last, 1.0))
    size = {"width": LEFT + WIDTH + 24, "height": TOP + len(panels) * (HEIGHT + GAP)}
    ground = element("rect", fill="white", **size)
    font = "font-family:sans-serif;font-size:12px"
    box = f"0 0 {size['width']} {size['height']}"
    return element("svg", ground, *panels, xmlns="http://www.w3.org/2000/svg", viewBox=box, style=font, **size) + "\n"


Line = tuple[str, list[tuple[float, float]]]


def _lines(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Line]:
    """Name and (step, value) points, of what the rows have."""
    lines = ((name, [(row["step"], row[name]) for row in rows if row.get(name) is not None]) for name in names)
    return [(name, points) for name, points in lines if points]


def _panel(lines: Sequence[Line], title: str, top: float, last: int, highest: float | None) -> Html:
    """Curves over steps 0 .. `last`, from 0 to `highest` or to a round number above all values."""
    high = highest or _rounded_up(max((value for _, points in lines for _, value in points), default=1.0))

    def place(step: float, value: float) -> str:
        return f"{LEFT + WIDTH * step / last:.1f},{top + HEIGHT * (1 - value / high):.1f}"

    parts: list[str] = [element("text", title, x=LEFT, y=top - 9, font_weight="bold")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y, x = top + HEIGHT * (1 - share), LEFT + WIDTH * share
        parts.append(element("path", d=f"M{LEFT} {y:.1f}h{WIDTH}", stroke="#dddddd"))
        parts.append(element("text", f"{high * share:.3g}", x=LEFT - 8, y=y + 4, text_anchor="end"))
        parts.append(element("text", f"{last * share:.0f}", x=x, y=top + HEIGHT + 18, text_anchor="middle"))
    for i, (name, points) in enumerate(lines):
        corners = " ".join(place(*point) for point in points)
        parts.append(element("polyline", points=corners, fill="none", stroke=COLOURS[i], stroke_width=2))
        parts += [element("circle", cx=p.split(",")[0], cy=p.split(",")[1], r=2.5, fill=COLOURS[i])
                  for p in corners.split() if len(points) <= 40]  # fmt: skip
        parts.append(element("text", name, x=LEFT + 120 + 90 * i, y=top - 9, fill=COLOURS[i]))
    parts.append(element("text", "step", x=LEFT + WIDTH, y=top + HEIGHT + 34, text_anchor="end"))
    return element("g", *parts)


def _rounded_up(value: float) -> float:
    """To a number that has short quarters; 1 for 0."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * digit for digit in (1, 2, 4, 6, 8, 10) if value <= unit * digit)
