"""COCO and LVIS annotations, and grounding json as MDETR writes it (`caption`, `tokens_positive`) -> `Dataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from glip_cli.data.dataset import Annotation, Category, Dataset, ImageRow, url_parts
from glip_cli.data.image_files import settle_backslashes
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import Ids, as_box, as_id, as_number, shown
from glip_cli.errors import DataError
from glip_cli.utils.json import JsonObject

_FREQUENCIES = ("r", "c", "f")
_MAX_SIDE = 2**31 - 1
_TEXT_IDS = 2**52
_NO_CROWD = (None, False, 0, "", "0")


def read_coco(path: Path, content: object, images: Path | None, issues: Issues) -> Dataset:
    """The data set of a file's content. A missing box is computed from the polygons or the mask.

    Grounding data may have no categories. Raises DataError where it is no such file; names the place in it.
    """
    data = _object(path, content)
    image_rows, annotation_rows = _objects(data, "images", path), _rows(data, "annotations", path)
    is_named = any(isinstance(row, dict) and "tokens_positive" in row for row in annotation_rows)
    is_grounding = is_named and any("caption" in row for row in image_rows)
    is_unlisted = is_grounding and not isinstance(data.get("categories"), list)
    category_rows = [] if is_unlisted else _objects(data, "categories", path)
    if not image_rows or not (category_rows or is_grounding):
        raise DataError(f"{path}: names no image or no category; give a COCO annotation file that does")
    image_ids, category_ids = (Ids.of(row.get("id") for row in rows) for rows in (image_rows, category_rows))
    listed = _images(image_rows, image_ids, f"{path}: images", issues)
    categories = tuple(
        _category(row, category_ids.number(row.get("id"), f"{path}: categories[{i}].id"))
        for i, row in enumerate(category_rows)
    )
    folder = images or path.parent
    listed, paths = settle_backslashes(listed, folder)
    rows = _Annotations(path.name, image_ids, category_ids, issues)
    read = rows.read(annotation_rows, {row.id for row in listed}, None if is_grounding else {c.id for c in categories})
    return Dataset(
        path.name,
        listed,
        categories,
        tuple(annotation for _, annotation in read),
        folder,
        issues,
        paths=paths,
        image_ids=image_ids,
        category_ids=category_ids,
        spans=tuple(annotation_rows[i].get("tokens_positive") for i, _ in read) if is_grounding else None,
    )


def _object(path: Path, data: object) -> JsonObject:
    """Raises DataError for what is no COCO; says what it is instead, where that is known."""
    if other := _other(data):
        raise DataError(f"{path}: {other}")
    if isinstance(data, list):
        raise DataError(f"{path}: a list, as results are; annotations are an object with images and annotations")
    if not isinstance(data, dict):
        raise DataError(f"{path}: {shown(data)} is no annotation file; give COCO or grounding json")
    if "annotations" not in data and "images" in data:
        raise DataError(f"{path}: has no 'annotations' (a test set, published without them?); give one that has")
    return data


def _other(data: object) -> str | None:
    """For a file of another kind: what it is, and what to do."""
    if isinstance(data, list):
        is_tasks = bool(data) and isinstance(data[0], dict) and "data" in data[0] and "annotations" in data[0]
        return "tasks of Label Studio; export them as COCO or YOLO" if is_tasks else None
    if not isinstance(data, dict):
        return None
    if "_via_img_metadata" in data:
        return "a project of VIA; export its annotations as COCO"
    if isinstance(data.get("items"), list):
        return "Datumaro's own json; export the set as COCO"
    rows = data.get("annotations")
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    if "segments_info" in first:
        return "panoptic segments without boxes of objects; give the json of the instances"
    if "caption" in first and "bbox" not in first:
        return "captions without boxes, for glip annotate --captions; give the json of the instances"
    return None


def _rows(data: Mapping[str, object], key: str, path: Path) -> list[Any]:
    rows = data.get(key)
    if not isinstance(rows, list):
        raise DataError(f"{path}: has no list '{key}'; give a COCO annotation file")
    return rows


def _objects(data: Mapping[str, object], key: str, path: Path) -> list[JsonObject]:
    rows = _rows(data, key, path)
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{path}: {key}[{i}] is {shown(row)}, not an object; the file is damaged")
    return rows


def _category(row: Mapping[str, object], number: int) -> Category:
    name, frequency, above = row.get("name"), row.get("frequency"), row.get("supercategory")
    return Category(
        number,
        "" if name is None else str(name),
        frequency if frequency in _FREQUENCIES else None,
        None if above is None else str(above),
    )


def _images(rows: Sequence[JsonObject], ids: Ids, where: str, issues: Issues) -> tuple[ImageRow, ...]:
    """Each id once: the last one counts, as in pycocotools."""
    table: dict[int, ImageRow] = {}
    for i, raw in enumerate(rows):
        row = _image(raw, ids.number(raw.get("id"), f"{where}[{i}].id"), f"{where}[{i}]")
        if (known := table.setdefault(row.id, row)) is not row:
            same = (known.file_name, known.caption) == (row.file_name, row.caption)
            issues.add(DataIssue.IMAGE_REPEATED if same else DataIssue.IMAGE_ID, f"{row.file_name}, id {row.id}")
            table[row.id] = row
    return tuple(table.values())


def _image(row: JsonObject, number: int, where: str) -> ImageRow:
    """Raises DataError for a name, size or list that cannot be one."""
    url = row["coco_url"] if isinstance(row.get("coco_url"), str) else None
    return ImageRow(
        number,
        _file_name(row.get("file_name"), url, where),
        _pixels(row.get("width"), where, "width"),
        _pixels(row.get("height"), where, "height"),
        _ids(row, "neg_category_ids", where),
        _ids(row, "not_exhaustive_category_ids", where),
        url,
        row.get("caption"),
    )


def _file_name(name: object, url: str | None, where: str) -> str:
    if name is None or name == "":
        return "/".join(url_parts(url)[-2:])
    if not isinstance(name, str) or "\0" in name:
        raise DataError(f"{where}.file_name is {shown(name)}; it must be a path")
    return name


def _pixels(value: object, where: str, side: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, str):
        raise DataError(f"{where}.{side} is {shown(value)}; it must be a whole number of pixels, without quotes")
    number = as_id(value, f"{where}.{side}")
    if number > _MAX_SIDE:
        raise DataError(f"{where}.{side} is {shown(value)}; no image has so many pixels")
    return number


def _ids(row: Mapping[str, object], key: str, where: str) -> tuple[int, ...] | None:
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(f"{where}.{key} is {shown(value)}; it must be a list of category ids")
    return tuple(as_id(item, f"{where}.{key}") for item in value)


class _Annotations:
    """Reads the rows of a file one by one; those that cannot be read are counted."""

    def __init__(self, name: str, image_ids: Ids, category_ids: Ids, issues: Issues) -> None:
        self._name, self._image_ids, self._category_ids, self._issues = name, image_ids, category_ids, issues
        self._texts: dict[str, int] = {}

    def read(self, rows: Sequence[Any], images: set[int], categories: set[int] | None) -> list[tuple[int, Annotation]]:
        """Each with its place among the rows. `categories` are None where those of boxes do not matter."""
        read: list[tuple[int, Annotation]] = []
        ids: set[int] = set()
        for i, raw in enumerate(rows):
            try:
                row = self._annotation(raw, i)
            except DataError as error:
                self._add(DataIssue.BOX_FORM, i, str(error))
                continue
            read.append((i, row))
            if row["id"] in ids:
                self._add(DataIssue.BOX_ID, i, f".id is {shown(raw.get('id'))}")
            ids.add(row["id"])
            if row["image_id"] not in images:
                self._add(DataIssue.BOX_IMAGE, i, f": image {shown(raw['image_id'])}")
            elif categories is not None and row["category_id"] not in categories:
                self._add(DataIssue.BOX_CATEGORY, i, f": class {shown(raw['category_id'])}")
        return read

    def _annotation(self, raw: object, index: int) -> Annotation:
        """Raises DataError for an id that is none, a box that is not four finite numbers."""
        if not isinstance(raw, dict):
            raise DataError(f" is {shown(raw)}, not an object")
        box = self._box(raw)
        return {
            "id": self._own_id(raw.get("id"), index),
            "image_id": self._image_ids.number(raw.get("image_id"), ".image_id"),
            "category_id": self._category_ids.number(raw.get("category_id"), ".category_id"),
            "bbox": box,
            "area": self._area(raw.get("area"), index, box),
            "iscrowd": int(raw.get("iscrowd") not in _NO_CROWD),
        }

    @staticmethod
    def _box(raw: Mapping[str, object]) -> list[float]:
        if not raw.get("bbox") and raw.get("segmentation"):
            return box_around(raw["segmentation"], ".segmentation")
        return as_box(raw.get("bbox"), ".bbox")

    def _own_id(self, value: object, index: int) -> int:
        """Text, which some files have, gets numbers that no file has; a row without an id gets its place, from 1."""
        if value is None:
            return index + 1
        if isinstance(value, str) and not value.strip().isdecimal():
            return self._texts.setdefault(value, _TEXT_IDS + len(self._texts))
        return as_id(value, ".id")

    def _area(self, value: object, index: int, box: Sequence[float]) -> float:
        if value is not None:
            try:
                return as_number(value, ".area")
            except DataError as error:
                self._add(DataIssue.AREA, index, str(error))
        return box[2] * box[3]

    def _add(self, issue: DataIssue, index: int, message: str) -> None:
        self._issues.add(issue, f"{self._name}: annotations[{index}]{message}")


# --------------------------------------------------------------------------------------------------- polygons and masks


def box_around(segmentation: object, where: str) -> list[float]:
    """[x, y, width, height] in pixels of polygons, or of an RLE mask, compressed or not.

    Raises DataError for what is neither, and for a mask of nothing.
    """
    if isinstance(segmentation, Mapping):
        return _around_mask(segmentation, where)
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(f"{where} is {shown(segmentation)}; there must be a bbox, or polygons or RLE to take it from")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    if not all(isinstance(one, list) and len(one) % 2 == 0 for one in polygons) or not any(polygons):
        raise DataError(f"{where} is {shown(segmentation)}; a polygon is [x1, y1, x2, y2, ...]")
    xs, ys = ([as_number(value, where) for value in chain(*(one[i::2] for one in polygons))] for i in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _around_mask(rle: Mapping[str, object], where: str) -> list[float]:
    from hotcoco import mask

    size, counts = rle.get("size"), rle.get("counts")
    try:
        box = mask.toBbox({"size": size, "counts": counts}).tolist()
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{where} is no RLE mask ({' '.join(str(error).split())[:80]})") from None
    if not (box[2] and box[3]):
        raise DataError(f"{where} is a mask of nothing, which has no box")
    return [float(value) for value in box]
