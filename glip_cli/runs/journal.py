"""`results.jsonl` while it grows: one record per line, in the order of the images.

A process that is killed at any instant, or a machine that loses power, costs at most the line that was being written:
it is cut off when the journal is opened again, and every line before it is whole and on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeGuard, cast

from filelock import FileLock, Timeout

from glip_cli.data.archives import is_archive
from glip_cli.data.frame_inputs import is_video
from glip_cli.errors import OutputError, UsageError
from glip_cli.outputs.files import atomic_write, json_bytes, writing
from glip_cli.outputs.records import AnyRecord
from glip_cli.runs.items import RecordLine
from glip_cli.utils.json import JsonObject, parsed

_TOTAL = ".total"
"""In the folder of a run. Frames of videos cannot be counted without decoding them."""


@dataclass
class Counts:
    """Counts of the records in a journal.

    Attributes:
        unavailable: of those that failed, the images that another machine or moment may have.
        several: the same of videos, and of files that hold many images, which are one record each until they are read.
    """

    images: int = 0
    failed: int = 0
    detections: int = 0
    unavailable: int = 0
    several: int = 0

    def add(self, record: AnyRecord) -> None:
        self.images += 1
        if "error" in record:
            self.failed += 1
            if "host" in record:
                several = is_archive(record["image"]) or is_video(record["image"])
                self.several += several
                self.unavailable += not several
        else:
            self.detections += len(record["detections"])


class Journal:
    """Appends records.

    Attributes:
        counts: of all records, those found when it was opened included.
    """

    def __init__(self, path: Path) -> None:
        """Open, cut off an unfinished last line, and count.

        Raises:
            OutputError: a line that is no record stands before the last, so the file was altered.
            OSError: it cannot be read or written.
        """
        self.path, self.counts = path, Counts()
        whole = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        with path.open("rb") as file:
            for record, whole in _whole_lines(file, path):  # noqa: B007
                self.counts.add(record)
        self._file = path.open("r+b", buffering=0)  # a buffer that a full disk refused would be tried again by `close`
        self._file.truncate(whole)
        self._file.seek(whole)

    def add(self, record: AnyRecord) -> None:
        """Append, on the disk before it returns. Raises OutputError."""
        line = memoryview(json_bytes(record) + b"\n")
        with writing(self.path, "make room, then run the same command to resume"):
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        self.counts.add(record)

    def close(self) -> None:
        self._file.close()


def read_records(path: Path) -> Iterator[AnyRecord]:
    """The records of a journal, one at a time; an unfinished last line is passed over. Raises OutputError."""
    with path.open("rb") as file:
        for record, _ in _whole_lines(file, path):
            yield record


@contextmanager
def fsynced(path: Path) -> Iterator[BinaryIO]:
    """As `atomic_write`, and on the disk before it has its name: after a power loss it is the old or the new file."""
    with atomic_write(path) as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Keep the folder of a lock file for this process; the system frees it where the process is killed.

    Raises UsageError where another process is at work there.
    """
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise UsageError(
            f"another glip is at work in {lock.parent}; wait for it, or choose another --out-dir"
        ) from None


def is_held(lock: Path) -> bool:
    """Whether a process is at work that has taken it."""
    try:
        with FileLock(lock, timeout=0) if lock.exists() else nullcontext():
            return False
    except Timeout:
        return True


def note_total(run: Path, count: int | None) -> None:
    """Note that a run is complete, of so many records; None: that it is not. Raises OSError."""
    if count is None:
        return (run / _TOTAL).unlink(missing_ok=True)
    with atomic_write(run / _TOTAL) as stream:
        stream.write(str(count).encode())


def noted_total(run: Path) -> int | None:
    """The noted number of records of a complete run."""
    try:
        return int((run / _TOTAL).read_bytes())
    except (OSError, ValueError):
        return None


def _whole_lines(file: BinaryIO, path: Path) -> Iterator[tuple[AnyRecord, int]]:
    """Every record with the place in the file where its line ends."""
    end = 0
    for number, line in enumerate(file, 1):
        end += len(line)
        record = parsed(line)
        if _is_record(record) and line.endswith(b"\n"):
            yield record, end
        elif file.read(1):
            raise _altered(path, number)
        else:
            return


def _altered(path: Path, line: int) -> OutputError:
    return OutputError(f"{path}, line {line}, is not a record: the file was altered; --overwrite starts over")


def _is_record(value: object) -> TypeGuard[AnyRecord]:
    """As far as what is made of records depends on it."""
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        return False
    if "error" in value:
        return isinstance(value["error"], str)
    found = value.get("detections")
    return isinstance(found, list) and all(isinstance(one, dict) and isinstance(one.get("box"), dict) for one in found)


NUMBER, LAST = "number", "last"  # of lines, from 0; they stand in no record of results.jsonl


# -------------------------------------------------------------------------------------------------------------- retry
# Images that failed, tried again: their new records wait in a journal of their own until they take the old places.
#
#     DIR/results.jsonl        is left alone until all new records are there
#     DIR/results.retry.jsonl  the new records, each with the number of its line and of the last line of its block
#
# A start that finds the second file, because the process was killed, folds it into the first before anything else. Of a
# block that is not whole there nothing is taken: answers depend on the block that an image is in.


def numbered(record: AnyRecord, line: RecordLine) -> AnyRecord:
    """The record as it is written to the second file."""
    return cast(AnyRecord, {**record, NUMBER: line.number, LAST: line.last})


def retries_of(journal: Path) -> Path:
    return journal.with_suffix(".retry.jsonl")


def fold(journal: Path) -> bool:
    """Let the new records take the places of the old ones, at once. Were there any? Twice does no harm.

    An image that was read once keeps its record where it could not be read again. Raises OSError, OutputError.
    """
    retries = retries_of(journal)
    new = _numbered(retries) if retries.exists() else iter(())
    following = next(new, None)
    are_any = following is not None
    if are_any:
        with fsynced(journal) as stream:
            for number, record in enumerate(read_records(journal)):
                if following and following[0] == number:
                    record = record if "error" in following[1] and "error" not in record else following[1]
                    following = next(new, None)
                stream.write(json_bytes(record) + b"\n")
    retries.unlink(missing_ok=True)
    return are_any


def _numbered(retries: Path) -> Iterator[tuple[int, AnyRecord]]:
    """The records of complete blocks, each with its line number."""
    block: list[tuple[int, AnyRecord]] = []
    for line, record in enumerate(read_records(retries), 1):
        fields = cast(JsonObject, record)
        number, last = fields.pop(NUMBER, None), fields.pop(LAST, None)
        if not (isinstance(number, int) and isinstance(last, int)):
            raise _altered(retries, line)
        block.append((number, record))
        if number == last:
            yield from block
            block = []
