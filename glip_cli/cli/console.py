"""What a person sees besides the results: one line per error, notes, progress. All of it on stderr."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from glip_cli.errors import GlipError

Command = TypeVar("Command", bound=Callable[..., Any])
INTERRUPTED = 130  # what shells give for Ctrl-C

stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(error: GlipError) -> int:
    """Say the one line; return the exit code."""
    print(f"glip: error: {error}", file=sys.stderr)
    return error.exit_code


def command(function: Command) -> Command:
    """Let a command end as all of them do: one line for what a person can mend, no traceback without --debug."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GlipError as error:
            if kwargs.get("debug"):
                raise
            raise typer.Exit(fail(error)) from None
        except KeyboardInterrupt:
            print("glip: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # the reader of stdout has gone, as `head` does; keep Python from complaining again when it flushes
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None

    return run  # type: ignore[return-value]


class Notes:
    """Remarks for the person, silenced by --quiet; errors are not."""

    def __init__(self, quiet: bool):
        self.quiet = quiet

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr)


class DownloadBar:
    """Shows a download: a bar on a terminal, a line at its start and end elsewhere."""

    def __init__(self, notes: Notes):
        self._notes = notes
        self._progress: Progress | None = None

    def started(self, name: str, url: str, total: int | None) -> None:
        size = f"{total / 1e6:,.0f} MB" if total else "size unknown"
        self._notes.say(f"downloading {name} ({size}) from {url}")
        if not self._notes.quiet and stderr.is_terminal:
            columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._progress = Progress(*columns, TimeRemainingColumn(), console=stderr, transient=True)
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
def image_bar(notes: Notes, total: int | None) -> Iterator[Callable[[], None]]:
    """A function to call after each image: a bar on a terminal, nothing elsewhere (each image has its own line)."""
    if notes.quiet or not stderr.is_terminal or (total is not None and total < 3):
        yield lambda: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
