"""Images in a column of a Parquet table, as Hugging Face's data sets have them: bytes, or a struct with `bytes`."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

from glip_cli.data.disk import from_disk
from glip_cli.data.stores import StoredFile, is_stored
from glip_cli.errors import GlipError, ImageError, UsageError
from glip_cli.utils.text_format import listed, one_line, quoted, shorten, shown_url

if TYPE_CHECKING:
    import pyarrow

COLUMN = "image"  # where several hold bytes
GROUPS = 2  # of rows, whose images are held in memory: threads that read ahead are at the end of one and in the next
_one_at_a_time = threading.Lock()


def parquet_rows(stream: BinaryIO, name: str) -> Iterator[tuple[str, tuple[int, int]]]:
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


def read_row(location: str, place: tuple[int, int], name: str) -> bytes:
    """The file in one row. Raises ImageError; UnavailableError where that may pass; UsageError without pyarrow."""
    group, row = place
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
    if is_stored(location):
        return _group(io.BufferedReader(StoredFile(location)), group, shown_url(location))
    return from_disk(one_line(location), lambda: _group_of_file(location, group))


def _group_of_file(location: str, group: int) -> pyarrow.ChunkedArray:
    with open(location, "rb") as stream:
        return _group(stream, group, one_line(location))


def _group(stream: BinaryIO, group: int, name: str) -> pyarrow.ChunkedArray:
    with _table(stream, name) as table:
        column = _column(table.schema_arrow, name)
        try:
            return table.read_row_group(group, columns=[column]).column(column)
        except GlipError:
            raise
        except Exception as error:
            raise _damaged(error, name) from None


def _table(stream: BinaryIO, name: str) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise UsageError(f"{name}: Parquet needs pyarrow: pip install 'glip-cli[parquet]'") from None
    try:
        return parquet.ParquetFile(stream)
    except GlipError:
        raise
    except Exception as error:
        raise _damaged(error, name) from None


def _damaged(error: Exception, name: str) -> Exception:
    """As an error of the disk where it is one: pyarrow gives its own no number."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return ImageError(f"{name}: damaged, or no Parquet ({shorten(one_line(str(error)), 100)}); fetch it again")


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
