"""The zip that `torch.save` writes: whether it is what it says, before and after torch maps it.

torch stores its records one after the other, uncompressed, and maps them without a look at their sizes. Any other zip
was made by somebody else: compressed, a few megabytes may unfold to as many gigabytes, and a record that is shorter
than its tensor would be read on into its neighbours.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from torch.types import Storage

from glip_cli.errors import CheckpointError

MAX_PICKLE_BYTES = 1 << 28
"""Of the part that is no tensors: training leaves histories of some ten megabytes there."""

_HEADER = 30  # bytes of a record's header before its name
_LENGTHS = 26  # where in it the lengths of name and padding stand


class Record(NamedTuple):
    """The bytes of a tensor's storage: where they begin in the file, and how many they are."""

    offset: int
    size: int


def read_records(path: Path) -> list[Record]:
    """The records of tensors that the archive's directory lists, in the order of the file.

    Raises:
        CheckpointError: it is damaged, or no archive that `torch.save` writes.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            _check_members(path, members, archive.start_dir)
            return [_record(file, member) for member in members if "/data/" in member.filename]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        raise CheckpointError(f"{path} is truncated, damaged or no checkpoint: fetch it again") from None


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo], end: int) -> None:
    if any(
        member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size for member in members
    ):
        raise CheckpointError(f"{path} is compressed, which torch.save never does: save it again with torch")
    if len({member.filename for member in members}) < len(members):
        raise CheckpointError(f"{path} holds two records of one name: fetch it from a source you trust")
    ends = [*(member.header_offset for member in members[1:]), end]
    if any(_end(member) > after for member, after in zip(members, ends, strict=True)):
        raise CheckpointError(f"{path} claims more bytes than it has: fetch it from a source you trust")
    if any(member.file_size > MAX_PICKLE_BYTES for member in members if member.filename.endswith(".pkl")):
        raise CheckpointError(
            f"{path} holds more than {MAX_PICKLE_BYTES >> 20} MB besides its tensors: save those alone"
        )


def _end(member: zipfile.ZipInfo) -> int:
    """At least; the record may be padded."""
    return member.header_offset + _HEADER + member.file_size


def _record(file: BinaryIO, member: zipfile.ZipInfo) -> Record:
    """Behind its header, whose length only the header says."""
    file.seek(member.header_offset + _LENGTHS)
    return Record(member.header_offset + _HEADER + sum(struct.unpack("<HH", file.read(4))), member.file_size)


def check_storages(path: Path, records: Sequence[Record], storages: Sequence[Storage]) -> None:
    """Raises CheckpointError unless the storages that torch has mapped are the records, each of its whole length."""
    wanted = sorted(Record(storage.data_ptr(), storage.nbytes()) for storage in storages if storage.nbytes())
    there = [record for record in records if record.size]
    if _shape(wanted) != _shape(there):
        raise CheckpointError(f"{path} has tensors that are longer than their records: it is damaged, fetch it again")


def _shape(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Sizes, and distances to the record before: the same in the file and in memory."""
    first = records[0].offset if records else 0
    return [(record.offset - first, record.size) for record in records]
