"""How a command is stopped and how it ends: its last message and its exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from glip_cli.cli.console import Console, say_error
from glip_cli.errors import DataError, FetchError, GlipError, UsageError, WeightsError
from glip_cli.utils.option import in_flags
from glip_cli.utils.signals import ENDING, signals_to
from glip_cli.utils.startup import INTERRUPTED, collect_as_usual

if TYPE_CHECKING:
    from glip_cli.runs.run_dir import Progress
    from glip_cli.runs.shards import Shard

SOME_FAILED = 3
MOST_RANKS = 8  # that are named
SAME_SECONDS = 0.5  # signals so close are one: torchrun passes on what a terminal has sent to its processes already


def say_end(error: GlipError | OSError | UnicodeEncodeError) -> int:
    """Say the one line of an error; return the exit code: 2 where the command cannot work as it was typed, else 1.

    A file that it names and that is missing, or not what the flag takes, is a wrong value as any other. What this
    machine lacks, and what went wrong at work (devices, network, disk), is 1: there the same command may yet work.
    """
    if isinstance(error, BrokenPipeError):  # who read stdout has left, as `head` does: no complaint when it is flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, UnicodeEncodeError):
        letters = error.object[error.start : error.end]
        say_error(f"names of files are {error.encoding} here, which has no {letters!a}; set PYTHONUTF8=1")
    elif isinstance(error, OSError):  # of a file, or of standard output
        file = f"{error.filename}: " if error.filename is not None else ""
        say_error(f"{file}{error.strerror or error}; check the path, its rights and the room on its disk")
    else:
        say_error(in_flags(error))
    is_wrong = isinstance(error, UsageError | DataError | WeightsError) and not isinstance(error, FetchError)
    return 2 if is_wrong else 1


@contextmanager
def interruptible() -> Iterator[None]:
    """Here Ctrl-C and SIGTERM are exceptions, so that what is open is closed."""
    collect_as_usual()
    with signals_to(signal.default_int_handler):
        yield


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP ends the run after the images in flight, the second at once.

    SIGHUP, which a terminal sends that is closed, stays ignored under nohup.
    """
    collect_as_usual()
    first: list[float] = []

    def ask(number: int, frame: object) -> None:
        first.append(time.monotonic())
        stop.set()
        if first[-1] - first[0] > SAME_SECONDS:
            raise KeyboardInterrupt

    hangs_up = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    with signals_to(ask, (*ENDING, signal.SIGHUP) if hangs_up else ENDING):
        yield


def end_run(progress: Progress, out_dir: Path | str, console: Console, shard: Shard) -> None:
    """Say where the results of a batch run are, or who will merge them; leave as its ending asks."""
    if not progress.share_done:
        leave_stopped(console)
    if progress.complete:
        console.info(f"saved in {out_dir}")
    else:
        left = shards(progress.waits_for, shard.world)
        console.info(f"this process is done; {left} not yet: the last one merges the results")
    if not is_spared(progress, shard):
        leave_if_failed(progress.counts.failed, progress.counts.images)


def shards(ranks: Sequence[int], world: int) -> str:
    """Which of a run, the first of many alone: "shards 0, 3 of 8 (counted from 0)"."""
    more = f" and {len(ranks) - MOST_RANKS} more" if len(ranks) > MOST_RANKS else ""
    named = ", ".join(map(str, ranks[:MOST_RANKS]))
    return f"{'shard' if len(ranks) == 1 else 'shards'} {named}{more} of {world} (counted from 0)"


def is_spared(progress: Progress, shard: Shard) -> bool:
    """Whether a failed image is for the last process to report: torchrun ends all where one leaves with 3."""
    return shard.torchrun and not progress.complete


def leave_stopped(console: Console) -> NoReturn:
    """Leave with 130 a run that resumes when its command is given again."""
    console.info("stopped; run the same command to resume")
    raise typer.Exit(INTERRUPTED)


def leave_if_failed(failed: int, images: int) -> None:
    """Leave with 1 when every image failed, with 3 when some did."""
    if failed:
        raise typer.Exit(SOME_FAILED if failed < images else 1)
