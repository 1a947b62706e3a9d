"""The records of a run in a store while it goes on: each process puts its own in parts, and the last one merges them.

URL/results/000000001000.jsonl        records of the one process from number 1000 on, counted from 0
URL/shards/0-of-2/000000001000.jsonl  the same where there are several
URL/shards/0-of-2.done                as in a folder of this machine, see shards.py; put after the last of those records
URL/results/.hosts                    see status.py; URL/shards/0-of-2/.hosts where there are several

The number of a part is how many records there are before it. It is put whole and never changed, so that every image has
one record, whatever a kill leaves and whatever a second process puts. A process that is done looks at all `.done` after
it has put its own, so that one at least sees all of them. Two that finish at once may both merge, from the same parts
to the same bytes, of which results.jsonl is put once.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from glip_cli.data.stored_folder import StoredFolder
from glip_cli.data.stores import MissingError
from glip_cli.errors import GlipError, UsageError
from glip_cli.runs.shards import Shard, ShardFiles, Shards
from glip_cli.utils.text_format import shown_url

_OWN = re.compile(r"(results|shards/\d+-of-\d+)/(\d{12}\.jsonl|\.hosts)|shards/\d+-of-\d+\.done")


def is_of_shards(name: str) -> bool:
    """Whether the name is one of the objects that exist only during a run."""
    return bool(_OWN.fullmatch(name))


class StoredParts:
    """The records of one process of the run in the folder `run` of this machine.

    Attributes:
        records: how many the store has.
        found: whether it has some of them in parts.
    """

    def __init__(self, store: StoredFolder, run: Path, files: ShardFiles) -> None:
        self._store, self._journal, self._hosts = store, files.journal, files.hosts
        self._folder = files.journal.relative_to(run).with_suffix("").as_posix()
        self.records = self._bytes = 0  # that are in the store
        self.found, self._noted = False, b""

    def fetch(self) -> None:
        """Add them to what the journal holds. Raises UsageError, GlipError, OSError."""
        if self._journal.exists():
            with self._journal.open("rb") as file:
                self.records = sum(1 for _ in file)
        for name in self._store.names(f"{self._folder}/"):
            if name == self._next:
                self._journal.parent.mkdir(exist_ok=True)
                with self._journal.open("ab") as file:
                    file.write(self._count(self._store.read(name)))
            elif name == f"{self._folder}/.hosts":
                self._hosts.parent.mkdir(exist_ok=True)
                self._store.fetch(name, self._hosts)
        if self.records:
            self._bytes = self._journal.stat().st_size
            with self._journal.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    url = shown_url(self._store.url)
                    raise UsageError(f"the records in {url} were altered: their last line is not whole")

    def new(self) -> bytes:
        """Whole records that the store has not."""
        if not self._journal.exists():
            return b""
        with self._journal.open("rb") as file:
            file.seek(self._bytes)
            content = file.read()
        return content[: content.rfind(b"\n") + 1]

    def new_hosts(self) -> Path | None:
        """A copy of the note on hosts, where it has changed; the note itself goes once the run is complete."""
        copy = self._hosts.with_name(".hosts.put")
        try:
            note = shutil.copyfile(self._hosts, copy).read_bytes()
        except FileNotFoundError:
            return None
        before, self._noted = self._noted, note
        return copy if note != before else None

    def put(self, content: bytes, hosts: Path | None) -> None:
        """Records as the next part, if any, and a note on hosts.

        Raises UsageError where another process has put this part, GlipError.
        """
        if hosts:
            self._store.put(f"{self._folder}/.hosts", hosts)
        if content and not self._store.create(self._next, content):
            raise of_another(self._store, self._next)
        self._count(content)
        self._bytes += len(content)

    @property
    def _next(self) -> str:
        return f"{self._folder}/{self.records:012}.jsonl"

    def _count(self, content: bytes) -> bytes:
        self.found = self.found or bool(content)
        self.records += content.count(b"\n")
        return content


class StoredShards(Shards):
    """
    Attributes:
        parts: the records of this process.
        put_rest: puts those that are not in the store yet.
    """

    put_rest: Callable[[], None]

    def __init__(self, store: StoredFolder, run: Path, shard: Shard) -> None:
        super().__init__(run, shard)
        self._store = store
        self.parts = StoredParts(store, run, self.own)

    def finish(self, asked: str) -> tuple[int, ...]:
        """As in a folder of this machine. Raises UsageError and GlipError too."""
        if not super().finish(asked):
            return ()
        self.put_rest()
        self._store.put(f"shards/{self.own.done.name}", self.own.done)
        try:
            self._fetch_done()
            if not any(files.left(asked) for files in self.all):
                self.fetch()
        except MissingError:  # another process has merged them since, and removed them
            if self._store.version(self.results.name) is None:
                raise
        if self._store.version(self.results.name) is not None:
            self._store.fetch(self.results.name, self.results)
        return super().finish(asked)

    def _fetch_done(self) -> None:
        self.own.done.parent.mkdir(exist_ok=True)
        there = set(self._store.names("shards/"))
        for files in self.all:
            if (name := f"shards/{files.done.name}") in there:
                self._store.fetch(name, files.done)

    def fetch(self) -> None:
        """Bring what all shards have so far.

        Raises UsageError, GlipError: also for a store that does not show all that was put.
        """
        self._fetch_done()
        for rank, files in enumerate(self.all):
            parts = StoredParts(self._store, self.run, files)
            parts.fetch()
            if files.done.exists():
                shard, images = Shard(rank, self.shard.world), files.done.read_text().partition("-")[0]
                if not images.isdecimal() or parts.records < shard.part_of(int(images)):
                    raise GlipError(f"{shown_url(self._store.url)}: not all records of shard {shard} are there, which "
                                    "is done; run the same command again")  # fmt: skip
                files.journal.touch()  # of no image


def of_another(store: StoredFolder, name: str) -> UsageError:
    return UsageError(
        f"{shown_url(store.url)}/{name} was written by another glip at work in this run; let that one end, then run "
        "the same command to go on"
    )
