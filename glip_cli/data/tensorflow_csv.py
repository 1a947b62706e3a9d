"""Boxes in a csv, as TensorFlow's object detection has them -> `Dataset`.

Columns filename, width, height, class, xmin, ymin, xmax, ymax in any order; corners are edges in pixels.
"""

from __future__ import annotations

import csv
from pathlib import Path

from glip_cli.data.dataset import Annotation, Category, Dataset, ImageRow, new_annotation
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import read_text, shown, stated_size, text_numbers
from glip_cli.errors import DataError

_BEYOND = "\0"  # the key of what has no column
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("filename", "class", *_CORNERS)


def read_tensorflow_csv(path: Path, images: Path | None, issues: Issues) -> Dataset:
    """The boxes of a file, which has no line for an image without one. Classes are in alphabetical order.

    Raises DataError where it has other columns, or is no text.
    """
    lines = _lines(path)
    sizes = {line["filename"]: stated_size(line["width"], line["height"]) for line in lines}
    image_ids = {name: i for i, name in enumerate(sizes, 1)}
    class_ids = {name: i for i, name in enumerate(sorted({line["class"] for line in lines}), 1)}
    annotations: list[Annotation] = []
    for i, line in enumerate(lines, 2):
        image_id, class_id, number = image_ids[line["filename"]], class_ids[line["class"]], len(annotations) + 1
        try:
            if line[_BEYOND]:
                raise DataError("has more cells than the first line; put double quotes around a text with commas")
            x1, y1, x2, y2 = text_numbers({key: line[key] for key in _CORNERS})
            annotations.append(new_annotation(number, image_id, class_id, [x1, y1, x2 - x1, y2 - y1]))
        except DataError as error:
            issues.add(DataIssue.BOX_FORM, f"{path}, line {i}: {error}")
    return Dataset(
        path.name,
        tuple(ImageRow(image_ids[name], name, *size) for name, size in sizes.items()),
        tuple(Category(i, name) for name, i in class_ids.items()),
        tuple(annotations),
        images or path.parent,
        issues,
    )


def _lines(path: Path) -> list[dict[str, str]]:
    """What stands in each line by the names of columns, which are in small letters."""
    head, *rows = read_text(path).splitlines() or [""]
    delimiter = max(",;\t", key=head.count)
    try:
        # row by row, or a quote that is never closed makes one cell of all that follow
        columns, *lines = (
            next(csv.reader([row], delimiter=delimiter), []) for row in [head.lower(), *filter(str.strip, rows)]
        )
    except csv.Error as error:
        raise DataError(f"{path}: no csv ({error}); write it again") from None
    columns = [column.strip() for column in columns]
    if not set(_COLUMNS) <= set(columns):
        raise DataError(f"{path}: its columns are {shown(head)}; a csv of boxes has {','.join(_COLUMNS)}")
    blank, count = dict.fromkeys((*_COLUMNS, "width", "height"), ""), len(columns)
    read = [
        {**blank, **dict(zip(columns, map(str.strip, line), strict=False)), _BEYOND: "".join(line[count:]).strip()}
        for line in lines
    ]
    return [{**line, "filename": line["filename"].replace("\\", "/")} for line in read]
