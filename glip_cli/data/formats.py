"""A file or folder of somebody's boxes -> `Tables`.

x.json                                       COCO, or grounding data (MDETR's format)          `coco`
folder with data.yaml, or that file          YOLO                                              `yolo`
folder with Annotations/*.xml, or with xml   Pascal VOC                                        `voc`
x.csv with filename, class, xmin, ...        TensorFlow's csv                                  `box_csv`
folder with one json or csv of boxes         as that file
folder with train/, valid/, test/            as the one of the split that is asked for
"""

from __future__ import annotations

import csv
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from glip_cli.data.coco import read_coco
from glip_cli.data.dataset import Tables
from glip_cli.data.issues import DataIssue, Tally
from glip_cli.data.values import read_text, shown, stated_size, text_numbers
from glip_cli.data.voc import is_voc, read_voc
from glip_cli.data.yolo import data_yaml, read_yolo
from glip_cli.errors import UsageError

_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_FILES = (".json", ".csv")


def read_tables(path: Path, images: Path | None, split: str, tally: Tally) -> Tables:
    """The rows of a data set, of whatever kind; see above.

    Args:
        images: the folder of the images; by default where such a set has them, or beside the file.
        split: "train", "val" or "test", of a set that has several.

    Raises:
        UsageError: it is none; says what it is instead, and what to give.
    """
    if (described := data_yaml(path)) is not None:
        return read_yolo(described, images, split, tally)
    if not path.is_dir():
        return _read_file(path, images, tally)
    if is_voc(path):
        return read_voc(path, images, split, tally)
    if len(files := _annotation_files(path)) == 1:
        return _read_file(files[0], images, tally)
    if part := next((path / name for name in _SPLITS.get(split, (split,)) if (path / name).is_dir()), None):
        return replace(read_tables(part, images, split, tally), is_part=True)
    raise UsageError(f"{path}: {_what_is_in(path, split)}")


def _read_file(path: Path, images: Path | None, tally: Tally) -> Tables:
    return read_box_csv(path, images, tally) if path.suffix.lower() == ".csv" else read_coco(path, images)


def _annotation_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _FILES and file.is_file())


def _what_is_in(path: Path, split: str) -> str:
    files = [file.name for file in _annotation_files(path)]
    if files:
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        return f"holds {', '.join(files[:3])}{more}; give the one that has the boxes"
    folders = [name for names in _SPLITS.values() for name in names if (path / name).is_dir()]
    if folders:
        return f"holds {', '.join(folders)}, but nothing for '{split}'; give the folder or file that is meant"
    return "neither data.yaml (YOLO) nor xml files (VOC) nor one json or csv of boxes in it; give a data set"


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


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection of cycles meanwhile: a third of the time of reading 60,000 boxes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
