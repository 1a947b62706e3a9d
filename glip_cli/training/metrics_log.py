"""The metrics of a training: rows of numbers, and their curves.

metrics.jsonl   a row per `log_every` steps: {"step", "epoch", "lr", "loss", "token", "box", "centerness", ...};
                a row per validation: {"step", "epoch", "AP", ..., "precision", ..., "val_loss", ..., "best"}; null
                where a number is undefined;
                a row at the end, where images could not be read in training: {"step", "epoch", "unread": {why: times}}
curves.svg      losses, AP, precision, recall and the learning rate over the epochs
tensorboard/    the same numbers, where tensorboard is installed
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from glip_cli.evaluation.report.charts import INK, SERIES, STYLES, figure, to_svg
from glip_cli.outputs.files import atomic_write, json_bytes
from glip_cli.utils.json import JsonObject, parsed_object

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

Row = JsonObject
"""See above."""
Points = tuple[list[float], list[float]]
DRAW_EVERY = 10.0  # seconds between two drawings of curves.svg
_NOT_DRAWN = ("step", "epoch", "best", "halved", "unread")


class Curve(NamedTuple):
    """
    Attributes:
        label: in the legend; None: it has the colour of one that is there.
        colour, style: indices into `SERIES` and `STYLES`.
    """

    name: str
    label: str | None
    colour: int = 0
    style: int = 0


class Panel(NamedTuple):
    """Lines over the epochs; `factor` makes percent of shares."""

    title: str
    curves: tuple[Curve, ...]
    factor: float = 1.0
    height: int = 2


PARTS = ("token", "box", "centerness")
LOSSES = (
    Panel("Loss", (Curve("loss", "training"), Curve("val_loss", "--val", 1, 1))),
    Panel("Its parts (dashed: --val)", (
        *(Curve(name, name, i) for i, name in enumerate(PARTS)),
        *(Curve(f"val_{name}", None, i, 1) for i, name in enumerate(PARTS)),
    )),
)  # fmt: skip
SCORES = (
    Panel("AP on --val, %", (Curve("AP", "AP"), Curve("AP50", "AP50", 1, 1)), 100.0),
    Panel("At score 0.3, %", (
        Curve("precision", "precision"), Curve("recall", "recall", 1, 1), Curve("F1", "F1", 2, 2),
        Curve("max_F1", "best F1", 3, 3),
    ), 100.0),
)  # fmt: skip
RATES = (Panel("Learning rate", (Curve("lr", None),), height=1),)


class History:
    """Rows in a file that a kill leaves whole but for its last line.

    Attributes:
        rows: all of them so far.
    """

    def __init__(self, metrics: Path, curves: Path, until: int):
        """Keep the rows of the first `until` steps and drop later ones, which a resumed training writes again."""
        self._metrics, self._curves = metrics, curves
        self.rows = [row for row in read_rows(metrics) if row["step"] <= until]
        with atomic_write(metrics) as stream:
            stream.writelines(json_bytes(row) + b"\n" for row in self.rows)
        self._drawn = time.monotonic()
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

    def draw(self, always: bool = False) -> bool:
        """Write the curves, but not too often unless `always`; whether they were written. Raises OSError."""
        if not always and time.monotonic() - self._drawn < DRAW_EVERY:
            return False
        with figure(6.4, 6.4) as drawn:
            draw_curves(drawn, self.rows, (*LOSSES, *SCORES, *RATES))
            svg = to_svg(drawn, ground="white")
        with atomic_write(self._curves) as stream:
            stream.write(svg.encode())
        self._drawn = time.monotonic()
        return True

    def close(self) -> None:
        """Write the curves. Raises OSError."""
        self.draw(always=True)
        if self._board:
            self._board.close()


def read_rows(path: Path) -> list[Row]:
    """Up to the first line that is not whole; none where there is no file."""
    rows: list[Row] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        row = parsed_object(line)
        if row is None or not all(isinstance(row.get(key), int | float) for key in ("step", "epoch")):
            break
        rows.append(row)
    return rows


def best_row(rows: Sequence[Row]) -> Row | None:
    """The validation metrics of the best checkpoint so far; None before the first."""
    return next((row for row in reversed(rows) if row.get("best")), None)


def _tensorboard(folder: Path, until: int) -> SummaryWriter | None:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=until + 1)


def draw_curves(drawn: Figure, rows: Sequence[Row], panels: Sequence[Panel]) -> None:
    """The panels that the rows have numbers for (the first in any case), one above the other, over the epochs."""
    shown = [one for one in panels if any(points(rows, curve.name)[0] for curve in one.curves)] or [panels[0]]
    heights = [one.height for one in shown]
    drawn.set_figheight(1.2 * sum(heights) + 0.4)
    axes = drawn.subplots(len(shown), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for one, here in zip(shown, axes, strict=True):
        _draw_panel(here, one, rows)
    steps = [(row["step"], row["epoch"]) for row in rows if row.get("epoch")]
    axes[-1].locator_params(axis="x", integer=True)
    axes[-1].set_xlabel(f"epoch of {steps[-1][0] / steps[-1][1]:.0f} steps" if steps else "epoch")


def _draw_panel(axes: Axes, panel: Panel, rows: Sequence[Row]) -> None:
    found = [(curve, *points(rows, curve.name)) for curve in panel.curves]
    for curve, x, y in found:
        if x:
            y = [panel.factor * value for value in y]
            marker, color, style = "." if len(x) <= 40 else None, SERIES[curve.colour], STYLES[curve.style]
            axes.plot(x, y, marker=marker, color=color, linestyle=style, label=curve.label)
    axes.set(title=panel.title, ylim=(0, _top([y for _, _, y in found]) * panel.factor))
    if len(panel.curves) > 1 and axes.lines:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=4, borderaxespad=0, columnspacing=1.2)
    if panel.curves[0].name == "AP":
        _mark_best(axes, rows)


def _mark_best(axes: Axes, rows: Sequence[Row]) -> None:
    """The state that is kept."""
    if best := best_row([row for row in rows if row.get("AP") is not None]):
        axes.axvline(best["epoch"], color=INK, linewidth=0.8, linestyle=":")
        axes.plot([best["epoch"]], [100 * best["AP"]], "o", color=SERIES[0])
        is_late = best["epoch"] > 0.8 * rows[-1]["epoch"]  # there is no room to the right
        axes.annotate(
            f"best {100 * best['AP']:.1f}", (best["epoch"], 100 * best["AP"]), textcoords="offset points", color=INK,
            ha="right" if is_late else "left", xytext=(-6, 5) if is_late else (4, 5),
        )  # fmt: skip


def points(rows: Sequence[Row], name: str) -> Points:
    """Epochs and values of what the rows have.

    A row of training is a mean over the steps since the one before. One of few steps, as at an epoch's end, is noise:
    it joins the one before, each weighted by its steps. Rows of validation, which alone have "best", stay as they are.
    """
    found = [row for row in rows if row.get(name) is not None]
    if any("best" in row for row in found):
        return [row["epoch"] for row in found], [row[name] for row in found]
    steps = [row["step"] - before for row, before in zip(found, [0, *(row["step"] for row in found)], strict=False)]
    few = max(steps, default=0) / 2
    merged: list[tuple[float, float, int]] = []
    for row, count in zip(found, steps, strict=True):
        value = row[name]
        if merged and count < few:
            _, last, more = merged.pop()
            value, count = (value * count + last * more) / (count + more), count + more
        merged.append((row["epoch"], value, count))
    return [x for x, _, _ in merged], [y for _, y, _ in merged]


def _top(curves: Sequence[Sequence[float]]) -> float:
    """Just above all values but the first tenth, whose losses would set the scale alone."""
    values = [value for curve in curves for value in curve[-(-len(curve) // 10) if len(curve) > 3 else 0 :]]
    return 1.08 * max(values, default=1.0) or 1.0
