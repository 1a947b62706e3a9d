"""COCO and grounding json -> its rows, with whole numbers for ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glip_cli.data.dataset import Tables
from glip_cli.data.values import Ids, read_json, shown
from glip_cli.errors import UsageError


def read_coco(path: Path, images: Path | None) -> Tables:
    """The rows of a file; grounding data, with captions and `tokens_positive`, may have no categories.

    Raises:
        UsageError: it is no such file; names the place in it.
    """
    data = _object(path)
    rows, annotations = _objects(_rows(data, "images", path), f"{path}: images"), _rows(data, "annotations", path)
    is_grounding = any("caption" in row for row in rows) and any(map(_is_named, annotations))
    listed = [] if is_grounding and not isinstance(data.get("categories"), list) else _rows(data, "categories", path)
    categories = _objects(listed, f"{path}: categories")
    if not rows or not (categories or is_grounding):
        raise UsageError(f"{path}: names no image or no category; give a COCO annotation file that does")
    image_ids, category_ids = (Ids.of(row.get("id") for row in one) for one in (rows, categories))
    return Tables(
        path.name,
        images or path.parent,
        _numbered(rows, image_ids, f"{path}: images"),
        annotations,
        _numbered(categories, category_ids, f"{path}: categories"),
        is_grounding,
        image_ids,
        category_ids,
    )


def _is_named(row: object) -> bool:
    return isinstance(row, dict) and "tokens_positive" in row


def _object(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if isinstance(data, list):
        raise UsageError(f"{path}: a list, as results are; annotations are an object with images and annotations")
    if not isinstance(data, dict):
        raise UsageError(f"{path}: {shown(data)} is no annotation file; give COCO or grounding json")
    if "annotations" not in data and "images" in data:
        raise UsageError(f"{path}: has no 'annotations' (a test set, published without them?); give one that has")
    return data


def _rows(data: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    rows = data.get(key)
    if not isinstance(rows, list):
        raise UsageError(f"{path}: has no list '{key}'; give a COCO annotation file")
    return rows


def _objects(rows: Sequence[Any], where: str) -> list[dict[str, Any]]:
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UsageError(f"{where}[{i}] is {shown(row)}, not an object; the file is damaged")
    return list(rows)


def _numbered(rows: Sequence[dict[str, Any]], ids: Ids, where: str) -> list[dict[str, Any]]:
    return [{**row, "id": ids.number(row.get("id"), f"{where}[{i}].id")} for i, row in enumerate(rows)]
