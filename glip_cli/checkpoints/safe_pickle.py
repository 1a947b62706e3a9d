"""Files of `torch.save`, read without running anything in them.

A .pth file is a pickle, a program that builds objects. torch's own restricted reader (`weights_only=True`) does the
reading; it refuses every class that is not on a list. Training leaves harmless objects in such files (loss histories,
configurations, numpy numbers) that we never look at: they are let in under their own names as the empty stand-ins
below, so that none of their code is needed, imported or run.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import torch
from torch.types import Storage

from glip_cli.errors import CheckpointError, UnsafeFileError
from glip_cli.utils.text_format import one_line

ZIP = b"PK\x03\x04"  # torch.save since 1.6 writes a zip, mapped from disk instead of read
_LONGEST = 80  # characters of a name, in an error


class Stub:
    """Accepts any arguments and any state, and keeps nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> Stub:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class StubMapping:
    """Becomes an OrderedDict at once: torch's reader fills no other kind of dict."""

    def __new__(cls, *args: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        return OrderedDict()


_OBJECTS = {
    "argparse": ("Namespace",),
    "builtins": ("bool", "dict", "float", "int", "list", "slice", "str"),
    "datetime": ("date", "datetime", "timedelta"),
    "mmcv.utils.config": ("Config",),
    "mmengine.config.config": ("Config",),
    "mmengine.config.lazy": ("LazyAttr", "LazyObject"),
    "mmengine.logging.history_buffer": ("HistoryBuffer",),
    "mmengine.logging.message_hub": ("MessageHub",),
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy.dtypes": tuple(f"{kind}DType" for kind in ("Bool", "Float32", "Float64", "Int32", "Int64", "Object", "Str")),
    "pathlib": ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "pathlib._local": ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
}
_MAPPINGS = {
    "addict.addict": ("Dict",),
    "collections": ("defaultdict",),
    "mmcv.utils.config": ("ConfigDict",),
    "mmengine.config.config": ("ConfigDict",),
    "yacs.config": ("CfgNode",),
}


def _stand_ins() -> Iterator[type]:
    """Classes that carry the foreign names, which is what torch compares."""
    for base, names in ((Stub, _OBJECTS), (StubMapping, _MAPPINGS)):
        for module, classes in names.items():
            for name in classes:
                yield type(name, (base,), {"__module__": module, "__qualname__": name})


STAND_INS = tuple(_stand_ins())
_ALLOWED = {f"{cls.__module__}.{cls.__qualname__}" for cls in STAND_INS}


def load(path: Path) -> object:
    """Load a file of `torch.save`: containers of tensors, mapped from disk where the format allows.

    Raises UnsafeFileError for a file that asks for any other class or function, CheckpointError for a damaged one.
    """
    with path.open("rb") as file:
        mapped = file.read(len(ZIP)) == ZIP
    records = read_records(path) if mapped else []
    storages: list[Storage] = []

    def keep(storage: Storage, location: str) -> Storage:
        storages.append(storage)
        return storage  # on the CPU, whatever `location` it was saved from

    with torch.serialization.safe_globals(list(STAND_INS)), warnings.catch_warnings():
        # about pickle protocols and about old storages: nothing that a user could act on
        warnings.simplefilter("ignore")
        try:
            loaded = torch.load(path, map_location=keep, weights_only=True, mmap=mapped)
        except Exception as error:  # a damaged pickle may fail in any way
            raise _explain(path, error) from error
    if mapped:
        check_storages(path, records, storages)
    return loaded


def _explain(path: Path, error: Exception) -> CheckpointError | UnsafeFileError:
    if refused := _refused(path, str(error)):
        return UnsafeFileError(
            f"{path} would run or build {_shown(refused)}, which no checkpoint needs: nothing of it was run. "
            "Use a file from a source you trust, or one in safetensors format"
        )
    return CheckpointError(f"{path} is truncated, damaged or no checkpoint: fetch it again")


def _refused(path: Path, message: str) -> str | None:
    """The name that torch refused. Its message has it, unless the file is of a newer pickle protocol.

    Only a name that the file has whole counts: the half one of a truncated file is no attack.
    """
    names = list(_names(path))
    if match := re.search(r"GLOBAL ([\w.]+)", message):
        name_end = match[1].rpartition(".")[2]  # some versions of torch say another module: builtins for __builtin__
        return next((name for name in names if name.rpartition(".")[2] == name_end), None)
    harmless = ("torch.", "torch._utils.", "collections.OrderedDict")
    return next((name for name in names if name not in _ALLOWED and not name.startswith(harmless)), None)


def _shown(name: str) -> str:
    """A name that the file chose, so that it cannot write on the terminal."""
    line = one_line(name)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _names(path: Path) -> Iterator[str]:
    """Every class or function that a file names. Reads opcodes, runs none; stops where the file is damaged."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.endswith(".pkl"):
                        yield from _scan(archive.open(member))
        else:
            # mapped, for a damaged length may ask for more bytes than there is memory
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                while True:  # the old format is several pickles in a row
                    yield from _scan(mapped)  # type: ignore[arg-type]  # it has read and readline
    except Exception:  # damage makes it fail in any way
        return


def _scan(file: IO[bytes]) -> Iterator[str]:
    strings: list[str] = []
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else ""
        elif opcode.name in ("BINGET", "LONG_BINGET") and isinstance(argument, int):
            strings.append(memo.get(argument, ""))
        elif isinstance(argument, str):
            strings.append(argument)


# ----------------------------------------------------------------------------------------------------------- archives
# The zip that `torch.save` writes: whether it is what it says, before and after torch maps it.
#
# torch stores its records one after the other, uncompressed, and maps them without a look at their sizes. Any other zip
# was made by somebody else: compressed, a few megabytes may unfold to as many gigabytes, and a record that is shorter
# than its tensor would be read on into its neighbours.

MAX_PICKLE_BYTES = 1 << 28
"""Of the part that is no tensors: training leaves histories of some ten megabytes there."""

_HEADER = 30  # bytes of a record's header before its name
_LENGTHS = 26  # where in it the lengths of name and padding stand


class ZipRecord(NamedTuple):
    """The bytes of a tensor's storage: where they begin in the file, and how many they are."""

    offset: int
    size: int


def read_records(path: Path) -> list[ZipRecord]:
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


def _record(file: BinaryIO, member: zipfile.ZipInfo) -> ZipRecord:
    """Behind its header, whose length only the header says."""
    file.seek(member.header_offset + _LENGTHS)
    return ZipRecord(member.header_offset + _HEADER + sum(struct.unpack("<HH", file.read(4))), member.file_size)


def check_storages(path: Path, records: Sequence[ZipRecord], storages: Sequence[Storage]) -> None:
    """Raises CheckpointError unless the storages that torch has mapped are the records, each of its whole length."""
    mapped = sorted(ZipRecord(storage.data_ptr(), storage.nbytes()) for storage in storages if storage.nbytes())
    nonempty = [record for record in records if record.size]
    if _shape(mapped) != _shape(nonempty):
        raise CheckpointError(f"{path} has tensors that are longer than their records: it is damaged, fetch it again")


def _shape(records: Sequence[ZipRecord]) -> list[tuple[int, int]]:
    """Sizes, and distances to the record before: the same in the file and in memory."""
    first = records[0].offset if records else 0
    return [(record.offset - first, record.size) for record in records]
