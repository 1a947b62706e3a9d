"""The numbers of `glip eval` on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glip_cli.cli.console import print_line, print_rows
from glip_cli.evaluation.compare import MetricChange
from glip_cli.evaluation.outputs import PublishedValue
from glip_cli.evaluation.report.page import ReportTable
from glip_cli.evaluation.run import EvalResult
from glip_cli.utils.text_format import percent


def show(run: EvalResult, published: Sequence[PublishedValue]) -> None:
    """Facts and numbers, in percent; under the measured ones those that were published, or those of another run."""
    show_facts(run.facts)
    rows = {"measured": {key: percent(value) for key, value in run.metrics.items()}}
    for one in published:
        rows.setdefault(one.source, {})[one.metric] = f"{one.value:.1f}"
    if run.comparison and run.comparison.note:
        rows["now, same images"] = {row.metric: percent(row.b) for row in run.comparison.rows}
    if run.comparison:
        rows["before"] = {row.metric: percent(row.a) for row in run.comparison.rows}
        rows["change"] = {row.metric: change(row) for row in run.comparison.rows}
    show_table(rows, list(run.metrics))


def show_table(rows: Mapping[str, Mapping[str, str]], columns: Sequence[str]) -> None:
    """One line per metric: many of them side by side would not fit a terminal."""
    print_rows(("", *rows), ((column, *(row.get(column, "") for row in rows.values())) for column in columns))


def show_facts(facts: Mapping[str, str]) -> None:
    longest = max(map(len, facts))
    for name, value in facts.items():
        print_line(f"{name:<{longest}}  {value}")


def change(row: MetricChange) -> str:
    if row.difference is None:
        return "-"
    if row.low is None or row.high is None:
        return f"{100 * row.difference:+.1f}"
    return f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} .. {100 * row.high:+.1f})"


def show_rows(table: ReportTable) -> None:
    """A report's table; floats are shares of one."""
    print_rows(
        table.columns,
        ([percent(cell) if isinstance(cell, float) else str(cell or "") for cell in row.cells] for row in table.rows),
    )
    print_line(table.note)
