"""Values in files of users: ids, numbers, boxes. Every error is one line that names the file and the place in it."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TypeGuard

from glip_cli.errors import DataError
from glip_cli.utils.json import parsed_object
from glip_cli.utils.text_format import encoding_of, one_line, open_text, quoted, whole_number, why_unreadable

_MAX_ID = 2**63 - 1


def read_json(path: Path) -> object:
    """Everything in the file. Raises DataError where it is missing, not text, not JSON, or cut short."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as failure:
        position = f"line {failure.lineno}, column {failure.colno}"
        raise DataError(f"{path}: not a whole JSON file ({position}: {failure.msg}); fetch or write it again") from None
    except (RecursionError, ValueError) as failure:  # nested too deeply, or a number of thousands of digits
        raise DataError(f"{path}: no dataset and no results ({failure}); check the path") from None


def read_text(path: Path) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so. Raises DataError where it is missing or neither."""
    data = read_bytes(path)
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError:
        raise DataError(f"{path}: its bytes are not UTF-8 text; check the path") from None


def read_bytes(path: Path) -> bytes:
    """Raises DataError."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as failure:  # ValueError: a null character in the name
        why = getattr(failure, "strerror", None) or failure
        raise DataError(f"{path}: cannot be read ({why}); check the path") from failure


def as_id(value: object, where: str) -> int:
    """An id as COCO has them: an integer from 0, also where the file wrote it as text or as 7.0. Raises DataError."""
    number = value
    if type(value) is not int and (_is_digits(value) or (isinstance(value, float) and value.is_integer())):
        number = int(value)
    if type(number) is not int or not 0 <= number <= _MAX_ID:
        raise DataError(f"{where} is {shown(value)}; ids must be whole numbers from 0")
    return number


def _is_digits(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value) is not None


def as_number(value: object, where: str) -> float:
    """A finite number. Raises DataError for NaN, infinity, text and anything else."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        quotes = ", without quotes" if isinstance(value, str) else ""
        raise DataError(f"{where} is {shown(value)}; it must be a finite number{quotes}")
    return number


def text_numbers(texts: Mapping[str, str | None]) -> list[float]:
    """Finite numbers of a file in which all is text. Raises DataError, which names the first that is none."""
    numbers = []
    for where, text in texts.items():
        try:
            number = float(text or "")
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise DataError(f"{where} is {shown(text)}; it must be a finite number")
        numbers.append(number)
    return numbers


def stated_size(width: str, height: str) -> tuple[int, int] | tuple[None, None]:
    """(width, height) in pixels; (None, None) where one of them is missing, 0 or no number."""
    texts = [text for text in (width.strip(), height.strip()) if text.isascii() and text.isdecimal() and len(text) < 8]
    numbers = [number for text in texts if (number := int(text))]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (None, None)


def as_box(value: object, where: str) -> list[float]:
    """[x, y, width, height] in pixels, whatever their signs. Raises DataError for what is not four finite numbers."""
    if not isinstance(value, list) or len(value) != 4:
        raise DataError(f"{where} is {shown(value)}; a box is [x, y, width, height]")
    x, y, width, height = value
    if type(x) is type(y) is type(width) is type(height) is float and math.isfinite(x + y + width + height):
        return value
    return [as_number(number, where) for number in value]


def as_sized_box(value: object, where: str) -> list[float]:
    """As `as_box`, with a width and height of 0 or more. Raises DataError."""
    box = as_box(value, where)
    if min(box[2:]) < 0:
        raise DataError(f"{where} is {shown(value)}; its width and height must not be negative")
    return box


def shown(value: object) -> str:
    """`value` as one short line."""
    text = one_line(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= 60 else f"{text[:57]}..."


UNLISTED = -1


@dataclass(frozen=True)
class Ids:
    """
    Attributes:
        numbers: spelling -> number, where the file has text for ids; empty where its own numbers serve.
    """

    numbers: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[object]) -> Ids:
        """The ids of a table: the file's own numbers, or 1, 2, ... where some are no number or two would be one."""
        spellings = dict.fromkeys(spelling for value in values if (spelling := spelling_of(value)) is not None)
        numbers = {number for one in spellings if one.isascii() and (number := whole_number(one)) is not None}
        if len(numbers) == len(spellings):
            return cls()
        return cls({spelling: i for i, spelling in enumerate(spellings, 1)})

    def number(self, value: object, where: str) -> int:
        """The number of an id; of text that is not listed, one that nothing has. Raises DataError for what is no id."""
        spelling = spelling_of(value) if self.numbers else None
        return as_id(value, where) if spelling is None else self.numbers.get(spelling, UNLISTED)

    def original(self, number: int) -> int | str:
        """The id as the file spells it."""
        return self._spellings.get(number, number)

    @cached_property
    def _spellings(self) -> dict[int, str]:
        return {number: spelling for spelling, number in self.numbers.items()}


def spelling_of(value: object) -> str | None:
    """The same for 7, "7", " 7" and 7.0; None for what is no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip() or None if not isinstance(value, int) or value >= 0 else None


# -------------------------------------------------------------------------------------------------------- csv and jsonl
# Rows of a text file that a user made, each with its place: csv with named columns, or a JSON object per line.


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
    """Each with its line end: characters that only Python takes for one are part of a line. Raises DataError."""
    try:
        with open_text(path, newline=newline) as file:
            yield from file
    except UnicodeError:
        raise DataError(f"{path}: its bytes are not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise DataError(f"{path}: cannot be read ({why_unreadable(error)}); check the path") from None


def _jsonl_rows(path: Path, advice: str) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            where, row = f"{path}, line {number}", parsed_object(line)
            if row is None:
                raise DataError(f"{where} is {shown(line.strip())}, no JSON object; {advice}")
            yield where, row


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
