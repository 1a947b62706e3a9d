"""Rows of a text file that a user made, each with its place: csv with named columns, or a JSON object per line."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from glip_cli.errors import DataError
from glip_cli.utils.text_format import open_text, quoted, why_unreadable

Row = tuple[str, Mapping[str, object]]
"""Where it stands, as "x.csv, line 3", and its values by their names."""

_BEYOND = "\0"  # the key of the cells for which the first line has no name
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


def read_rows(
    path: Path, columns: Collection[str], advice: str, also: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Row]:
    """Every row, one at a time; blank lines are passed over. A cell that a row of a csv lacks is "".

    Args:
        path: csv or tsv by its suffix, else JSON lines.
        columns: those that a csv must have.
        advice: how a row is to be written.
        also: other names of columns -> the names that they get here.

    Raises DataError, in its turn, for what cannot be read.
    """
    rows = _csv_rows(path, columns, also) if path.suffix.lower() in (".csv", ".tsv") else _jsonl_rows(path, advice)
    return ((where, renamed(values, also)) for where, values in rows)


def renamed(values: Mapping[str, object], also: Mapping[str, str]) -> Mapping[str, object]:
    """With other names of columns in the place of those that are not there."""
    return {new: values[old] for old, new in also.items() if old in values and new not in values} | dict(values)


def image_of(row: Row, advice: str) -> str:
    """The image that a row names. Raises DataError."""
    where, values = row
    image = values.get("image")
    if not isinstance(image, str) or not image or "\0" in image:
        raise DataError(f"{where}: 'image' is {quoted(image)}, not the name of an image; {advice}")
    return image


def read_lines(path: Path, newline: str | None = None) -> Iterator[str]:
    """Raises DataError."""
    try:
        with open_text(path, newline=newline) as file:
            yield from file
    except UnicodeError:
        raise DataError(f"{path}: its bytes are not UTF-8 text; save it so, as jsonl or csv") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({why_unreadable(error)}); check the path") from None


def _jsonl_rows(path: Path, advice: str) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            where, row = f"{path}, line {number}", parsed(line)
            if not isinstance(row, dict):
                raise DataError(f"{where}, is no JSON object; {advice}")
            yield where, row


def parsed(line: str) -> Any:
    """A line of JSON; None for what is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _csv_rows(path: Path, columns: Collection[str], also: Mapping[str, str]) -> Iterator[Row]:
    head = next(read_lines(path), "")
    # Excel writes semicolons where a comma is the decimal point
    delimiter = max(",;\t", key=head.count)
    # without `strict` a quote that is never closed makes one cell of all rows that follow
    reader = csv.DictReader(read_lines(path, newline=""), restkey=_BEYOND, delimiter=delimiter, strict=True)
    where = f"{path}, line 1"
    try:
        known = {also.get(name, name) for name in reader.fieldnames or ()} | set(reader.fieldnames or ())
        if missing := sorted(set(columns) - known):
            raise DataError(f"{path}: has no column '{missing[0]}'; its first line must name {' and '.join(columns)}, "
                            f"and is {quoted(head.strip())}")  # fmt: skip
        where = f"{path}, line {reader.line_num + 1}"
        for row in reader:
            if any(map(str.strip, row.pop(_BEYOND, ()))):
                raise DataError(f"{path}, line {reader.line_num}: has more cells than the first line has names; put "
                                f"double quotes around a text with {_NAMES[delimiter]}")  # fmt: skip
            yield f"{path}, line {reader.line_num}", {name: value or "" for name, value in row.items()}
            where = f"{path}, line {reader.line_num + 1}"
    except csv.Error as error:
        raise DataError(f"{where}: no CSV ({error}); check its quotes") from None
