"""Lines of `results.jsonl`, glip/1 records -> results with the ground truth's ids."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glip_cli.data.image_files import Size
from glip_cli.data.reading import as_number, as_sized_box, read_text, shown
from glip_cli.errors import UsageError
from glip_cli.evaluation.coco_images import size_of
from glip_cli.evaluation.names import Names

SUFFIXES = (".jsonl", ".ndjson")


@dataclass
class RecordResults:
    """What the records of a file say.

    Attributes:
        results: COCO results, boxes in pixels of the images.
        sizes: image id -> (width, height), for each image that was looked at.
        looked_at: ids of the images that were.
        failed: ids of the images that could not be read.
    """

    results: list[dict[str, Any]] = field(default_factory=list)
    sizes: dict[int, Size] = field(default_factory=dict)
    looked_at: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)


def read_record_results(path: Path, names: Names) -> RecordResults:
    """Raises UsageError for a line that is no record, or whose detections are of no image or label of `names`."""
    found = RecordResults()
    lines: dict[str, int] = {}
    for i, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        record = _record(line, f"{path}: line {i}")
        if "detections" in record and lines.setdefault(record["image"], i) != i:
            first = f"line {lines[record['image']]}"
            raise UsageError(f"{path}: line {i}: {shown(record['image'])} is in {first} too; leave one of them out")
        _add(found, record, f"{path}: line {i}", names)
    found.failed -= found.looked_at
    return found


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise UsageError(f"{where} is no JSON (cut short?); leave it out or run again") from None
    if not isinstance(record, dict) or record.get("schema") != "glip/1" or not isinstance(record.get("image"), str):
        raise UsageError(f"{where} is no glip/1 record; give what `glip --format jsonl` writes")
    return record


def _add(found: RecordResults, record: dict[str, Any], where: str, names: Names) -> None:
    """An image without detections need not be one of the ground truth's."""
    detections = record.get("detections", [])
    if not isinstance(detections, list):
        raise UsageError(f"{where}: its detections are no list but {shown(detections)}; write the file again")
    image_id = names.image(record["image"], where) if detections else names.known_image(record["image"], where)
    if image_id is None:
        return
    (found.looked_at if "detections" in record else found.failed).add(image_id)
    if size := size_of(record):
        found.sizes[image_id] = size
    for i, detection in enumerate(detections):
        found.results.append({"image_id": image_id, **_from_detection(detection, f"{where}: detection {i}", names)})


def _from_detection(detection: Any, where: str, names: Names) -> dict[str, Any]:
    try:
        label, score, box = detection["label"], detection["score"], detection["box"]
        corners = [box[corner] for corner in ("xmin", "ymin", "xmax", "ymax")]
    except (KeyError, TypeError):
        raise UsageError(f"{where} lacks a label, score or box; write the file again") from None
    xmin, ymin, xmax, ymax = (as_number(corner, f"{where}: box") for corner in corners)
    return {
        "category_id": names.category(str(label), where),
        "bbox": as_sized_box([xmin, ymin, xmax - xmin, ymax - ymin], f"{where}: box"),
        "score": as_number(score, f"{where}: score"),
    }
