"""Files of detections -> COCO results whose ids are the ground truth's.

[{"image_id", "category_id", "bbox", "score"}, ...]     a COCO results list: ids are taken as they are
coco_results.json with coco_images.json beside it       what `glip --format coco` writes: ids by their names
results.jsonl, one glip/1 record per line               names of pictures and labels
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from glip_cli.data.reading import as_box, as_id, as_number, read_json, read_text, shown
from glip_cli.errors import UsageError
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.names import Names

IMAGES_FILE = "coco_images.json"


def read_results(path: Path, ground_truth: GroundTruth) -> list[dict[str, Any]]:
    """What was detected, as dicts of image_id, category_id, bbox [x, y, width, height] in pixels, and score.

    Raises:
        UsageError: the file is none of the three kinds, or an entry (named by its number, from 0) has a value that
            cannot be, or an image or category that the ground truth does not have.
    """
    names = Names(ground_truth)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return list(_from_records(path, names))
    entries = _entries(path, read_json(path))
    images = path.parent / IMAGES_FILE
    image_of, category_of = _ids_by_name(images, names) if images.is_file() else (names.same_image, names.same_category)
    return [_result(entry, f"{path}: entry {i}", image_of, category_of) for i, entry in enumerate(entries)]


def _entries(path: Path, data: Any) -> list[Any]:
    if isinstance(data, dict) and "annotations" in data:
        raise UsageError(f"{path}: this is ground truth; give the list of results")
    if not isinstance(data, list):
        raise UsageError(f"{path}: {shown(data)} is no list of results; give a COCO results list or a results.jsonl")
    return data


Lookup = Callable[[int, str], int]
"""An id in the file, and its place for a message -> the ground truth's id."""


def _result(entry: Any, where: str, image_of: Lookup, category_of: Lookup) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {shown(entry)}, not an object with image_id, category_id, bbox and score")
    for key in ("image_id", "category_id", "bbox", "score"):
        if key not in entry:
            raise UsageError(f"{where} has no '{key}'; a result has image_id, category_id, bbox and score")
    return {
        "image_id": image_of(as_id(entry["image_id"], f"{where}: image_id"), where),
        "category_id": category_of(as_id(entry["category_id"], f"{where}: category_id"), where),
        "bbox": as_box(entry["bbox"], f"{where}: bbox"),
        "score": as_number(entry["score"], f"{where}: score"),
    }


def _ids_by_name(path: Path, names: Names) -> tuple[Lookup, Lookup]:
    """The ids of `coco_images.json` -> the ground truth's, each looked up when a result first needs it."""
    data = read_json(path)
    if not isinstance(data, dict):
        raise UsageError(f"{path}: {shown(data)} does not say what the ids mean; run again with --format coco")
    image_names = _table(path, data, "images", "file_name")
    category_names = _table(path, data, "categories", "name")

    def image_of(number: int, where: str) -> int:
        return names.image(_meaning(image_names, number, path, where), where)

    def category_of(number: int, where: str) -> int:
        return names.category(_meaning(category_names, number, path, where), where, likely=number)

    return image_of, category_of


def _table(path: Path, data: dict[str, Any], key: str, name: str) -> dict[int, str]:
    rows = data.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get(name), str) for row in rows):
        raise UsageError(f"{path}: '{key}' is no list of ids and names; run again with --format coco")
    return {as_id(row.get("id"), f"{path}: {key}"): row[name] for row in rows}


def _meaning(table: dict[int, str], number: int, path: Path, where: str) -> str:
    if number not in table:
        raise UsageError(f"{where}: {path.name} beside it does not have the id {number}; the two are of different runs")
    return table[number]


def _from_records(path: Path, names: Names) -> Iterator[dict[str, Any]]:
    """Pictures that failed have no detections: what they show counts as missed."""
    lines: dict[str, int] = {}
    for i, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        record = _record(line, f"{path}: line {i}")
        if "detections" in record and lines.setdefault(record["image"], i) != i:
            first = f"line {lines[record['image']]}"
            raise UsageError(f"{path}: line {i}: {shown(record['image'])} is in {first} too; leave one of them out")
        yield from _from_record(record, f"{path}: line {i}", names)


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise UsageError(f"{where} is no JSON (cut short?); leave it out or run again") from None
    if not isinstance(record, dict) or record.get("schema") != "glip/1" or not isinstance(record.get("image"), str):
        raise UsageError(f"{where} is no glip/1 record; give what `glip --format jsonl` writes")
    return record


def _from_record(record: dict[str, Any], where: str, names: Names) -> Iterator[dict[str, Any]]:
    found = record.get("detections", [])
    if not isinstance(found, list):
        raise UsageError(f"{where}: its detections are no list but {shown(found)}; write the file again")
    image_id = names.image(record["image"], where) if found else -1
    for i, detection in enumerate(found):
        yield {"image_id": image_id, **_from_detection(detection, f"{where}: detection {i}", names)}


def _from_detection(detection: Any, where: str, names: Names) -> dict[str, Any]:
    try:
        label, score, box = detection["label"], detection["score"], detection["box"]
        corners = [box[corner] for corner in ("xmin", "ymin", "xmax", "ymax")]
    except (KeyError, TypeError):
        raise UsageError(f"{where} lacks a label, score or box; write the file again") from None
    xmin, ymin, xmax, ymax = as_box(corners, f"{where}: box")
    return {
        "category_id": names.category(str(label), where),
        "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
        "score": as_number(score, f"{where}: score"),
    }
