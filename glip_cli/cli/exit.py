"""How a run is stopped and how it ends: what it says last, and the code it leaves with."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from glip_cli.cli.console import Console
from glip_cli.utils.signals import ENDING, signals_to
from glip_cli.utils.startup import INTERRUPTED, collect_as_usual

if TYPE_CHECKING:
    from glip_cli.runs.run_dir import Progress
    from glip_cli.runs.shards import Shard

SOME_FAILED = 3
SAME_SECONDS = 0.5  # signals so close are one: torchrun passes on what a terminal has sent to its processes already


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
    console.info(f"saved in {out_dir}" if progress.complete else waiting(progress.waits_for, shard.world))
    if not is_spared(progress, shard):
        leave_if_failed(progress.counts.failed, progress.counts.images)


def waiting(ranks: Sequence[int], world: int, most: int = 8) -> str:
    """What a process says that is done while others are not."""
    return f"this process is done; {shards(ranks, world, most)} not yet: the last one merges the results"


def shards(ranks: Sequence[int], world: int, most: int = 8) -> str:
    more = f" and {len(ranks) - most} more" if len(ranks) > most else ""
    named = f"shard {ranks[0]}" if len(ranks) == 1 else f"shards {', '.join(map(str, ranks[:most]))}{more}"
    return f"{named} of {world} (counted from 0)"


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
