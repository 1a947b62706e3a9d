"""`results.jsonl` while it grows: one record per line, in the order of the images.

A process that is killed at any instant, or a machine that loses power, costs at most the line that was being written:
it is cut off when the journal is opened again, and every line before it is whole and on the disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from glip_cli.errors import OutputError
from glip_cli.outputs.files import atomic_write, json_bytes
from glip_cli.outputs.records import AnyRecord


@dataclass
class Counts:
    """What a journal holds.

    Attributes:
        unavailable: of those that failed, the images that another machine or moment may have.
    """

    images: int = 0
    failed: int = 0
    detections: int = 0
    unavailable: int = 0

    def add(self, record: AnyRecord) -> None:
        self.images += 1
        if "error" in record:
            self.failed += 1
            self.unavailable += "host" in record
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
        """Append and force to the disk. Raises OutputError where that fails."""
        try:
            line = memoryview(json_bytes(record) + b"\n")
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror or error}; make room, then the same command goes on"
            ) from None
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
    """As `atomic_write`, on the disk before it has its name: a loss of power leaves the old file or the new."""
    with atomic_write(path) as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def _whole_lines(file: BinaryIO, path: Path) -> Iterator[tuple[AnyRecord, int]]:
    """Every record with the place in the file where its line ends."""
    end = 0
    for number, line in enumerate(file, 1):
        end += len(line)
        record = _parsed(line)
        if record is not None and line.endswith(b"\n"):
            yield record, end
        elif file.read(1):
            raise OutputError(f"{path}, line {number}, is not a record: the file was altered; --overwrite starts anew")
        else:
            return


def _parsed(line: bytes) -> AnyRecord | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if _is_record(record) else None


def _is_record(value: Any) -> TypeGuard[AnyRecord]:
    """As far as what is made of records depends on it."""
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        return False
    if "error" in value:
        return isinstance(value["error"], str)
    found = value.get("detections")
    return isinstance(found, list) and all(isinstance(one, dict) and isinstance(one.get("box"), dict) for one in found)
