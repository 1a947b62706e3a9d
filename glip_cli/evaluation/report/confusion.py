"""What was taken for what: boxes matched regardless of class, at IoU 0.5, above one score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from glip_cli.evaluation.report.html import Html, count, element, fragment, name, paragraph, percent, plural
from glip_cli.evaluation.report.tables import count_cell, name_cell, share_cell, table

if TYPE_CHECKING:
    from hotcoco import COCOeval

MAX_CLASSES = 30  # of a matrix that can be read whole
_MOST_CONFUSED = 18
_MAX_PAIRS = 15
_FAINTEST = 0.08  # so that a single mistake in a large row shows
_DARK = 0.78  # share from which a cell's number is written light on dark

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Confusion:
    """`matrix[i, j]`: boxes of class i taken for class j. The last row and column stand for "nothing there".

    Attributes:
        matrix: int64 [K + 1, K + 1].
        names: K names.
    """

    matrix: Counts
    names: tuple[str, ...]


def confusion_of(evaluation: COCOeval, names: Sequence[str], score: float) -> Confusion:
    """The matrix at IoU 0.5 of detections with at least `score`.

    Args:
        evaluation: of rules under which every object has its box; not federated ones.
        names: in the order of the evaluation's category ids.
        score: in [0, 1].
    """
    found = evaluation.confusion_matrix(iou_thr=0.5, min_score=score)
    return Confusion(np.asarray(found["matrix"]).astype(np.int64), tuple(names))


def confusion_content(confusion: Confusion, has_crowds: bool) -> Html:
    """The matrix, of the most confused classes only where they are many, and the most frequent mistakes as a list."""
    classes = len(confusion.names)
    shown = list(range(classes)) if classes <= MAX_CLASSES else _most_confused(confusion)
    remarks = [
        "A row is a class as it is, a column what its boxes were taken for; shading is the share of the row. "
        "“Nothing” as a column holds boxes that were missed, as a row detections where there is no box."
    ]
    if len(shown) < classes:
        remarks.append(f" Of {classes} classes, the {len(shown)} most often confused are shown; “other” sums the rest.")
    if has_crowds:
        remarks.append(" Detections inside crowd regions count as detections of nothing here, though not in AP.")
    return fragment([paragraph(*remarks), _matrix(*reduced(confusion, shown)), _pairs(confusion)])


def _most_confused(confusion: Confusion) -> list[int]:
    """Classes most often taken for another or another for them, in the data set's order."""
    between = _between(confusion)
    mistakes = between.sum(axis=0) + between.sum(axis=1)
    worst = np.argsort(-mistakes, kind="stable")[:_MOST_CONFUSED]
    return sorted(int(i) for i in worst if mistakes[i])


def _between(confusion: Confusion) -> Counts:
    """[K, K] without the diagonal."""
    between = confusion.matrix[:-1, :-1].copy()
    np.fill_diagonal(between, 0)
    return between


def reduced(confusion: Confusion, shown: Sequence[int]) -> tuple[Counts, list[str]]:
    """Rows and columns of `shown`, of the other classes together (where there are any), and of nothing."""
    classes = len(confusion.names)
    groups = [[i] for i in shown]
    names = [confusion.names[i] for i in shown]
    rest = sorted(set(range(classes)) - set(shown))
    if rest:
        groups.append(rest)
        names.append("other")
    groups.append([classes])
    rows = np.stack([confusion.matrix[group].sum(axis=0) for group in groups])
    return np.stack([rows[:, group].sum(axis=1) for group in groups], axis=1), [*names, "nothing"]


def _matrix(matrix: Counts, names: Sequence[str]) -> Html:
    heads = (element("th", element("div", name(text, 24)), scope="col") for text in names)
    head = element("tr", element("td"), *heads)
    rows = (_matrix_row(matrix[i], names, i) for i in range(len(names)))
    whole = element("table", element("thead", head), element("tbody", *rows), class_="matrix")
    return element("div", whole, class_="scroll", tabindex=0)


def _matrix_row(row: Counts, names: Sequence[str], index: int) -> Html:
    total = max(int(row.sum()), 1)
    cells = (_matrix_cell(int(value), int(value) / total, names[index], names[j]) for j, value in enumerate(row))
    return element("tr", element("th", name(names[index], 24), scope="row"), *cells)


def _matrix_cell(value: int, share: float, truth: str, taken: str) -> Html:
    if value == 0:
        return element("td")
    tip = f"{truth} → {taken}: {count(value)} ({percent(share)} %)"
    dark = "dark" if share > _DARK else None
    return element("td", count(value), style=f"--share:{max(share, _FAINTEST):.2f}", class_=dark, title=tip)


def _pairs(confusion: Confusion) -> Html:
    between, boxes = _between(confusion), confusion.matrix[:-1].sum(axis=1)
    shares = between / boxes.clip(min=1)[:, None]
    order = np.lexsort((-shares.ravel(), -between.ravel()))[:_MAX_PAIRS]
    pairs = [(int(flat) // len(between), int(flat) % len(between)) for flat in order]
    rows = [
        (
            name_cell(confusion.names[i]),
            name_cell(confusion.names[j]),
            count_cell(int(between[i, j])),
            share_cell(float(shares[i, j]), bar=True),
        )
        for i, j in pairs
        if between[i, j]
    ]
    if not rows:
        return paragraph("No box was taken for another class.")
    title = element("h3", f"Most frequent: {plural(len(rows), 'pair')}")
    return fragment([title, table(("is", "taken for", "boxes", "% of its boxes"), rows)])
