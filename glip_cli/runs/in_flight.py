"""Which images this process is at, noted on the disk, so that one that kills the process is found at the next starts.

    DIR/.0-of-1.flight   JSON: deaths at which each image was in flight; flying, those in flight now; guilty

The note costs a write of some hundred bytes into the system's cache at each change. Any end but a death removes it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from glip_cli.errors import UnavailableError

DEATHS = 3  # of the process, each with the image in flight, and no other image in sight that died before
WAIT_SECONDS = 60.0  # for another suspect to land; one that hangs must not hold the others for ever


class InFlight:
    """The images that are read or detected at this moment; threads may share it. Without a path nothing is noted.

    An image that was in flight at a death is a suspect, until its record is written: a list may hold it again, with
    another prompt. Suspects go one at a time, so that the next death, if there is one, tells them apart; the others fly
    beside them as always.
    """

    def __init__(self, path: Path | None = None, forgive: bool = False) -> None:
        """Read what a process left that died. `forgive`: images that were found guilty before are tried again.

        Raises OSError.
        """
        self._path, self._lock, self._alone = path, threading.Lock(), threading.Lock()
        self._flying: list[str] = []
        self._deaths, self._guilty = _judged(path, forgive) if path else ({}, set[str]())
        self._file = path.open("wb", buffering=0) if path else None
        self._write()

    def refuse(self, name: str) -> None:
        """Raises UnavailableError for an image that killed the process again and again."""
        if name in self._guilty:
            raise UnavailableError(
                f"{name}: the process died {self._deaths[name]} times at it, of a crash or for want of memory; convert "
                "or shrink it, or leave it out"
            )

    def divides(self, names: Sequence[str]) -> bool:
        """Whether images that are detected together died together so often that each must go alone."""
        return len(names) > 1 and any(self._deaths.get(name, 0) >= DEATHS for name in names)

    @contextmanager
    def at(self, *names: str) -> Iterator[None]:
        """Work on images that may not come back from it."""
        is_suspect = any(name in self._deaths for name in names) and self._alone.acquire(timeout=WAIT_SECONDS)
        with self._lock:
            self._flying += names
            self._write()
        try:
            yield
        finally:
            with self._lock:
                for name in names:
                    self._flying.remove(name)
                self._write()
            if is_suspect:
                self._alone.release()

    def finish(self, name: str) -> None:
        """Its record is written, so a later crash of the process was not its fault."""
        if name in self._deaths and name not in self._guilty:
            with self._lock:
                del self._deaths[name]
                self._write()

    def close(self) -> None:
        """The process lives: of the note remain the images that were found guilty."""
        with self._lock:
            file, self._file = self._file, None
        if file and self._path:
            file.close()
            if self._guilty:
                self._path.write_bytes(_note({name: self._deaths[name] for name in self._guilty}, [], self._guilty))
            else:
                self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._file:
            with suppress(OSError):  # a full disk: the journal says so
                self._file.seek(0)
                self._file.write(_note(self._deaths, self._flying, self._guilty))  # the first line; what follows is old


def _note(deaths: Mapping[str, int], flying: Collection[str], guilty: Collection[str]) -> bytes:
    return json.dumps({"deaths": deaths, "flying": list(flying), "guilty": list(guilty)}).encode() + b"\n"


def _judged(path: Path, forgive: bool) -> tuple[dict[str, int], set[str]]:
    """Deaths by image, the last one counted, and which images are guilty of theirs."""
    try:
        note = json.loads(path.read_bytes().partition(b"\n")[0])
        deaths = Counter({str(name): int(count) for name, count in note["deaths"].items()})
        flying, guilty = list(map(str, note["flying"])), set(map(str, note["guilty"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}, set()
    if forgive:
        deaths, guilty = Counter({name: count for name, count in deaths.items() if name not in guilty}), set()
    suspects = [name for name in flying if name in deaths]
    deaths.update(flying)
    if len(suspects) == 1 and deaths[suspects[0]] >= DEATHS:
        guilty.add(suspects[0])
    return deaths, guilty
