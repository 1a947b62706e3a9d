"""One row of an annotation file -> one frozen value, or an error of one line that names its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypedDict
from urllib.parse import unquote

from glip_cli.data.reading import as_box, as_id, as_number, shown
from glip_cli.errors import UsageError

_FREQUENCIES = ("r", "c", "f")
_MAX_SIDE = 2**31 - 1
_NO_CROWD = (None, False, 0, "", "0")


@dataclass(frozen=True)
class Category:
    """`frequency` is LVIS': r (in 1 to 10 training pictures), c (11 to 100) or f (more)."""

    id: int
    name: str
    frequency: str | None = None


@dataclass(frozen=True)
class ImageRow:
    """One picture as the file names it; sizes in pixels; None where the file does not say.

    `file_name` has forward slashes and may hold folders; LVIS v1, which gives none, gets the last two parts of its
    `coco_url`, as in GLIP's own code (M/data/datasets/lvis.py:229). The category ids are LVIS': those that were
    looked for in vain, and those of which not every object has its box.
    """

    id: int
    file_name: str
    width: int | None = None
    height: int | None = None
    neg_category_ids: tuple[int, ...] | None = None
    not_exhaustive_category_ids: tuple[int, ...] | None = None
    coco_url: str | None = None


class Annotation(TypedDict):
    """`bbox` is [x, y, width, height], `area` what the size ranges go by; both in pixels."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int


def read_image_row(row: dict[str, Any], where: str) -> ImageRow:
    """`row["id"]` is a number already. Raises UsageError for a name, size or list that cannot be one."""
    url = row["coco_url"] if isinstance(row.get("coco_url"), str) else None
    return ImageRow(
        id=row["id"],
        file_name=_file_name(row.get("file_name"), url, where),
        width=_pixels(row.get("width"), f"{where}.width"),
        height=_pixels(row.get("height"), f"{where}.height"),
        neg_category_ids=_ids(row, "neg_category_ids", where),
        not_exhaustive_category_ids=_ids(row, "not_exhaustive_category_ids", where),
        coco_url=url,
    )


def _file_name(name: object, url: str | None, where: str) -> str:
    if name is None or name == "":
        return "/".join(url_parts(url)[-2:])
    if not isinstance(name, str) or "\0" in name:
        raise UsageError(f"{where}.file_name is {shown(name)}; it must be a path")
    return name.replace("\\", "/")


def url_parts(url: str | None) -> tuple[str, ...]:
    """The path of a URL, part by part; nothing for None. Takes any text: one that is no URL is no error here."""
    if not url:
        return ()
    path = re.split(r"[?#]", url, maxsplit=1)[0].partition("://")[2].partition("/")[2]
    return PurePosixPath(unquote(path)).parts


def _pixels(value: object, where: str) -> int | None:
    number = None if value is None else as_id(value, where)
    if number is not None and number > _MAX_SIDE:
        raise UsageError(f"{where} is {shown(value)}; no picture has so many pixels")
    return number


def _ids(row: Mapping[str, Any], key: str, where: str) -> tuple[int, ...] | None:
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise UsageError(f"{where}.{key} is {shown(value)}; it must be a list of category ids")
    return tuple(as_id(item, f"{where}.{key}") for item in value)


def read_annotation(row: dict[str, Any], number: int, where: str) -> Annotation:
    """`number` is the id of one that has none; an area that the file leaves out is the box's.

    Raises:
        UsageError: an id that is no number, a box that is not four finite ones.
    """
    box = as_box(row.get("bbox"), f"{where}.bbox")
    area = row.get("area")
    return {
        "id": as_id(row["id"], f"{where}.id") if "id" in row else number,
        "image_id": as_id(row.get("image_id"), f"{where}.image_id"),
        "category_id": as_id(row.get("category_id"), f"{where}.category_id"),
        "bbox": box,
        "area": box[2] * box[3] if area is None else as_number(area, f"{where}.area"),
        "iscrowd": int(row.get("iscrowd") not in _NO_CROWD),
    }


def read_category(row: dict[str, Any]) -> Category:
    """`row["id"]` is a number already."""
    frequency = row.get("frequency")
    return Category(row["id"], category_name(row), frequency if frequency in _FREQUENCIES else None)


def category_name(row: Mapping[str, Any]) -> str:
    """As the file spells it, numbers as text; nothing where it gives none."""
    name = row.get("name")
    return "" if name is None else str(name)
