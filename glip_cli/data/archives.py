"""Images inside archives, each by its position: members of a tar, rows of a Parquet table; on disk or in a store.

    x/0.tar        x/0.tar/a/b.jpg     position: where the member's bytes begin, and how many they are
    x/0.parquet    x/0.parquet/17      position: a group of rows, and the row in it; the name counts over the file

Positions are found in one pass over the file and are valid in any process: a run resumes without reading what it has
done, and each worker of a cluster opens the file by itself.
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from glip_cli.data.disk import MAX_FILE_BYTES, from_disk
from glip_cli.data.image_files_below import Passed, has_image_suffix
from glip_cli.data.stores import StoredFile, is_stored, open_stored, read_stored
from glip_cli.errors import GlipError, ImageError, UnavailableError, UsageError
from glip_cli.utils.text_format import counted, listed, one_line, quoted, shorten, shown_path, shown_url, why_unreadable

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet


MemberPosition = tuple[int, int]
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
SUFFIXES = (".tar", ".parquet", *COMPRESSED)


def is_archive(location: str) -> bool:
    """Whether a path or URL is called as a file that holds images."""
    return location.lower().endswith(SUFFIXES)


def images_in_archive(location: str, name: str, passed: Passed) -> Iterator[tuple[str, MemberPosition]]:
    """The name and position of each image, in the order of the file; `passed` counts what a tar holds besides.

    Raises:
        ImageError: the file is damaged, or is none of its kind; UnavailableError: it is not there.
        UsageError: a package is missing, or a store refuses.
        GlipError: its disk or store does not answer any more.
    """
    try:
        with _opened(location) as stream:
            if location.lower().endswith(COMPRESSED):
                raise ImageError(f"{name}: members of a compressed tar cannot be read one by one; decompress it first")
            for inner, position in parquet_rows(stream, name) if _is_parquet(location) else tar_images(stream, passed):
                yield f"{name}/{shown_path(inner)}", position
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UnavailableError(f"{name}: {why_unreadable(error)}; check the path and its rights") from None
    except OSError as error:
        raise GlipError(f"{name}: cannot be read ({why_unreadable(error)}); then run the same command again") from None
    except tarfile.TarError as error:
        raise ImageError(f"{name}: a damaged tar ({one_line(str(error))}); make or fetch it again") from None


def read_member(location: str, position: MemberPosition, name: str) -> bytes:
    """The file of one image. Raises ImageError; UnavailableError where that may pass."""
    if _is_parquet(location):
        return read_row(location, position, name)
    begin, size = position
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{name}: {size / 1e9:.1f} GB, too large for an image; leave it out of the tar")

    def read() -> bytes:
        with open(location, "rb") as stream:
            stream.seek(begin)
            return stream.read(size)

    if is_stored(location):
        content = read_stored(location, name, begin, begin + size) if size else b""
    else:
        content = from_disk(name, read)
    if len(content) < size:
        raise UnavailableError(f"{name}: cut short after {len(content)} of {size} bytes; fetch the tar again")
    return content


def why_no_image(location: str, name: str) -> ImageError:
    """The error of an archive that cannot be read at all. Raises as `images_in_archive`."""
    count = sum(1 for _ in images_in_archive(location, name, Passed()))
    if count:
        return ImageError(f"{name}: a file of {counted(count, 'image')}, where one image is read; name it as INPUT")
    return ImageError(f"{name}: holds no image; name a file that does")


def _is_parquet(location: str) -> bool:
    return location.lower().endswith(".parquet")


def _opened(location: str) -> BinaryIO:
    return open_stored(location) if is_stored(location) else Path(location).open("rb")


# ------------------------------------------------------------------------------------------------------------------ tar
# Images are found by their members' heads alone: names, and where their bytes lie.


def tar_images(stream: BinaryIO, passed: Passed) -> Iterator[tuple[str, MemberPosition]]:
    """Each image: its member's name, where its bytes begin, and how many they are. Raises tarfile.TarError, OSError."""
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member, ending in members(tar):
            if is_image(ending):
                yield re.sub(r"^(\.?/)+", "", member.name), (member.offset_data, member.size)
            else:
                passed.add(member.name)


