"""A run that is kept in a folder and resumes after a kill.

DIR/run.json             what was asked; a run with other settings is refused
DIR/results.jsonl        the journal: one record per image, in order
DIR/shards/              the journals of several processes, until they are merged into that one
DIR/results.retry.jsonl  new records of images that failed, until they take the places of the old ones
DIR/.hosts               what each machine has done, until all is; see status.py
DIR/.total               how many records it has, once all images have one
DIR/.0-of-1.flight       images that the process is at; see in_flight.py
DIR/.0-of-1.lock         held by the process at work
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Unpack

from glip_cli.data.image_io import read_image
from glip_cli.errors import UsageError
from glip_cli.outputs.earlier import check_earlier, clear_earlier
from glip_cli.outputs.files import FileNames, json_bytes, writing
from glip_cli.outputs.formats import WriterOptions, write_formats
from glip_cli.outputs.records import AnyRecord
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.items import Engine, Item, Work
from glip_cli.runs.journal import Counts, Journal, fold, fsynced, held, note_total, numbered, read_records, retries_of
from glip_cli.runs.settings import TRACK, compare, digest_of, read_settings
from glip_cli.runs.shards import Listed, Shard, Shards
from glip_cli.runs.status import HostNotes
from glip_cli.utils.json import JsonObject

Watch = Callable[[AnyRecord], None]
ALONE = Shard()
_TEMPORARY = re.compile(r"\..+\.([0-9]+|[0-9a-f]{8})\.tmp")  # of `atomic_write`; with a process' number of earlier ones


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        counts: of this process' share; of the whole run once `complete`.
        before: records that were there when it began.
        share_done: every image of this process' share has its record.
        complete: results.jsonl holds a record of every image.
        speaks: this process is to say so; once `complete`, one of several alone, which makes other formats.
        waits_for: ranks of the processes that are not done, where this one is.
    """

    counts: Counts
    before: int
    share_done: bool
    complete: bool
    speaks: bool
    waits_for: tuple[int, ...] = ()


