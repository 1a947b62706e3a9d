"""The shards of a run in a store, brought together by whoever is the last to finish.

URL/shards/0-of-2/      the records of one process, see stored_parts.py
URL/shards/0-of-2.done  as in a folder of this machine, see shards.py; put after the last of those records

A process that is done looks at all `.done` after it has put its own, so that one at least sees all of them. Two that
finish at once may both merge, from the same parts to the same bytes, of which results.jsonl is put once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from glip_cli.data.stored_folder import StoredFolder
from glip_cli.data.stores import MissingError
from glip_cli.errors import GlipError
from glip_cli.runs.shards import Shard, Shards
from glip_cli.runs.stored_parts import StoredParts, is_part
from glip_cli.utils.text_format import shown_url

FOLDER = "shards"
_SHARD = re.compile(rf"({FOLDER}/\d+-of-\d+)(\.done|/.*)")


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
        self.parts = self._parts_of(shard.rank)

    def _parts_of(self, rank: int) -> StoredParts:
        journal, _ = self._paths(rank)
        return StoredParts(self._store, f"{FOLDER}/{journal.stem}", journal)

    def finish(self, asked: str) -> tuple[int, ...]:
        """As in a folder of this machine. Raises UsageError and GlipError too."""
        if not super().finish(asked):
            return ()
        self.put_rest()
        self._store.put(f"{FOLDER}/{self.done.name}", self.done)
        try:
            self._fetch_done()
            if not self.left(asked):
                self.fetch()
        except MissingError:  # another process has merged them since, and removed them
            if self._store.version(self._results.name) is None:
                raise
        if self._store.version(self._results.name) is not None:
            self._store.fetch(self._results.name, self._results)
        return super().finish(asked)

    def _fetch_done(self) -> None:
        there = set(self._store.names(f"{FOLDER}/"))
        for rank in range(self.shard.world):
            _, done = self._paths(rank)
            if (name := f"{FOLDER}/{done.name}") in there:
                self._store.fetch(name, done)

    def fetch(self) -> None:
        """Bring what all shards have so far. Raises UsageError, GlipError."""
        self._results.parent.joinpath(FOLDER).mkdir(exist_ok=True)
        self._fetch_done()
        for rank in range(self.shard.world):
            parts, (journal, done) = self._parts_of(rank), self._paths(rank)
            parts.fetch()
            if done.exists():
                self._check_whole(Shard(rank, self.shard.world), done, parts.records)
                journal.touch()  # of no image

    def _check_whole(self, shard: Shard, done: Path, records: int) -> None:
        """Raises GlipError for a store that does not show all that was put."""
        images, _, _ = done.read_text().partition("-")
        if not images.isdecimal() or records < shard.part_of(int(images)):
            raise GlipError(
                f"{shown_url(self._store.url)}: not all records of shard {shard} are there, which is done; run the "
                "same command again"
            )


def is_of_shard(name: str) -> bool:
    """Whether an object is called as one that shards put."""
    found = _SHARD.fullmatch(name)
    return found is not None and (found[2] == ".done" or is_part(name, found[1]))