def members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Each file that is not hidden, and what follows the first dot of its name, in lower case.

    Raises tarfile.ReadError for a member that is cut short or damaged, which Python takes for the end.
    """
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # which would grow with the tar
        stem, _, ending = posixpath.basename(member.name).partition(".")
        if stem and member.isreg():
            yield member, ending.lower()
    stream = tar.fileobj
    assert stream is not None
    stream.seek(tar.offset)
    if any(stream.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError(f"no member begins at byte {tar.offset}")


def is_image(ending: str) -> bool:
    """Whether a member is an image, by what `members` gives."""
    return has_image_suffix(f"x.{ending}")


# -------------------------------------------------------------------------------------------------------------- Parquet
# Images in a column of a table, as Hugging Face's data sets have them: bytes, or a struct with `bytes`.


COLUMN = "image"  # where several hold bytes
GROUPS = 2  # of rows, whose images are held in memory: threads that read ahead are at the end of one and in the next
_one_at_a_time = threading.Lock()


def parquet_rows(stream: BinaryIO, name: str) -> Iterator[tuple[str, MemberPosition]]:
    """The number of each row, with its group and its place in that. Only the end of the file is read.

    Raises ImageError for what is no table with a column of images, UsageError without pyarrow.
    """
    with _table(stream, name) as table:
        _column(table.schema_arrow, name)
        if table.metadata.num_rows > stream.seek(0, io.SEEK_END):  # or the rows of a damaged one would have no end
            raise ImageError(f"{name}: {table.metadata.num_rows:,} rows in fewer bytes; fetch it again")
        number = 0
        for group in range(table.metadata.num_row_groups):
            for row in range(table.metadata.row_group(group).num_rows):
                yield str(number), (group, row)
                number += 1


def read_row(location: str, position: MemberPosition, name: str) -> bytes:
    """The file in one row. Raises ImageError; UnavailableError where that may pass; UsageError without pyarrow."""
    group, row = position
    with _one_at_a_time:
        column = _images(location, group)
    if row >= len(column):
        raise ImageError(f"{name}: the table has fewer rows than it says; fetch it again")
    value = column[row].as_py()
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None and isinstance(value, dict) and value.get("path"):
        raise ImageError(f"{name}: the row has the path {quoted(value['path'])}, and not the image's bytes")
    return bytes(content or b"")


@lru_cache(maxsize=GROUPS)
def _images(location: str, group: int) -> pyarrow.ChunkedArray:
    name = shown_url(location) if is_stored(location) else one_line(location)

    def read() -> pyarrow.ChunkedArray:
        with (
            io.BufferedReader(StoredFile(location)) if is_stored(location) else open(location, "rb") as stream,
            _table(stream, name) as table,
        ):
            column = _column(table.schema_arrow, name)
            return table.read_row_group(group, columns=[column]).column(column)

    return read() if is_stored(location) else from_disk(name, read)


@contextmanager
def _table(stream: BinaryIO, name: str) -> Iterator[parquet.ParquetFile]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise UsageError(f"{name}: Parquet needs pyarrow: pip install 'glip-cli[parquet]'") from None
    try:
        with parquet.ParquetFile(stream) as table:
            yield table
    except GlipError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk: pyarrow gives its own no number
            raise
        raise ImageError(
            f"{name}: damaged, or no Parquet ({shorten(one_line(str(error)), 100)}); fetch it again"
        ) from None


def _column(schema: pyarrow.Schema, name: str) -> str:
    found = [field.name for field in schema if _holds_bytes(field.type)]
    chosen = found if len(found) == 1 else [column for column in found if column == COLUMN]
    if len(chosen) != 1:
        there = f"columns of bytes ({listed(found)})" if found else f"no column of bytes among {listed(schema.names)}"
        raise ImageError(f"{name}: {there}; the images' is called '{COLUMN}', and holds bytes or a struct with 'bytes'")
    return chosen[0]


def _holds_bytes(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
