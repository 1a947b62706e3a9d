"""Boxes in a table, of all images: Hugging Face's `imagefolder` and TensorFlow's csv -> `Dataset`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from glip_cli.data.dataset import SPLIT_FOLDERS, Annotation, Category, Dataset, ImageRow, new_annotation
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import as_box, read_lines, read_rows, shown, stated_size, text_numbers
from glip_cli.data.yolo_description import listed_names
from glip_cli.errors import DataError

# ---------------------------------------------------------------------------------------------------------- imagefolder
# metadata.jsonl beside the images:
#
#     {"file_name": "a.jpg", "objects": {"bbox": [[x, y, width, height]], "categories": ["cat"]}}
#
# `objects` may be a list of objects with one bbox each. Categories are names; or numbers, which classes.txt names.


METADATA, CLASSES = "metadata.jsonl", "classes.txt"
_BOXES = ("bbox", "bboxes", "boxes")
_CLASSES = ("categories", "category", "labels", "label", "category_id", "category_ids", "class")


class _Row(NamedTuple):
    """An image; of each of its objects the box, unchecked, and the class."""

    where: str
    name: str
    objects: list[tuple[object, int | str]]


def read_imagefolder(path: Path, images: Path | None, split: str, issues: Issues) -> Dataset:
    """The rows of a split where the names of images begin with folders of splits; else all.

    Classes are in alphabetical order, or as classes.txt lists them.

    Raises DataError where a row is none, no row has boxes, or classes are numbers without names; names the place.
    """
    rows = list(_rows(path))
    parts = {part: name for name, parts in SPLIT_FOLDERS.items() for part in (*parts, name)}
    splits = [parts.get(PurePosixPath(row.name).parts[0]) for row in rows]
    is_split = any(splits)
    chosen = [row for row, one in zip(rows, splits, strict=True) if one == split or not is_split]
    if not chosen:
        raise DataError(f"{path}: no image in a folder for '{split}'; give another split")
    names, numbers = _classes(path, rows)
    return Dataset(
        path.parent.name,
        tuple(ImageRow(i, row.name) for i, row in enumerate(chosen, 1)),
        tuple(Category(i, name) for i, name in enumerate(names)),
        tuple(_annotations(chosen, numbers, issues)),
        images or path.parent,
        issues,
        is_part=is_split,
    )


def _rows(path: Path) -> Iterator[_Row]:
    has_objects = False
    for where, row in read_rows(path, (), "write it again"):
        has_objects = has_objects or "objects" in row
        yield _Row(where, _file_name(row, where), list(_objects(row.get("objects"), where)))
    if not has_objects:
        raise DataError(f"{path}: no row has 'objects' with bbox and categories; give a data set of boxes")


def _file_name(row: Mapping[str, object], where: str) -> str:
    name = row.get("file_name")
    if not isinstance(name, str) or not name.strip("/\\. ") or "\0" in name:
        raise DataError(f"{where}: file_name is {shown(name)}; it must be the path of an image")
    return name.replace("\\", "/").removeprefix("./")


def _objects(value: object, where: str) -> Iterator[tuple[object, int | str]]:
    """Raises DataError where there are not as many boxes as classes."""
    if value is None:
        return
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        value = {key: [one.get(key) for one in value] for key in dict.fromkeys(key for one in value for key in one)}
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: objects is {shown(value)}; it must be lists of bbox and of categories")
    if not value:
        return
    boxes, classes = (next((value[key] for key in keys if key in value), None) for keys in (_BOXES, _CLASSES))
    if not isinstance(boxes, list) or not isinstance(classes, list) or len(boxes) != len(classes):
        raise DataError(f"{where}: objects has {shown(list(value))}; it must have as many bbox as categories")
    for box, one in zip(boxes, classes, strict=True):
        if isinstance(one, bool) or not isinstance(one, int | str):
            raise DataError(f"{where}: a category is {shown(one)}; it must be a name or a number")
        yield box, one


def _classes(path: Path, rows: Iterable[_Row]) -> tuple[list[str], dict[int | str, int]]:
    """The names of classes.txt, then the others in alphabetical order; the number of each, and of each number.

    Raises DataError for a number that classes.txt does not name.
    """
    file, things = path.parent / CLASSES, [(row.where, one) for row in rows for _, one in row.objects]
    listed = [name for _, name in listed_names(file)] if file.is_file() else []
    for where, one in things:
        if isinstance(one, int) and not 0 <= one < len(listed):
            raise DataError(f"{where}: category {one} has no name; write names, or a name per line in {file}")
    names = [*listed, *sorted({one for _, one in things if isinstance(one, str)} - set(listed))]
    return names, {**{i: i for i in range(len(listed))}, **{name: i for i, name in enumerate(names)}}


def _annotations(rows: Iterable[_Row], numbers: Mapping[int | str, int], issues: Issues) -> Iterator[Annotation]:
    count = 0
    for image_id, row in enumerate(rows, 1):
        for box, one in row.objects:
            try:
                yield new_annotation(count + 1, image_id, numbers[one], list(as_box(box, "bbox")))
                count += 1
            except DataError as error:
                issues.add(DataIssue.BOX_FORM, f"{row.where}: {error}")


# ------------------------------------------------------------------------------------------------------- tensorflow csv
# Boxes in a csv, as TensorFlow's object detection has them -> `Dataset`.
#
# Columns filename, width, height, class, xmin, ymin, xmax, ymax in any order; corners are edges in pixels.


_BEYOND = "\0"  # the key of what has no column
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("filename", "class", *_CORNERS)


def read_tensorflow_csv(path: Path, images: Path | None, issues: Issues) -> Dataset:
    """The boxes of a file, which has no line for an image without one. Classes are in alphabetical order.

    Raises DataError where it has other columns, or is no text.
    """
    lines = list(_lines(path))
    sizes = {line["filename"]: stated_size(line["width"], line["height"]) for _, line in lines}
    image_ids = {name: i for i, name in enumerate(sizes, 1)}
    class_ids = {name: i for i, name in enumerate(sorted({line["class"] for _, line in lines}), 1)}
    annotations: list[Annotation] = []
    for where, line in lines:
        image_id, class_id, number = image_ids[line["filename"]], class_ids[line["class"]], len(annotations) + 1
        try:
            if line[_BEYOND]:
                raise DataError("has more cells than the first line; put double quotes around a text with commas")
            x1, y1, x2, y2 = text_numbers({key: line[key] for key in _CORNERS})
            annotations.append(new_annotation(number, image_id, class_id, [x1, y1, x2 - x1, y2 - y1]))
        except DataError as error:
            issues.add(DataIssue.BOX_FORM, f"{where}: {error}")
    return Dataset(
        path.name,
        tuple(ImageRow(image_ids[name], name, *size) for name, size in sizes.items()),
        tuple(Category(i, name) for name, i in class_ids.items()),
        tuple(annotations),
        images or path.parent,
        issues,
    )


def _lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each line with its place: what stands in it by the names of columns, which are in small letters."""
    head, *lines = list(read_lines(path)) or [""]
    delimiter, where = max(",;\t", key=head.count), f"{path}, line 1"
    try:
        columns = [column.strip() for column in next(csv.reader([head.lower()], delimiter=delimiter), [])]
        if not set(_COLUMNS) <= set(columns):
            raise DataError(f"{path}: its columns are {shown(head.strip())}; a csv of boxes has {','.join(_COLUMNS)}")
        for number, line in enumerate(lines, 2):
            where = f"{path}, line {number}"
            # line by line, or a quote that is never closed makes one cell of all that follow
            for row in csv.DictReader([line] if line.strip() else [], columns, _BEYOND, "", delimiter=delimiter):
                cells = {name: "".join(cell).strip() for name, cell in row.items()}
                name = cells["filename"].replace("\\", "/")
                yield where, {"width": "", "height": "", _BEYOND: "", **cells, "filename": name}
    except csv.Error as error:
        raise DataError(f"{where}: no CSV ({error}); check its quotes") from None