class RunFolder(AbstractContextManager["RunFolder"]):
    """The folder of one run, held by this process until the end of its context."""

    def __init__(self, path: Path, settings: JsonObject, shard: Shard = ALONE, overwrite: bool = False,
                 retry_failed: bool = False, shards: Shards | None = None):  # fmt: skip
        """Take hold of the folder.

        Args:
            shards: where those of other processes are not in this folder.
            overwrite: begin from nothing; what formats wrote is removed too.
            retry_failed: images whose record is an error are tried again.

        Raises:
            UsageError: it holds a run with other settings, or results of something else, or another process is at
                work in it.
            OutputError: it cannot be written.
        """
        self.path, self.shard, self._retry = path, shard, retry_failed
        self._processes: object = shard.world  # of the run that is there
        self.results = path / "results.jsonl"
        self._settings = path / "run.json"
        self._shards = shards or Shards(path, shard)
        self._files = self._shards.own
        with writing(f"to {path}"), ExitStack() as stack:
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(self._files.lock))
            asked = json.loads(json_bytes({**settings, "processes": shard.world}))
            self._claim(asked, overwrite)
            self._asked = digest_of(asked)
            if retry_failed and shard.world > 1:
                self._shards.reopen()
            self._open = stack.pop_all()

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _claim(self, settings: JsonObject, overwrite: bool) -> None:
        before = read_settings(self._settings, overwrite) if self._settings.exists() else None
        if before is None:
            check_earlier(self.path, ["jsonl"], ())
        if overwrite:
            self._shards.clear()
            self.results.unlink(missing_ok=True)
            note_total(self.path, None)
            clear_earlier(self.path)
        elif before is not None:
            self._processes = before.get("processes")
            # merged results belong to no number of processes any more; `run` finds out whether they are all
            same = {"processes": self._processes} if self.results.exists() else {}
            tracked = {TRACK: True} if TRACK in settings and self.shard.world == 1 else {}  # made of the records alone
            compare({**before, **tracked}, {**settings, **same}, self.path)
            if tracked.items() <= before.items():
                return
            settings = {**before, **tracked}
        elif self.results.exists():
            raise UsageError(f"{self.results} was not made by glip batch; choose another --out-dir, or --overwrite it")
        with fsynced(self._settings) as stream:
            stream.write(json_bytes(settings, indent=2) + b"\n")

    def run(
        self,
        items: Iterable[Item],
        engine: Engine,
        started: Callable[[int], None] = lambda before: None,
        watch: Watch = lambda record: None,
    ) -> Progress:
        """Do what is not done yet.

        Args:
            items: all images of the run, those included that are done or another process' share.
            started: called with how many records of this share are there already and will stay.
            watch: called with each new record, once it is on the disk.

        Raises:
            UsageError: the images are not those that the run began with.
            OutputError: the folder cannot be written.
        """
        if self.shard.world > 1 and self.results.exists():
            return self._merged_before(iter(items))
        with writing(f"to {self.path}"):
            fold(self._files.journal)  # what a killed process left
            journal = Journal(self._files.journal)
            retries = Journal(retries_of(self._files.journal)) if self._retry else journal
            engine.flight = InFlight(self.path / f".{self.shard}.flight", forgive=self._retry)
        notes = HostNotes(self._files.hosts)
        with closing(journal), closing(retries), closing(engine.flight), closing(notes):
            before = journal.counts.images
            started(before - (journal.counts.failed if self._retry else 0))
            listed = Listed(iter(items))
            share = islice(listed, self.shard.rank, None, self.shard.world)
            pairs = self._pairs(self._files.journal, share, before)
            work = Work(pairs, share, before, engine.block_size, self._retry)
            with closing(pairs), closing(engine(iter(work))) as records:
                for record in records:
                    line = work.lines.popleft()
                    if line is None:
                        continue
                    if line.number < before:
                        retries.add(numbered(record, line))
                    else:
                        journal.add(record)
                    engine.flight.finish(record["image"])
                    notes.add(engine.host, record)
                    watch(record)
        ended = listed.ended and all(line is None for line in work.lines)
        share_done = ended and journal.counts.images == self.shard.part_of(listed.count)
        with writing(f"to {self.path}"):
            counts = _count(self._files.journal) if fold(self._files.journal) else journal.counts
        return self._ended(counts, before, share_done, f"{listed.digest}-{self._asked}")

    def _ended(self, counts: Counts, before: int, share_done: bool, asked: str) -> Progress:
        """Merge where this is the last of several processes, and tidy up where no process is at work any more."""
        with writing(f"to {self.path}"):
            left = self._shards.finish(asked) if share_done else ()
            complete = share_done and not left
            if complete:
                self._files.hosts.unlink(missing_ok=True)
                for path in self.path.rglob(".*.tmp") if self.shard.world > 1 or before else ():
                    if _TEMPORARY.fullmatch(path.name):  # a kill left it half-written
                        path.unlink(missing_ok=True)
                if self.shard.world > 1:
                    counts = _count(self.results)
                note_total(self.path, counts.images)
        return Progress(counts, before, share_done, complete, complete or self.shard.speaks, left)

    def _pairs(self, journal: Path, share: Iterator[Item], count: int) -> Generator[tuple[AnyRecord, Item], None, None]:
        """The first `count` records, each with its image. Raises UsageError where they do not belong together."""
        items = chain(islice(share, count), repeat(None))
        for number, (record, item) in enumerate(zip(read_records(journal), items, strict=False), 1):
            if item is None or item.source.name != record["image"]:
                now = "nothing" if item is None else item.source.name
                raise self._changed(f"number {number} was {record['image']} and is {now} now")
            yield record, item

    def _merged_before(self, items: Iterator[Item]) -> Progress:
        """Another process did the last of it, now or earlier. Raises UsageError for images that have changed."""
        if self._retry:
            raise UsageError(f"the shards in {self.path} are merged: --retry-failed takes one process from here on")
        shutil.rmtree(self._files.done.parent, ignore_errors=True)  # where the merge was killed at its end
        counts = _count(self.results)
        for _ in self._pairs(self.results, items, counts.images):
            pass
        if (more := next(items, None)) is not None:
            if self._processes == 1:
                compare({"processes": 1}, {"processes": self.shard.world}, self.path)
            raise self._changed(f"{more.source.name} was not among them")
        return Progress(counts, counts.images, share_done=True, complete=True, speaks=self.shard.rank == 0)

    def _changed(self, how: str) -> UsageError:
        return UsageError(
            f"the images have changed since the run in {self.path} began: {how}; choose another --out-dir, or "
            "--overwrite to start over"
        )

    def write_formats(
        self, formats: Sequence[str], names: FileNames | None = None, **options: Unpack[WriterOptions]
    ) -> None:
        """Make other formats of the complete results, files called as `names` says. Raises OutputError."""
        with writing(f"to {self.path}"):
            options["read_image"] = read_image
            write_formats(read_records(self.results), formats, self.path, names, **options)


def _count(path: Path) -> Counts:
    counts = Counts()
    for record in read_records(path):
        counts.add(record)
    return counts
