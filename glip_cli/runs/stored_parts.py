"""The records of a run in a store while it goes on, and the images of them.

URL/FOLDER/000000001000.jsonl  records of a journal from number 1000 on, counted from 0

The records are those of the part whose number is how many there are so far, and so on. Each part is put whole and never
changed, so that every image has one record, whatever a kill leaves and whatever a second process puts.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from glip_cli.data.stored_folder import StoredFolder
from glip_cli.errors import UsageError
from glip_cli.utils.text_format import shown_url

IMAGES = ("vis", "crops")
PUTS = 8  # objects that are put, or read, at once
_NAME = re.compile(r"\d{12}\.jsonl")


class StoredFiles:
    """A temporary folder of this machine, gone with this object, whose files are put into a store under their names."""

    def __init__(self, store: StoredFolder) -> None:
        self._store = store
        self.path = Path(tempfile.mkdtemp(prefix="glip-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def put(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Several at once; gives each, in order, when it is in the store. Raises UsageError, GlipError."""

        def put(path: Path) -> Path:
            self._store.put(path.relative_to(self.path).as_posix(), path)
            return path

        with ThreadPoolExecutor(PUTS, "glip-upload") as pool:
            yield from pool.map(put, paths)

    def put_images(self) -> None:
        """And remove them here, so that they do not fill the disk. Raises UsageError, GlipError."""
        for folder in IMAGES:
            for path in self.put(self.below(folder)):
                path.unlink()

    def below(self, folder: str = "") -> list[Path]:
        """All files but hidden ones, which are not finished or of this machine alone."""
        files = (self.path / folder).rglob("*")
        return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


class StoredParts:
    """The records of the journal `journal` of this machine, in a folder of the store.

    Attributes:
        records: how many the store has.
        found: whether it has some of them in parts.
    """

    def __init__(self, store: StoredFolder, folder: str, journal: Path) -> None:
        self._store, self._folder, self._journal = store, folder, journal
        self.records = self._bytes = 0  # that are in the store
        self.found = False

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
        if self.records:
            self._bytes = self._journal.stat().st_size
            with self._journal.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    url = shown_url(self._store.url)
                    raise UsageError(f"the records in {url} were altered: their last line is not whole")

    @property
    def new_bytes(self) -> int:
        """That the journal has and the store has not."""
        return self._journal.stat().st_size - self._bytes if self._journal.exists() else 0

    def new(self) -> bytes:
        """Whole records that the store has not."""
        if not self.new_bytes:
            return b""
        with self._journal.open("rb") as file:
            file.seek(self._bytes)
            content = file.read()
        return content[: content.rfind(b"\n") + 1]

    def put(self, content: bytes) -> None:
        """As the next part. Raises UsageError where there is one, by another process; GlipError."""
        if not self._store.create(self._next, content):
            raise of_another(self._store, self._next)
        self._count(content)
        self._bytes += len(content)

    @property
    def _next(self) -> str:
        return f"{self._folder}/{self.records:012}.jsonl"

    def _count(self, content: bytes) -> bytes:
        self.found = True
        self.records += content.count(b"\n")
        return content


def is_part(name: str, folder: str) -> bool:
    """Whether an object is called as a part in such a folder."""
    return name.startswith(f"{folder}/") and bool(_NAME.fullmatch(name.removeprefix(f"{folder}/")))


def of_another(store: StoredFolder, name: str) -> UsageError:
    return UsageError(
        f"{shown_url(store.url)}/{name} was written by another glip at work in this run; let that one end, then run "
        "the same command to go on"
    )
