"""Files of this machine on their way into a store."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from glip_cli.data.stored_folder import StoredFolder

IMAGES = ("vis", "crops")
PUTS = 8  # objects that are put, or read, at once
_PREFIX, _LOCK = "glip-run-", ".lock"
_YOUNG_SECONDS = 60.0  # a folder may not have its lock yet


class StoredFiles:
    """A temporary folder of this machine, gone with this object, whose files are put into a store under their names.

    Folders of processes that were killed are removed: those whose lock is free.
    """

    def __init__(self, store: StoredFolder) -> None:
        self._store = store
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = FileLock(self.path / _LOCK)
        with suppress(NotImplementedError):  # of a disk without locks nothing is removed either
            lock.acquire()
        weakref.finalize(self, _remove, self.path, lock)
        for folder in self.path.parent.glob(f"{_PREFIX}*"):
            if _is_left(folder, self.path.stat().st_uid):
                shutil.rmtree(folder, ignore_errors=True)

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


def _remove(folder: Path, lock: FileLock) -> None:
    lock.release()
    shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path, user: int) -> bool:
    """Whether it is of a process of this user that is gone."""
    try:
        status = folder.lstat()  # a lock is opened for writing: none that another user could have put there
        if status.st_uid != user or time.time() - status.st_mtime < _YOUNG_SECONDS:
            return False
        with FileLock(folder / _LOCK, timeout=0):
            return True
    except (OSError, Timeout, NotImplementedError):
        return False
