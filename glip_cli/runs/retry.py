"""Images that failed, tried again: their new records wait in a journal of their own until they take the old places.

    DIR/results.jsonl        is left alone until all new records are there
    DIR/results.retry.jsonl  the new records, each with the number of its line and of the last line of its block

A start that finds the second file, because the process was killed, folds it into the first before anything else. Of a
block that is not whole there nothing is taken: answers depend on the block that an image is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from glip_cli.outputs.files import json_bytes
from glip_cli.outputs.records import AnyRecord
from glip_cli.runs.items import Place
from glip_cli.runs.journal import Journal, fsynced, read_records

NUMBER, LAST = "number", "last"  # of lines, from 0; they stand in no record of results.jsonl


class Retries:
    """New records for lines of `journal`, kept until `fold`. The file is made with the first of them."""

    def __init__(self, journal: Path) -> None:
        self._path = retries_of(journal)
        self._file: Journal | None = None

    def add(self, place: Place, record: AnyRecord) -> None:
        """Raises OutputError, OSError."""
        self._file = self._file or Journal(self._path)
        self._file.add(cast(AnyRecord, {**record, NUMBER: place.number, LAST: place.last}))

    def close(self) -> None:
        if self._file:
            self._file.close()


def retries_of(journal: Path) -> Path:
    return journal.with_suffix(".retry.jsonl")


def fold(journal: Path) -> bool:
    """Let the new records take the places of the old ones, at once. Were there any? Twice does no harm.

    An image that was read once keeps its record where it could not be read again. Raises OSError, OutputError.
    """
    retries = retries_of(journal)
    if not retries.exists():
        return False
    new = _numbered(retries)
    following = next(new, None)
    with fsynced(journal) as stream:
        for number, record in enumerate(read_records(journal)):
            if following and following[0] == number:
                record = record if "error" in following[1] and "error" not in record else following[1]
                following = next(new, None)
            stream.write(json_bytes(record) + b"\n")
    retries.unlink()
    return True


def _numbered(retries: Path) -> Iterator[tuple[int, AnyRecord]]:
    """Of whole blocks, each record with the number of its line."""
    block: list[tuple[int, AnyRecord]] = []
    for record in read_records(retries):
        fields = cast(dict[str, Any], record)
        number, last = fields.pop(NUMBER), fields.pop(LAST)
        block.append((number, record))
        if number == last:
            yield from block
            block = []
