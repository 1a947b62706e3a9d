"""The status of a run folder, read while other processes may write to it. Never changes a file in it.

What each machine has done in a run that several share is noted while it lasts:

    DIR/shards/0-of-2.hosts, DIR/.hosts with Ray    JSON: of each host when, how many images, and kinds of errors

Of the last start only; what a run came to stands in its records. A note that cannot be written is left out.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from glip_cli.data.frame_inputs import FrameChoice, count_images
from glip_cli.data.sources import expand, is_cheap_to_count
from glip_cli.errors import GlipError, UsageError
from glip_cli.outputs.files import atomic_write, json_bytes
from glip_cli.outputs.records import AnyRecord, ErrorRecord
from glip_cli.runs.journal import Counts, is_held, noted_total, read_records, retries_of
from glip_cli.runs.settings import read_settings
from glip_cli.runs.shards import ShardFiles
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import counted, one_line

MOST_KINDS = 12  # of errors, each on a line
MOST_KINDS_OF_HOST = 3
NOTE_SECONDS = 2.0  # between two notes on hosts
_WAY_OUT = re.compile(r" \(|; ")  # where the words end that all errors of a kind share


def describe(run: Path, own: Sequence[Path | str] = (), unseen: str = "") -> Iterator[str]:
    """Lines to print.

    Args:
        own: where the run writes images, if not there.
        unseen: the state of processes that are not done, if it cannot be seen whether they are at work.

    Raises UsageError where there is no run, OutputError for a file that was altered.
    """
    if not (run / "run.json").exists():
        raise UsageError(f"{run} holds no run: name the folder of one with --out-dir")
    settings = read_settings(run / "run.json")
    world = 1 if (run / "results.jsonl").exists() else settings.get("processes", 1)
    counts, kinds, shares = Counts(), Counter[str](), list[str]()
    for rank, files in enumerate(shards := ShardFiles.of_all(run, world)):
        state = _state(files)
        state = unseen if unseen and state == "not at work" else state
        before = counts.images
        for record in read_records(files.journal) if files.journal.exists() else ():
            counts.add(record)
            if "error" in record:
                kinds[kind_and_host(record)] += 1
        shares.append(f"shard {rank} of {world}: {counted(counts.images - before, 'image')}, {state}")
    total = _inputs_of(settings, own or (run / "vis", run / "crops"))
    total = noted_total(run) if total is None else total
    images = counted(counts.images, "image") if total is None else f"{counts.images} of {counted(total, 'image')}"
    yield f"{images} done, {counted(counts.detections, 'box', 'boxes')}, {counts.failed} failed"
    yield from (f"  {count} {kind}" for kind, count in kinds.most_common(MOST_KINDS))
    if len(kinds) > MOST_KINDS:
        yield f"  and errors of {len(kinds) - MOST_KINDS} more kinds"
    yield from _hosts(dict.fromkeys((run / ".hosts", *(files.hosts for files in shards))))
    if world > 1:
        yield from shares
    else:
        yield "complete" if counts.images == total and state in ("not at work", unseen) else state


def kind_of(record: ErrorRecord) -> str:
    """The error without the image's name, its details and the way out."""
    return _WAY_OUT.split(record["error"].removeprefix(f"{record['image']}: "), maxsplit=1)[0]


def kind_and_host(record: ErrorRecord) -> str:
    """With the machine where that may matter."""
    return f"{kind_of(record)} (on {record['host']})" if "host" in record else kind_of(record)


def _state(files: ShardFiles) -> str:
    if is_held(files.lock):
        journals = (files.journal, retries_of(files.journal))
        newest = max((path.stat().st_mtime for path in journals if path.exists()), default=None)
        since = "" if newest is None else f", last record {max(time.time() - newest, 0):.0f} s ago"
        return f"at work{since}"
    if not files.journal.exists():
        return "missing"
    return "done" if files.done.exists() else "not at work"


def _inputs_of(settings: JsonObject, own: Sequence[Path | str]) -> int | None:
    """The number of images of a run of glip batch; None if it cannot be counted here."""
    inputs, images = settings.get("inputs"), settings.get("images")
    if isinstance(images, int):
        return images
    if not isinstance(inputs, list) or not is_cheap_to_count(inputs):
        return None
    try:
        choice = FrameChoice("frames" in settings or "every" in settings)
        return count_images(expand(inputs, own=own), choice)
    except (GlipError, OSError):
        return None


# --------------------------------------------------------------------------------------------------------------- hosts


@dataclass
class HostCounts:
    """
    Attributes:
        first, last: when the first and the last record came, in seconds since 1970.
        kinds: how often an error of each kind occurred.
    """

    first: float
    last: float
    images: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: HostCounts) -> HostCounts:
        """The sum of two processes on one host."""
        first, last = min(self.first, other.first), max(self.last, other.last)
        return HostCounts(first, last, self.images + other.images, self.kinds + other.kinds)

    @property
    def rate(self) -> float:
        """Images per second; the first one only starts the clock."""
        return (self.images - 1) / (self.last - self.first) if self.last > self.first else 0.0


class HostNotes:
    """Counts records by the host that made them, and notes them every few seconds and at the end."""

    def __init__(self, path: Path) -> None:
        self._path, self._counts, self._noted = path, dict[str, HostCounts](), time.time()

    def add(self, host: str, record: AnyRecord) -> None:
        now = time.time()
        counts = self._counts.setdefault(host, HostCounts(now, now))
        counts.images, counts.last = counts.images + 1, now
        if "error" in record:
            counts.kinds[kind_of(record)] += 1
        if now - self._noted > NOTE_SECONDS:
            self._noted = now
            self.close()

    def close(self) -> None:
        if self._counts:
            with suppress(OSError), atomic_write(self._path) as stream:
                stream.write(json_bytes({host: vars(counts) for host, counts in self._counts.items()}))


def read_notes(path: Path) -> dict[str, HostCounts]:
    """By host; empty where there is no note that can be read."""
    try:
        return {
            str(host): HostCounts(
                float(row["first"]), float(row["last"]), int(row["images"]),
                Counter({str(kind): int(count) for kind, count in row["kinds"].items()}),
            )
            for host, row in json.loads(path.read_bytes()).items()
        }  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {}


def _hosts(notes: Iterable[Path]) -> Iterator[str]:
    """A line for each machine of which there is a note."""
    hosts: dict[str, HostCounts] = {}
    for path in notes:
        for host, counts in read_notes(path).items():
            hosts[host] = hosts[host] + counts if host in hosts else counts
    for host, counts in sorted(hosts.items()):
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.kinds.most_common(MOST_KINDS_OF_HOST))
        failed = f", {counts.kinds.total()} failed ({kinds})" if counts.kinds else ""
        yield f"host {one_line(host)}: {counted(counts.images, 'image')} since it started, {counts.rate:.1f}/s{failed}"
