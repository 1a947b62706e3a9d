"""What the folder of a run holds, read from outside while others may be at work in it. Never changes a file of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from glip_cli.data.frame_inputs import FrameChoice, count_images
from glip_cli.data.sources import expand, is_cheap_to_count
from glip_cli.errors import GlipError, UsageError
from glip_cli.outputs.records import AnyRecord, ErrorRecord
from glip_cli.runs.hosts import HostCounts, kind_of, read_notes
from glip_cli.runs.journal import Counts, noted_total, read_records, retries_of
from glip_cli.runs.settings import read_settings
from glip_cli.runs.shards import Shard, Shards
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import counted, one_line

MOST_KINDS = 12  # of errors, each on a line
MOST_KINDS_OF_HOST = 3


@dataclass
class Share:
    """What one process left, or leaves.

    Attributes:
        state: "done", "at work, ...", "not at work" or "missing".
        kinds: how often an error of each kind occurred.
    """

    state: str
    counts: Counts = field(default_factory=Counts)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, record: AnyRecord) -> None:
        self.counts.add(record)
        if "error" in record:
            self.kinds[kind_and_host(record)] += 1


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
    world = 1 if (run / "results.jsonl").exists() else int(settings.get("processes", 1))
    shares = [_share(run, Shard(rank, world)) for rank in range(world)]
    for share in shares if unseen else ():
        share.state = unseen if share.state == "not at work" else share.state
    total = _inputs_of(settings, own or (run / "vis", run / "crops"))
    total = noted_total(run) if total is None else total
    done = sum(share.counts.images for share in shares)
    failed = sum(share.counts.failed for share in shares)
    images = counted(done, "image") if total is None else f"{done} of {counted(total, 'image')}"
    boxes = counted(sum(share.counts.detections for share in shares), "box", "boxes")
    yield f"{images} done, {boxes}, {failed} failed"
    kinds = sum((share.kinds for share in shares), Counter[str]())
    yield from (f"  {count} {kind}" for kind, count in kinds.most_common(MOST_KINDS))
    if len(kinds) > MOST_KINDS:
        yield f"  and errors of {len(kinds) - MOST_KINDS} more kinds"
    yield from _hosts(run, world)
    if world > 1:
        yield from (f"shard {i} of {world}: {counted(share.counts.images, 'image')}, {share.state}"
                    for i, share in enumerate(shares))  # fmt: skip
    else:
        yield "complete" if done == total and shares[0].state in ("not at work", unseen) else shares[0].state


def kind_and_host(record: ErrorRecord) -> str:
    """With the machine where that may matter."""
    return f"{kind_of(record)} (on {record['host']})" if "host" in record else kind_of(record)


def _hosts(run: Path, world: int) -> Iterator[str]:
    """A line for each machine of which there is a note."""
    hosts: dict[str, HostCounts] = {}
    for path in dict.fromkeys((run / ".hosts", *(Shards(run, Shard(rank, world)).hosts for rank in range(world)))):
        for host, counts in read_notes(path).items():
            hosts[host] = hosts[host] + counts if host in hosts else counts
    for host, counts in sorted(hosts.items()):
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.kinds.most_common(MOST_KINDS_OF_HOST))
        failed = f", {counts.failed} failed ({kinds})" if counts.failed else ""
        yield f"host {one_line(host)}: {counted(counts.images, 'image')} since it started, {counts.rate:.1f}/s{failed}"


def _share(run: Path, shard: Shard) -> Share:
    shards = Shards(run, shard)
    share = Share(_state(run / f".{shard}.lock", shards.journal))
    if shards.done.exists() and share.state == "not at work":
        share.state = "done"
    for record in read_records(shards.journal) if shards.journal.exists() else ():
        share.add(record)
    return share


def _state(lock: Path, journal: Path) -> str:
    if lock.exists() and _is_held(lock):
        newest = max((path.stat().st_mtime for path in (journal, retries_of(journal)) if path.exists()), default=None)
        since = "" if newest is None else f", last record {max(time.time() - newest, 0):.0f} s ago"
        return f"at work{since}"
    return "not at work" if journal.exists() else "missing"


def _is_held(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def _inputs_of(settings: JsonObject, own: Sequence[Path | str]) -> int | None:
    """How many images a run of glip batch has in all; None where that cannot be seen from here."""
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
