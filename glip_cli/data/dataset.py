"""The rows of a data set before they are checked: those of a COCO file, whatever they came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict
from urllib.parse import unquote

from glip_cli.data.issues import DataIssue, Tally
from glip_cli.data.values import Ids, as_box, as_id, as_number, shown
from glip_cli.errors import UsageError


@dataclass(frozen=True)
class Tables:
    """`images`, `annotations` and `categories` as in COCO; `folder` is where the images are looked for.

    Attributes:
        image_ids, category_ids: the file's own ids, for the numbers that stand in the rows.
        paths: image id -> its file, where the reader knows it.
        is_part: it is the split that was asked for; else there are none, and it is all.
        sizes: file -> (width, height) in pixels of the upright image, or why it has none, where the reader opened it.
    """

    name: str
    folder: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    is_grounding: bool = False
    image_ids: Ids = field(default_factory=Ids)
    category_ids: Ids = field(default_factory=Ids)
    is_part: bool = False
    paths: Mapping[int, Path] = field(default_factory=dict)
    sizes: Mapping[Path, tuple[int, int] | str] = field(default_factory=dict)


_FREQUENCIES = ("r", "c", "f")
_MAX_SIDE = 2**31 - 1
_TEXT_IDS = 2**52
_NO_CROWD = (None, False, 0, "", "0")


@dataclass(frozen=True)
class Category:
    """`frequency` is LVIS': r (in 1 to 10 training images), c (11 to 100) or f (more)."""

    id: int
    name: str
    frequency: str | None = None


@dataclass(frozen=True)
class ImageRow:
    """One image as the file names it; sizes in pixels; None where the file does not say.

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
    if isinstance(value, str):
        raise UsageError(f"{where} is {shown(value)}; it must be a whole number of pixels, without quotes")
    number = None if value is None else as_id(value, where)
    if number is not None and number > _MAX_SIDE:
        raise UsageError(f"{where} is {shown(value)}; no image has so many pixels")
    return number


def _ids(row: Mapping[str, Any], key: str, where: str) -> tuple[int, ...] | None:
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise UsageError(f"{where}.{key} is {shown(value)}; it must be a list of category ids")
    return tuple(as_id(item, f"{where}.{key}") for item in value)


def read_annotations(tables: Tables, tally: Tally) -> list[tuple[int, Annotation]]:
    """Those that can be read, each with its place among the rows; the others are counted."""
    texts: dict[str, int] = {}
    read = []
    for i, raw in enumerate(tables.annotations):
        try:
            row = _annotation(raw, i, tables, texts)
        except UsageError as error:
            tally.add(DataIssue.BOX_FORM, f"{tables.name}: annotations[{i}]{error}")
            continue
        try:
            if raw.get("area") is not None:
                row["area"] = as_number(raw["area"], ".area")
        except UsageError as error:
            tally.add(DataIssue.AREA, f"{tables.name}: annotations[{i}]{error}")
        read.append((i, row))
    return read


def _annotation(raw: object, place: int, tables: Tables, texts: dict[str, int]) -> Annotation:
    """With the area of its box. Raises UsageError for an id that is none, a box that is not four finite numbers."""
    if not isinstance(raw, dict):
        raise UsageError(f" is {shown(raw)}, not an object")
    box = as_box(raw.get("bbox"), ".bbox")
    return {
        "id": _own_id(raw.get("id"), place, texts),
        "image_id": tables.image_ids.number(raw.get("image_id"), ".image_id"),
        "category_id": tables.category_ids.number(raw.get("category_id"), ".category_id"),
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": int(raw.get("iscrowd") not in _NO_CROWD),
    }


def _own_id(value: object, place: int, texts: dict[str, int]) -> int:
    """Numbers for text, which some files have, begin where no file's do; one that has none gets its place from 1."""
    if value is None:
        return place + 1
    if isinstance(value, str) and not value.strip().isdecimal():
        return texts.setdefault(value, _TEXT_IDS + len(texts))
    return as_id(value, ".id")


def read_category(row: dict[str, Any]) -> Category:
    """`row["id"]` is a number already."""
    frequency = row.get("frequency")
    return Category(row["id"], category_name(row), frequency if frequency in _FREQUENCIES else None)


def category_name(row: Mapping[str, Any]) -> str:
    """As the file spells it, numbers as text; nothing where it gives none."""
    name = row.get("name")
    return "" if name is None else str(name)
