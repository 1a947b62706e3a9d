"""`report.html`: one file to look at, which fetches nothing and can be sent to anyone.

`write_report` shows a run of boxes (COCO, LVIS, an ODinW set); `write_table_report` shows tables of numbers
(Flickr30k's recall, the summary of ODinW). Every text from a data set is escaped, see `report_html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glip_cli.data.frames import Frames
from glip_cli.errors import OutputError
from glip_cli.evaluation.report.html import Html, Section, facts_list, fragment, notes_list, page, paragraph, plural
from glip_cli.evaluation.report.sections import comparison_content, headline, run_sections
from glip_cli.evaluation.report.tables import count_cell, name_cell, share_cell, table
from glip_cli.outputs.files import atomic_write

if TYPE_CHECKING:
    from glip_cli.evaluation.coco import BoxScores
    from glip_cli.evaluation.compare import Comparison
    from glip_cli.evaluation.ground_truth import GroundTruth


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    scores: BoxScores,
    ground_truth: GroundTruth,
    results: Sequence[Mapping[str, Any]],
    images: Mapping[int, Path],
    frames: Frames | None = None,
    comparison: Comparison | None = None,
    notes: Sequence[str] = (),
) -> None:
    """A run's numbers, curves, mistakes and images. Appears under `path` only when it is whole.

    Args:
        path: the file; its folder is made.
        title: the page's heading.
        facts: name -> value: the model and its hash, the settings, a published value ...
        scores: the numbers and the evaluation they come from.
        ground_truth: what was evaluated against.
        results: the detections, for their number.
        images: image id -> file; images without one are not among the examples.
        frames: the images of another size than their annotations, and where the boxes lie in them.
        comparison: from another run, its `a`, to this one, its `b`.
        notes: what the reader has to know, one line each.

    Raises:
        OutputError: the file cannot be written.
    """
    size = [
        plural(len(ground_truth.images), "image"),
        plural(len(ground_truth.annotations), "box", "boxes"),
        plural(len(ground_truth.categories), "class", "classes"),
        plural(len(results), "detection"),
    ]
    lead = fragment([paragraph(f"{scores.protocol} · {' · '.join(size)}"), headline(scores.summary)])
    sections = [Section("run", "The run", fragment([facts_list(facts), notes_list(notes)]))] if facts or notes else []
    if comparison is not None:
        sections.append(Section("comparison", "Comparison", comparison_content(comparison)))
    sections += run_sections(scores, ground_truth, images, frames or Frames())
    _write(path, page(title, lead, sections))


@dataclass(frozen=True)
class Row:
    """Cells of a table; `link` is where the first leads to: a path relative to the report.

    A float is a share of one, shown in percent; None a number that does not exist.
    """

    cells: tuple[str | int | float | None, ...]
    link: str | None = None


@dataclass(frozen=True)
class Table:
    """Columns' titles, rows of as many cells, and a remark below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"{len(row.cells)} cells but {len(self.columns)} columns: {row.cells!r}")


def write_table_report(path: Path, *, title: str, facts: Mapping[str, str], tables: Sequence[Table]) -> None:
    """Tables of numbers, each sortable, in the same frame.

    Raises:
        ValueError: a row's link is not relative.
        OutputError: the file cannot be written.
    """
    sections = [Section(f"table{i + 1}", one.title, _table(one)) for i, one in enumerate(tables)]
    _write(path, page(title, facts_list(facts), sections))


def _table(one: Table) -> Html:
    rows = [
        [_cell(cell, row.link if i == 0 else None, bar=i == 1) for i, cell in enumerate(row.cells)] for row in one.rows
    ]
    return fragment([table(one.columns, rows), paragraph(one.note) if one.note else Html("")])


def _cell(value: str | int | float | None, link: str | None, bar: bool) -> Html:
    if isinstance(value, str):
        return name_cell(value, link)
    if isinstance(value, int):
        return count_cell(value)
    return share_cell(value, bar=bar)


def _write(path: Path, text: str) -> None:
    try:
        with atomic_write(path) as stream:
            stream.write(text.encode("utf-8"))
    except OSError as failure:
        raise OutputError(f"{path}: cannot be written ({failure.strerror or failure}); choose another") from failure
