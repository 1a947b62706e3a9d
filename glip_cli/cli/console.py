"""Messages and progress on stderr, JSON on stdout. rich is imported only where a terminal needs it."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from glip_cli.errors import GlipError
from glip_cli.utils.text_format import counted, message, one_line

if TYPE_CHECKING:
    import rich.console
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table

LINE_SECONDS = 10.0  # between two plain lines of a long run
_FILE_WIDTH = 10_000  # columns of what is no terminal


def stderr() -> rich.console.Console:
    """For tables and bars."""
    import rich.console

    return rich.console.Console(stderr=True, highlight=False, soft_wrap=True)


def _on_terminal(console: Console) -> bool:
    """Whether stderr is a terminal that shows progress bars."""
    return not console.quiet and stderr().is_terminal


def print_json(value: object) -> None:
    """One line on stdout; letters that its encoding may lack as JSON's own escapes."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not is_utf8, default=str), flush=True)


def print_line(text: str) -> None:
    """One line on stdout; what a file or a server wrote cannot steer the terminal."""
    print(one_line(text))


class Console:
    """Messages for the user on stderr, silenced by --quiet; errors are not."""

    def __init__(self, quiet: bool):
        self.quiet = quiet

    def info(self, text: str) -> None:
        """One line, as `print_line`."""
        if not self.quiet:
            print(one_line(text), file=sys.stderr)

    def warn(self, *notes: str) -> None:
        """A line for each thing that the user should know of the results."""
        for remark in notes:
            self.info(f"note: {message(remark)}")


def print_table(table: Table, *, error: bool = False, soft_wrap: bool = True) -> None:
    """A table on stdout, or on stderr; brackets in it are no markup. In a file or a pipe each row is one line."""
    import rich.console

    console = rich.console.Console(stderr=error, soft_wrap=soft_wrap, highlight=False, markup=False)
    if soft_wrap and not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(table)


def print_rows(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, text: Collection[int] = (0,), error: bool = False
) -> None:
    """A table of numbers, which stand to the right; `text` are the columns that do not, counted from 0."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i in text else "right")
    for row in rows:
        table.add_row(*row)
    print_table(table, error=error)


def say_error(error: object) -> None:
    """The one line of an error, which --quiet does not silence."""
    print(f"glip: error: {message(error)}", file=sys.stderr)


class DownloadBar:
    """Shows a download: a bar on a terminal, a line at its start and end elsewhere."""

    def __init__(self, console: Console):
        self._console = console
        self._progress: Progress | None = None

    def started(self, name: str, url: str, total: int | None) -> None:
        size = f"{total / 1e6:,.0f} MB" if total else "size unknown"
        self._console.info(f"downloading {name} ({size}) from {url}")
        if _on_terminal(self._console):
            from rich import progress as bars

            name_column = bars.TextColumn("  {task.description}")
            self._progress = _bar(name_column, bars.BarColumn(), bars.DownloadColumn(), bars.TransferSpeedColumn())
            self._progress.start()
            self._progress.add_task(name, total=total)

    def advanced(self, count: int) -> None:
        if self._progress:
            self._progress.advance(self._progress.task_ids[0], count)

    def done(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None


@contextmanager
def image_bar(console: Console, total: int | None) -> Iterator[Callable[[], None]]:
    """A function to call after each image: a bar on a terminal, nothing elsewhere (each image has its own line)."""
    if (total is not None and total < 3) or not _on_terminal(console):
        yield lambda: None
        return
    from rich import progress as bars

    with _bar(bars.BarColumn(), bars.MofNCompleteColumn(), bars.TextColumn("images")) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


class BatchBar:
    """Follows a long run: count, rate and time left, as a bar on a terminal and as plain lines elsewhere.

    Attributes:
        done: records that were made while it watched.
        seconds: how long it watched.
    """

    def __init__(self, console: Console, count: Callable[[], int | None] | None, noun: str = "image"):
        """`count` returns the total; it may take long, so a thread calls it. `noun`: what is counted."""
        self.done, self.seconds = 0, 0.0
        self._console, self._count, self._noun = console, count, noun
        self._total: int | None = None
        self._before = self._failed = 0
        self._begin = self._first = self._said = time.monotonic()
        self._progress: Progress | None = None

    def started(self, before: int) -> None:
        """Begin, with the number of images that are done already."""
        self._before, self._begin = before, time.monotonic()
        self._said = self._begin
        if before:
            self._console.info(f"going on after {counted(before, self._noun)}")
        if self._count and not self._console.quiet:
            threading.Thread(target=self._learn_total, daemon=True).start()
        if _on_terminal(self._console):
            self._progress = _batch_bar(self._noun)
            self._task = self._progress.add_task("", total=self._total, completed=before)
            self._progress.start()

    def add(self, record: Mapping[str, object]) -> None:
        """Count one record; an error is printed at once."""
        self.done += 1
        if self.done == 1:
            self._first = self._said = time.monotonic()  # the rate is that after it: some engines are slow to start
        if "error" in record:
            self._failed += 1
            say_error(record["error"])
        if self._progress:
            self._progress.update(self._task, completed=self._before + self.done, total=self._total)
        elif self.done > 1 and time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self._console.info(self._line((self.done - 1) / (self._said - self._first)))

    def _line(self, rate: float) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        if self._total is None:
            return f"{counted(self._before + self.done, self._noun)}, {rate:.1f}/s{failed}"
        left = (self._total - self._before - self.done) / rate
        of_all = f"{self._before + self.done} of {counted(self._total, self._noun)}"
        return f"{of_all}, {rate:.1f}/s, {left:.0f} s left{failed}"

    def _learn_total(self) -> None:
        with contextlib.suppress(GlipError, OSError):  # which the run itself reports
            self._total = self._count() if self._count else None

    def __enter__(self) -> BatchBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._begin
        if self._progress:
            self._progress.stop()


def _batch_bar(noun: str) -> Progress:
    from rich import progress as bars
    from rich.text import Text

    class Rate(bars.ProgressColumn):
        def render(self, task: bars.Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    return _bar(bars.BarColumn(), bars.MofNCompleteColumn(), bars.TextColumn(f"{noun}s"), Rate())


def _bar(*columns: ProgressColumn) -> Progress:
    """On stderr, with the time left behind these columns; it vanishes when it is done."""
    from rich.progress import Progress, TimeRemainingColumn

    return Progress(*columns, TimeRemainingColumn(), console=stderr(), transient=True)
