"""JSON that people hand over: read whole, every complaint one line that names the file and the place in it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, TypeGuard

from glip_cli.errors import UsageError

_MAX_ID = 2**63 - 1


def read_json(path: Path) -> Any:
    """Everything in the file.

    Raises:
        UsageError: it is missing, not text, not JSON, or cut short.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as failure:
        place = f"line {failure.lineno}, column {failure.colno}"
        raise UsageError(f"{path}: not a whole JSON file ({place}: {failure.msg}); fetch or write it again") from None
    except (RecursionError, ValueError) as failure:  # nested too deeply, or a number of thousands of digits
        raise UsageError(f"{path}: no dataset and no results ({failure}); check the path") from None


def read_text(path: Path) -> str:
    """Raises UsageError where it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as failure:
        raise UsageError(f"{path}: cannot be read ({failure.strerror or failure}); check the path") from failure
    except UnicodeDecodeError:
        raise UsageError(f"{path}: its bytes are not UTF-8 text; check the path") from None


def as_id(value: object, where: str) -> int:
    """An id as COCO has them: an integer from 0, also where the file wrote it as text or as 7.0.

    Args:
        value: what stands in the file.
        where: the file and the place in it, for the message.

    Raises:
        UsageError: it is anything else.
    """
    number = value
    if _is_digits(value) or (isinstance(value, float) and value.is_integer()):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MAX_ID:
        raise UsageError(f"{where} is {shown(value)}; ids must be whole numbers from 0")
    return number


def _is_digits(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,19}\s*", value) is not None


def as_number(value: object, where: str) -> float:
    """A finite number, also where the file wrote it as text (as some exporters do).

    Raises:
        UsageError: it is NaN, infinite or no number.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{where} is {shown(value)}; it must be a finite number")
    return number


def as_box(value: object, where: str) -> list[float]:
    """[x, y, width, height] in pixels; the size may be negative, as pycocotools allows it.

    Raises:
        UsageError: not four finite numbers.
    """
    if not isinstance(value, list) or len(value) != 4:
        raise UsageError(f"{where} is {shown(value)}; a box is [x, y, width, height]")
    return [as_number(number, where) for number in value]


def shown(value: object) -> str:
    """`value` as one short line."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
