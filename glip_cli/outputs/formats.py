"""Records to files: one writer class per `--format`, listed in `WRITERS`. A new format is one more class here.

Writers take records one by one and keep none, so a million images stream through; what they remember is the
names of files and classes. Every file is written under a temporary name and renamed: a reader never sees half
of one. The formats of tools for annotation and training are in `annotation`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from glip_cli.outputs.annotation_tools import LabelStudioWriter, VocWriter
from glip_cli.outputs.files import AtomicFile, CsvFile, JsonList, file_stem, json_bytes, save_json, sha256_of
from glip_cli.outputs.records import AnyRecord, ClassNumbers, DetectionRecord, Record, corners
from glip_cli.outputs.yolo import YoloWriter

MMDET_CLASSES = "mmdet_classes.json"


COCO_RESULTS = "coco_results.json"
RESULTS_SHA256 = "results_sha256"
"""In coco_images.json: the digest of the one file of results that it is of."""


class Writer(Protocol):
    """`add` each record in order, then `close` once; only what was closed is sure to be there.

    `name` is what files of one image are called, without suffix: see `FileNames`.
    """

    def add(self, record: AnyRecord, name: str) -> None: ...

    def close(self) -> None: ...


class JsonWriter:
    """`preds/<name>.json`: each record as it is, indented; also those of images that failed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "preds"

    def add(self, record: AnyRecord, name: str) -> None:
        save_json(self._folder / f"{name}.json", record, indent=2)

    def close(self) -> None:
        pass


class JsonlWriter:
    """`results.jsonl`: one record per line; also those of images that failed."""

    def __init__(self, folder: Path) -> None:
        self._file = AtomicFile(folder / "results.jsonl")

    def add(self, record: AnyRecord, name: str) -> None:
        self._file.write(json_bytes(record) + b"\n")

    def close(self) -> None:
        self._file.close()


class MmdetWriter:
    """`preds/<name>.json`: `{"labels", "scores", "bboxes": [[x1, y1, x2, y2]]}`, as mmdetection's inferencer does.

    `mmdet_classes.json` lists the labels, whose places are the numbers in `labels`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._classes = mmdet_classes(folder) or []

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        if len(record["labels"]) > len(self._classes):
            self._classes = record["labels"]
            save_json(self._folder / MMDET_CLASSES, self._classes)
        found = record["detections"]
        content = {
            "labels": [detection["label_id"] for detection in found],
            "scores": [detection["score"] for detection in found],
            "bboxes": [list(corners(detection)) for detection in found],
        }
        save_json(self._folder / "preds" / f"{name}.json", content)

    def close(self) -> None:
        pass


def mmdet_classes(folder: Path) -> list[str] | None:
    """The labels of what an earlier run left in preds/; None where there is no list of them."""
    try:
        found = json.loads((folder / MMDET_CLASSES).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, list) else None


class CocoWriter:
    """`coco_results.json`, a pure COCO results list, and `coco_images.json`, which says what the ids of that file mean.

    An image's id is its file's stem where that is a number not yet taken (COCO's own names); else its place in
    the run, from 1, or the next number that is free. A category's id is `category_ids[label_id]`; by default
    the label's place from 1, where a label given twice counts once. `bbox` is [x, y, width, height] in pixels,
    without the +1 of GLIP's own evaluation. Images that failed are in neither file.
    """

    def __init__(self, folder: Path, category_ids: Sequence[int] | None = None) -> None:
        self._category_ids = category_ids
        self._path = folder / COCO_RESULTS
        self._results = JsonList(AtomicFile(self._path), b"[", b"]\n")
        self._images = JsonList(AtomicFile(folder / "coco_images.json"), b'{"images": [', b"]")
        self._classes = ClassNumbers()
        self._labels: list[str] = []
        self._taken: set[int] = set()
        self._count = 0

    def add(self, record: AnyRecord, name: str) -> None:
        self._count += 1
        if "detections" not in record:
            return
        self._labels = record["labels"]
        self._classes.learn(self._labels)
        image_id = self._image_id(record["image"])
        self._images.add(_coco_image(record, image_id))
        for detection in record["detections"]:
            self._results.add(self._result(detection, image_id))

    def close(self) -> None:
        self._results.close()
        more = {"categories": self._categories(), RESULTS_SHA256: sha256_of(self._path)}
        self._images.close(b", " + json_bytes(more).removeprefix(b"{") + b"\n")

    def _categories(self) -> list[dict[str, Any]]:
        if self._category_ids is None:
            return [{"id": i, "name": label} for i, label in enumerate(self._classes.names, 1)]
        return [{"id": self._category_ids[i], "name": label} for i, label in enumerate(self._labels)]

    def _image_id(self, name: str) -> int:
        stem = file_stem(name)
        image_id = int(stem) if re.fullmatch(r"[0-9]{1,18}", stem) else self._count
        if image_id in self._taken:
            image_id = self._count
        while image_id in self._taken:
            image_id += 1
        self._taken.add(image_id)
        return image_id

    def _category_id(self, detection: DetectionRecord) -> int:
        if self._category_ids is None:
            return self._classes[detection["label"]] + 1
        return self._category_ids[detection["label_id"]]

    def _result(self, detection: DetectionRecord, image_id: int) -> dict[str, Any]:
        x1, y1, x2, y2 = corners(detection)
        return {
            "image_id": image_id,
            "category_id": self._category_id(detection),
            "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
            "score": detection["score"],
        }


def _coco_image(record: Record, image_id: int) -> dict[str, Any]:
    return {"id": image_id, "file_name": record["image"], "width": record["width"], "height": record["height"]}


class CsvWriter:
    """`results.csv`: a row per box, `image,label,score,xmin,ymin,xmax,ymax`, corners in pixels.

    RFC 4180: UTF-8, lines end in CRLF, and a cell with a comma, a quotation mark or a line end is quoted. Cells
    are data: a name or label that begins with `=`, `+`, `-` or `@` stays as it is, so open a table of names
    that you do not trust as text, because a spreadsheet would take them for formulas. Images without a box,
    and those that failed, have no row.
    """

    def __init__(self, folder: Path) -> None:
        header = ("image", "label", "score", "xmin", "ymin", "xmax", "ymax")
        self._rows = CsvFile(AtomicFile(folder / "results.csv"), header)

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        for detection in record["detections"]:
            self._rows.add((record["image"], detection["label"], detection["score"], *corners(detection)))

    def close(self) -> None:
        self._rows.close()


WRITERS: dict[str, Callable[[Path], Writer]] = {
    "json": JsonWriter,
    "jsonl": JsonlWriter,
    "coco": CocoWriter,
    "mmdet": MmdetWriter,
    "yolo": YoloWriter,
    "voc": VocWriter,
    "labelstudio": LabelStudioWriter,
    "csv": CsvWriter,
}
"""`--format` -> what opens a writer in a folder, which is made where it is missing."""

NAMED = frozenset({"json", "mmdet", "yolo", "voc"})
"""Those that write a file for each image."""
