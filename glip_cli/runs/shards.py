"""A run that several processes share: a journal for each, brought together by whoever is the last to finish.

    DIR/shards/0-of-2.jsonl  the journal of one process
    DIR/shards/0-of-2.done   it has a record of each of its images; holds a digest of all images and of the settings
    DIR/shards/0-of-2.hosts  see status.py
    DIR/partial.jsonl        what `glip batch --merge` had from shards that were not all done

The processes meet in the folder alone, so they need no network. Where they have no folder in common, the files of their
`shards/` are brought into one, and `merge` does the rest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, zip_longest
from pathlib import Path

from filelock import FileLock

from glip_cli.errors import OutputError, UsageError
from glip_cli.outputs.files import json_bytes
from glip_cli.outputs.records import AnyRecord
from glip_cli.runs.items import Item
from glip_cli.runs.journal import fsynced, is_held, read_records, retries_of
from glip_cli.utils.text_format import whole_number

PARTIAL = "partial.jsonl"


@dataclass(frozen=True)
class Shard:
    """Which part of a run this process does: images rank, rank + world, rank + 2 world ...

    Attributes:
        torchrun: it was started by torchrun, which shows what all processes say on one terminal, and ends them all
            where one ends with another code than 0.
    """

    rank: int = 0
    world: int = 1
    torchrun: bool = False

    @property
    def speaks(self) -> bool:
        """Whether it may say something before the run is complete: one process at most for each terminal."""
        return self.rank == 0 or not self.torchrun

    @classmethod
    def chosen(cls, typed: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
        """As --shard I/N says; else as RANK and WORLD_SIZE do, set by torchrun or by hand. Raises UsageError."""
        rank, world = environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")
        torchrun = "TORCHELASTIC_RUN_ID" in environment
        if typed is None and not _is_part(rank, world):
            raise UsageError(
                f"RANK={rank} and WORLD_SIZE={world} in the environment: run under torchrun, or unset both"
            )
        if typed is None:
            return cls(int(rank), int(world), torchrun)
        if torchrun and world != "1":
            raise UsageError("--shard and torchrun each spread the work; take one of them")
        part, _, parts = typed.partition("/")
        if not _is_part(part, parts):
            raise UsageError(f"--shard {typed}: write I/N, counted from 0; the parts of 8 are 0/8 to 7/8")
        return cls(int(part), int(parts))

    def part_of(self, count: int) -> int:
        """The number of images of this shard among `count`."""
        return len(range(self.rank, count, self.world))

    def __str__(self) -> str:
        return f"{self.rank}-of-{self.world}"


def _is_part(rank: str, world: str) -> bool:
    part, parts = whole_number(rank), whole_number(world)
    return part is not None and parts is not None and part < parts


class Listed(Iterator[Item]):
    """All images of a run as they are taken.

    Attributes:
        count: how many were taken.
        ended: there are no more.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        self._items, self._digest = items, hashlib.blake2b(digest_size=16)
        self.count, self.ended = 0, False

    def __next__(self) -> Item:
        try:
            item = next(self._items)
        except StopIteration:
            self.ended = True
            raise
        self.count += 1
        self._digest.update(item.source.name.encode("utf-8", "backslashreplace") + b"\0")
        return item

    @property
    def digest(self) -> str:
        """The digest of the names so far, in order."""
        return f"{self.count}-{self._digest.hexdigest()}"


class ShardFiles:
    """The files of one process of the run in the folder `run`; the journal of one that is alone is results.jsonl."""

    def __init__(self, run: Path, shard: Shard) -> None:
        name = run / "shards" / str(shard)
        alone = shard.world == 1
        self.journal = run / "results.jsonl" if alone else name.with_suffix(".jsonl")
        self.hosts = run / ".hosts" if alone else name.with_suffix(".hosts")
        self.done = name.with_suffix(".done")
        self.lock = run / f".{shard}.lock"

    def left(self, asked: str) -> bool:
        """Whether the share is not done of a run of the images and settings with that digest."""
        return not self.done.exists() or self.done.read_text() != asked

    @classmethod
    def of_all(cls, run: Path, world: int) -> list[ShardFiles]:
        return [cls(run, Shard(rank, world)) for rank in range(world)]


class Shards:
    """The shards of the run in `run`, seen by one of its processes.

    Attributes:
        own, all: the files of this process, and of each.
        partial: records of shards that are not all done.
    """

    def __init__(self, run: Path, shard: Shard) -> None:
        self.run, self.shard = run, shard
        self.own, self.all = ShardFiles(run, shard), ShardFiles.of_all(run, shard.world)
        self.results, self.partial = run / "results.jsonl", run / PARTIAL
        self._lock = FileLock(run / ".merge.lock")

    def clear(self) -> None:
        """Remove what an earlier run left here of this process' share. Raises OSError."""
        for path in (self.own.journal, retries_of(self.own.journal), self.own.done, self.own.hosts):
            path.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Mark its share as not done. Raises OSError."""
        with self._lock:
            self.own.done.unlink(missing_ok=True)

    def finish(self, asked: str) -> tuple[int, ...]:
        """Note that this share is done of a run of the images and settings with that digest; if all are, merge.

        Returns the ranks of the shares that are not done; none once it was merged. A share that was finished before
        images were added is not done. Raises OSError, OutputError.
        """
        if self.shard.world == 1:
            return ()
        with self._lock:
            if not self.results.exists():  # else made by others, since this process began
                with fsynced(self.own.done) as stream:
                    stream.write(asked.encode())
            return self._merge(asked)

    def merge(self, settings: str) -> tuple[int, ...]:
        """The same for whoever has no share of it: of the images of the largest share that has those settings.

        A share that a process is at work on, which may have been done before, is not done.
        """
        with self._lock:
            noted = [files.done.read_text() for files in self.all if files.done.exists()]
            alike = [text for text in noted if text.endswith(f"-{settings}")]
            asked = max(alike, key=lambda text: int(text.partition("-")[0]), default="")
            return self._merge(asked, [rank for rank, files in enumerate(self.all) if is_held(files.lock)])

    def _merge(self, asked: str, at_work: Sequence[int] = ()) -> tuple[int, ...]:
        if not self.results.exists():
            if left := tuple(rank for rank, files in enumerate(self.all) if rank in at_work or files.left(asked)):
                return left
            with fsynced(self.results) as stream:
                records = in_turn([files.journal for files in self.all])
                stream.writelines(json_bytes(record) + b"\n" for record in records)
        shutil.rmtree(self.own.done.parent, ignore_errors=True)
        self.partial.unlink(missing_ok=True)
        return ()

    def write_partial(self) -> int:
        """Write the results of all shares so far, in order; return their number. Raises OSError, OutputError."""
        journals = [files.journal for files in self.all if files.journal.exists()]
        count = 0
        with fsynced(self.partial) as stream:
            for row in zip_longest(*map(read_records, journals)):
                for record in filter(None, row):
                    stream.write(json_bytes(record) + b"\n")
                    count += 1
        return count


def in_turn(journals: Sequence[Path]) -> Iterator[AnyRecord]:
    """One record of each journal after the other. Raises OutputError where they do not belong together."""
    streams = [read_records(path) for path in journals]
    for stream in cycle(streams):
        record = next(stream, None)
        if record is None:
            break
        yield record
    if any(next(stream, None) for stream in streams):
        raise OutputError(f"the shards in {journals[0].parent} are not of one run; --overwrite starts over")
