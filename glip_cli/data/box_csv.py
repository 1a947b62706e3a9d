"""The csv of TensorFlow's object detection tools: filename,width,height,class,xmin,ymin,xmax,ymax in any order."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from glip_cli.data.issues import DataIssue, Tally
from glip_cli.data.reading import read_text, shown, stated_size, text_numbers
from glip_cli.data.tables import Tables
from glip_cli.errors import UsageError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("filename", "class", *_CORNERS)


def read_box_csv(path: Path, images: Path | None, tally: Tally) -> Tables:
    """The rows of all lines; corners are edges in pixels, as TensorFlow divides them by the size.

    Such a file has no line for an image without a box. Classes are in alphabetical order.

    Raises:
        UsageError: it has other columns, or is no text.
    """
    lines = _lines(path)
    rows = {line["filename"]: stated_size(line["width"], line["height"]) for line in lines}
    image_ids = {name: i for i, name in enumerate(rows, 1)}
    class_ids = {name: i for i, name in enumerate(sorted({line["class"] for line in lines}), 1)}
    annotations: list[dict[str, Any]] = []
    for i, line in enumerate(lines, 2):
        try:
            x1, y1, x2, y2 = text_numbers({key: line[key] for key in _CORNERS})
        except UsageError as error:
            tally.add(DataIssue.BOX_FORM, f"{path}, line {i}: {error}")
            continue
        ids = {"image_id": image_ids[line["filename"]], "category_id": class_ids[line["class"]]}
        annotations.append({**ids, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    return Tables(
        path.name,
        images or path.parent,
        [{"id": image_ids[name], "file_name": name, **size} for name, size in rows.items()],
        annotations,
        [{"id": i, "name": name} for name, i in class_ids.items()],
    )


def _lines(path: Path) -> list[dict[str, str]]:
    """What stands in each line by the names of columns, which are in small letters."""
    head, *rows = read_text(path).splitlines() or [""]
    delimiter = max(",;\t", key=head.count)
    try:
        columns, *lines = csv.reader([head.lower(), *filter(str.strip, rows)], delimiter=delimiter)
    except csv.Error as error:
        raise UsageError(f"{path}: no csv ({error}); write it again") from None
    columns = [column.strip() for column in columns]
    if not set(_COLUMNS) <= set(columns):
        raise UsageError(f"{path}: its columns are {shown(head)}; a csv of boxes has {','.join(_COLUMNS)}")
    blank = dict.fromkeys((*_COLUMNS, "width", "height"), "")
    read = [{**blank, **dict(zip(columns, map(str.strip, line), strict=False))} for line in lines]
    return [{**line, "filename": line["filename"].replace("\\", "/")} for line in read]
