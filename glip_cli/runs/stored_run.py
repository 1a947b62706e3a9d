"""A run whose folder is in a store: held in a temporary folder of this machine, from which what is new is put there.

URL/run.json              put once, by the process that begins the run
URL/results/, shards/     the records so far, see stored_shards.py; removed after results.jsonl is there
URL/results.jsonl         all records, once the run is complete
URL/vis/, crops/, others  as in a folder of this machine

Drawings of an image are put before its record.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from glip_cli.data.stored_folder import StoredFolder
from glip_cli.errors import GlipError, UsageError
from glip_cli.outputs.earlier import FOLDERS, kept_note, written_by_formats
from glip_cli.outputs.files import sha256_of
from glip_cli.runs.journal import note_total, read_records
from glip_cli.runs.settings import read_settings
from glip_cli.runs.shards import PARTIAL, Shard
from glip_cli.runs.stored_files import IMAGES, PUTS, StoredFiles
from glip_cli.runs.stored_shards import StoredShards, is_of_shards, of_another
from glip_cli.utils.text_format import shown_url
from glip_cli.utils.threads import fulfil

PART_SECONDS = 30.0  # that a record waits to be put, at most,
PART_BYTES = 4_000_000  # or until there are so many
LOOK_SECONDS = 0.5  # between two looks at what is new
ALONE = Shard()
_SETTINGS, _RESULTS = "run.json", "results.jsonl"
_MOST_BYTES = 1_000_000  # that are read of an object to know who wrote it
_NO_NAME = re.compile(r"[\x00-\x1f\x7f:\\]")


class StoredRun:
    """
    Attributes:
        url: of the folder in the store, as it may be shown.
        store: that folder.
        path: the temporary folder, gone with this object.
        own: the URLs of the folders into which it writes images.
        notes: on what an earlier run left.
        shards: of the run.
    """

    def __init__(self, url: str, shard: Shard = ALONE) -> None:
        self.store = StoredFolder(url)
        self.url = shown_url(self.store.url)
        self.own = [f"{self.store.url}/{folder}" for folder in IMAGES]
        self._files = StoredFiles(self.store)
        self.path = self._files.path
        self.shards = StoredShards(self.store, self.path, shard)
        self._versions: dict[str, str | None] = {}  # of the two files that tell of another process
        self.notes: tuple[str, ...] = ()
        self._retry = False
        self._earlier: list[str] | None = None  # objects that give way to those of this run
        self._fetched = ""  # the digest of results.jsonl in the store

    @contextmanager
    def named(self) -> Iterator[None]:
        """Here a UsageError that names the temporary folder names the URL instead."""
        try:
            yield
        except UsageError as error:
            if type(error) is not UsageError:
                raise
            raise UsageError(str(error).replace(str(self.path), self.url)) from None

    def fetch(self) -> None:
        """Bring what the run goes on from.

        Raises UsageError where the folder holds something else, GlipError where it cannot be read, OSError.
        """
        other = next(self.store.names(), None)  # looked for first: another process may begin the run at this moment
        self._versions = {name: self.store.version(name) for name in (_SETTINGS, _RESULTS)}
        if self._versions[_SETTINGS] is None:
            if other is not None:
                raise UsageError(f"{self.url} holds {other}, and no run of glip batch; choose another --out-dir, or "
                                 "--overwrite what is left of one")  # fmt: skip
            return
        self.store.fetch(_SETTINGS, self.path / _SETTINGS)
        if self._versions[_RESULTS] is not None:
            self.store.fetch(_RESULTS, self.path / _RESULTS)
            self._fetched = sha256_of(self.path / _RESULTS)
        if self.shards.shard.world == 1 or not self._fetched:  # else merged: parts may be removed at this moment
            self.shards.parts.fetch()
        self._check_alone()

    def fetch_all(self) -> None:
        """`fetch`, and what all shards have so far, however many they are."""
        self.fetch()
        if self._fetched:  # it is there once the run is complete
            note_total(self.path, sum(1 for _ in read_records(self.path / _RESULTS)))
        settings = self.path / _SETTINGS
        world = read_settings(settings).get("processes", 1) if settings.exists() else 1
        if world > 1:
            self.shards = StoredShards(self.store, self.path, Shard(0, world))
            if not self._fetched:
                self.shards.fetch()

    def begin_again(self) -> None:
        """Go on from nothing: what an earlier run left is removed as soon as this one begins.

        Raises UsageError where the folder holds something else, GlipError where it cannot be read.
        """
        self._earlier = earlier_objects(self.store)
        self._versions = dict.fromkeys((_SETTINGS, _RESULTS))
        kept = [folder for folder in IMAGES if next(self.store.names(f"{folder}/"), None)]
        self.notes = kept_note([f"{self.url}/{folder}" for folder in kept])

    def _check_alone(self) -> None:
        """Raises UsageError if another process has finished or replaced the run."""
        for name, before in self._versions.items():
            if self.store.version(name) != before:
                raise of_another(self.store, name)

    @contextmanager
    def uploading(self, stop: threading.Event, retry_failed: bool) -> Iterator[None]:
        """While a run goes on in `path`, put its images and records; at its end those that are left.

        Args:
            stop: set where the store fails.
            retry_failed: records may change in their places until the run ends.

        Raises:
            UsageError: another process is at work in the run, or the store refuses.
            GlipError: the store does not answer.
        """
        self._retry = retry_failed and self._versions[_RESULTS] is not None
        several = self.shards.shard.world > 1
        is_begun = self._earlier is None and self._versions[_SETTINGS] is not None and self._versions[_RESULTS] is None
        if retry_failed and (is_begun or self.shards.parts.found or (several and not self._fetched)):
            raise UsageError(f"{self.url}: --retry-failed takes a run that is complete; run without it first")
        if self._earlier is not None:
            self.store.remove(self._earlier)
            self.store.remove([_SETTINGS])  # last, so that what a kill leaves is still known for a run
        if self._versions[_SETTINGS] is None:
            if not self.store.create(_SETTINGS, (self.path / _SETTINGS).read_bytes()):
                raise of_another(self.store, _SETTINGS)
            self._versions[_SETTINGS] = self.store.version(_SETTINGS)
        ended, followed = threading.Event(), Future[None]()
        follow = (followed, self._follow, ended, stop)
        threading.Thread(target=fulfil, args=follow, name="glip-upload", daemon=True).start()

        def put_rest() -> None:
            ended.set()
            followed.result()
            self._put_new()

        self.shards.put_rest = put_rest
        try:
            yield
        except GlipError:
            put_rest()
            raise
        finally:
            ended.set()
        put_rest()

    def _follow(self, ended: threading.Event, stop: threading.Event) -> None:
        last = time.monotonic()
        try:
            while not ended.wait(LOOK_SECONDS):
                if time.monotonic() - last >= PART_SECONDS or len(self._new()) >= PART_BYTES:
                    self._put_new()
                    last = time.monotonic()
        except BaseException:
            stop.set()
            raise

    def _new(self) -> bytes:
        return b"" if self._retry else self.shards.parts.new()

    def _put_new(self) -> None:
        """Whole records that are not in the store yet, as one part, after the images that were made for them."""
        content, hosts = self._new(), self.shards.parts.new_hosts()
        self._files.put_images()
        if content or hosts:
            self._check_alone()
            self.shards.parts.put(content, hosts)

    def finish(self, complete: bool) -> None:
        """Put results that are complete, and what was made of them. Raises UsageError, GlipError."""
        results = self.path / _RESULTS
        several = self.shards.shard.world > 1
        if (complete or self._retry) and sha256_of(results) != self._fetched:
            self._put_results(results, several)
        if complete:
            kept = {self.path / name for name in (_SETTINGS, _RESULTS)}
            deque(self._files.put([path for path in self._files.below() if path not in kept]), maxlen=0)
            names = chain(self.store.names("results/"), self.store.names("shards/"))
            self.store.remove([*filter(is_of_shards, names), *[PARTIAL] * several])
        elif (partial_results := self.path / PARTIAL).exists():
            self.store.put(PARTIAL, partial_results)

    def _put_results(self, results: Path, several: bool) -> None:
        if not several:
            self._check_alone()
            self.store.put(_RESULTS, results)
        elif not self.store.put(_RESULTS, results, create=True):
            other = self.path / ".results"
            self.store.fetch(_RESULTS, other)
            if sha256_of(other) != sha256_of(results):
                raise of_another(self.store, _RESULTS)


def earlier_objects(store: StoredFolder) -> list[str]:
    """The names of all objects of an earlier run but run.json, drawings and crops.

    Raises UsageError where the folder holds anything else, GlipError.
    """
    names = [name for name in store.names() if name != _SETTINGS and name.split("/")[0] not in IMAGES]
    others = [name for name in names if name != _RESULTS and not is_of_shards(name)]
    if foreign := next(_foreign(store, others), None):
        raise UsageError(
            f"{shown_url(store.url)} holds {foreign}, which no run of glip batch wrote; move it, or choose another "
            "--out-dir"
        )
    return names


def _foreign(store: StoredFolder, names: list[str]) -> Iterator[str]:
    """The names of files that glip did not write, by name or content."""
    yield from (name for name in names if not _may_be_of_format(name))
    with TemporaryDirectory(prefix="glip-") as folder:

        def fetch(name: str) -> None:
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True, parents=True)
            if path.suffix == ".parquet":  # its columns stand at its end
                store.fetch(name, path)
            else:
                path.write_bytes(store.read(name, _MOST_BYTES))

        with ThreadPoolExecutor(PUTS, "glip-download") as pool:
            deque(pool.map(fetch, names), maxlen=0)
        ours = {path.relative_to(folder).as_posix() for path in written_by_formats(Path(folder))}
    yield from (name for name in names if name not in ours)


def _may_be_of_format(name: str) -> bool:
    """Whether a format may write this name, and every disk allows it."""
    first, *below = name.split("/")
    plain = all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in (first, *below))
    return plain and not _NO_NAME.search(name) and (not below or first in FOLDERS)
