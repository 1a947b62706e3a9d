"""A run whose folder is in a store: held in a temporary folder of this machine, from which what is new is put there.

URL/run.json                    put once, by the process that begins the run
URL/results/000000001000.jsonl  records from number 1000 on, counted from 0; removed after results.jsonl is there
URL/results.jsonl               all records, once the run is complete
URL/vis/, crops/ and others     as in a folder of this machine

The records of a run are results.jsonl, then the part whose number is how many there are so far, and so on. Each part is
put whole and never changed, so that every image has one record, whatever a kill leaves and whatever a second process
puts. Drawings of an image are put before its record.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from glip_cli.data.stored_folder import StoredFolder
from glip_cli.errors import GlipError, UsageError
from glip_cli.outputs.files import sha256_of
from glip_cli.utils.text_format import shown_url

PART_SECONDS = 30.0  # that a record waits to be put, at most,
PART_BYTES = 4_000_000  # or until there are so many
LOOK_SECONDS = 0.5  # between two looks at what is new
_PUTS = 8  # images that are put at once
_IMAGES = ("vis", "crops")
_SETTINGS, _RESULTS, _PARTS = "run.json", "results.jsonl", "results"
_PART = re.compile(rf"{_PARTS}/\d{{12}}\.jsonl")


class StoredRun:
    """
    Attributes:
        url: of the folder in the store, as it may be shown.
        path: the temporary folder, gone with this object.
        own: the URLs of the folders into which it writes images.
    """

    def __init__(self, url: str) -> None:
        self._store = StoredFolder(url)
        self.url = shown_url(self._store.url)
        self.own = [f"{self._store.url}/{folder}" for folder in _IMAGES]
        self.path = Path(tempfile.mkdtemp(prefix="glip-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        self._versions: dict[str, str | None] = {}  # of the two files that tell of another process
        self._records = self._bytes = 0  # of results.jsonl here, those that are in the store
        self._parts = False  # whether some of them are in parts
        self._retry = False
        self._fetched = ""  # the digest of results.jsonl in the store
        self._failure: GlipError | OSError | None = None

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
        self._versions = {name: self._store.version(name) for name in (_SETTINGS, _RESULTS)}
        if self._versions[_SETTINGS] is None:
            if (other := next(self._store.names(), None)) is not None:
                raise UsageError(f"{self.url} holds {other}, and no run of glip batch; choose another --out-dir")
            return
        self._store.fetch(_SETTINGS, self.path / _SETTINGS)
        results = self.path / _RESULTS
        if self._versions[_RESULTS] is not None:
            self._store.fetch(_RESULTS, results)
            with results.open("rb") as file:
                self._records = sum(1 for _ in file)
            self._fetched = sha256_of(results)
        for name in self._store.names(f"{_PARTS}/"):
            if name == self._part_name():
                self._parts = True
                content = self._store.read(name)
                with results.open("ab") as file:
                    file.write(content)
                self._records += content.count(b"\n")
        self._check_alone()
        if self._records:
            self._bytes = results.stat().st_size
            with results.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    raise UsageError(f"the records in {self.url} were altered: their last line is not whole")

    def _part_name(self) -> str:
        return f"{_PARTS}/{self._records:012}.jsonl"

    def _check_alone(self) -> None:
        """Raises UsageError where another process has finished the run, or begun another in its place."""
        for name, before in self._versions.items():
            if self._store.version(name) != before:
                raise self._second(name)

    def _second(self, name: str) -> UsageError:
        return UsageError(
            f"{self.url}/{name} was written by another glip at work in this run; let that one end, then run the same "
            "command to go on"
        )

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
        if retry_failed and self._parts:
            raise UsageError(f"{self.url}: --retry-failed takes a run that is complete; run without it first")
        if self._versions[_SETTINGS] is None:
            if not self._store.create(_SETTINGS, (self.path / _SETTINGS).read_bytes()):
                raise self._second(_SETTINGS)
            self._versions[_SETTINGS] = self._store.version(_SETTINGS)
        ended = threading.Event()
        thread = threading.Thread(target=self._follow, args=(ended, stop), name="glip-upload", daemon=True)
        thread.start()
        try:
            yield
        except GlipError:
            self._put_rest(thread, ended)
            raise
        finally:
            ended.set()
        self._put_rest(thread, ended)

    def _follow(self, ended: threading.Event, stop: threading.Event) -> None:
        last = time.monotonic()
        while not ended.wait(LOOK_SECONDS):
            try:
                if time.monotonic() - last >= PART_SECONDS or self._waiting_bytes() >= PART_BYTES:
                    self._put_new()
                    last = time.monotonic()
            except (GlipError, OSError) as failure:
                self._failure = failure
                stop.set()
                return

    def _put_rest(self, thread: threading.Thread, ended: threading.Event) -> None:
        ended.set()
        thread.join()
        if self._failure:
            raise self._failure
        self._put_new()

    def _waiting_bytes(self) -> int:
        results = self.path / _RESULTS
        return 0 if self._retry or not results.exists() else results.stat().st_size - self._bytes

    def _put_new(self) -> None:
        """Whole records that are not in the store yet, as one part, after the images that were made for them."""
        content = b""
        if self._waiting_bytes():
            with (self.path / _RESULTS).open("rb") as file:
                file.seek(self._bytes)
                content = file.read()
            content = content[: content.rfind(b"\n") + 1]
        self._put_images()
        if not content:
            return
        self._check_alone()
        if not self._store.create(self._part_name(), content):
            raise self._second(self._part_name())
        self._parts = True
        self._records += content.count(b"\n")
        self._bytes += len(content)

    def _put_images(self) -> None:
        """And remove them here, so that they do not fill the disk."""
        for folder in _IMAGES:
            for path in self._put(_files(self.path / folder)):
                path.unlink()

    def _put(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Several at once; gives each, in order, when it is in the store."""

        def put(path: Path) -> Path:
            self._store.put(path.relative_to(self.path).as_posix(), path)
            return path

        with ThreadPoolExecutor(_PUTS, "glip-upload") as pool:
            yield from pool.map(put, paths)

    def finish(self, complete: bool) -> None:
        """Put results that are complete, and what was made of them. Raises UsageError, GlipError."""
        results = self.path / _RESULTS
        if (complete or self._retry) and sha256_of(results) != self._fetched:
            self._check_alone()
            self._store.put(_RESULTS, results)
        if complete:
            kept = {self.path / name for name in (_SETTINGS, _RESULTS)}
            deque(self._put([path for path in _files(self.path) if path not in kept]), maxlen=0)
            self._store.remove([name for name in self._store.names(f"{_PARTS}/") if _PART.fullmatch(name)])


def _files(folder: Path) -> list[Path]:
    """All below it but hidden ones, which are not finished or of this machine alone."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
