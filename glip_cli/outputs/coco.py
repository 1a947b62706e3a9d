"""Records to COCO json: a data set with the boxes as its annotations, and the bare list of results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypedDict

from glip_cli.outputs.files import AtomicFile, JsonList, Spool, file_stem, json_bytes, sha256_of
from glip_cli.outputs.records import SCHEMA, AnyRecord, ClassNumbers, DetectionRecord, Record, corners

COCO_DATA = "coco.json"
COCO_RESULTS = "coco_results.json"
RESULTS_SHA256 = "results_sha256"
"""In coco_images.json: the digest of the one file of results that it is of."""


class ImageEntry(TypedDict):
    """An image of a data set."""

    id: int
    file_name: str
    width: int
    height: int


class BoxEntry(TypedDict):
    """The common fields of annotations and results; `bbox` is [x, y, width, height] in pixels."""

    image_id: int
    category_id: int
    bbox: list[float]


class CocoIds:
    """Ids as COCO has them.

    An image's id is its file's stem where that is a number not yet taken (COCO's own names); else its place in
    the run, from 1, or the next number that is free. A category's id is the label's place from 1, where a label given
    twice counts once.
    """

    def __init__(self) -> None:
        self._classes = ClassNumbers()
        self._taken: set[int] = set()
        self._count = self._free = 0

    def pass_over(self) -> None:
        """An image that failed, which has its place in the run."""
        self._count += 1

    def image(self, record: Record) -> ImageEntry:
        """The entry of the next image."""
        self._classes.learn(record["labels"])
        self._count += 1
        stem = file_stem(record["image"])
        image_id = int(stem) if re.fullmatch(r"[0-9]{1,18}", stem) else self._count
        if image_id in self._taken:
            self._free = max(self._free, self._count)
            while self._free in self._taken:
                self._free += 1
            image_id = self._free
        self._taken.add(image_id)
        return {"id": image_id, "file_name": record["image"], "width": record["width"], "height": record["height"]}

    def box(self, detection: DetectionRecord, image_id: int) -> BoxEntry:
        """Without the +1 of GLIP's own evaluation."""
        x1, y1, x2, y2 = corners(detection)
        bbox = [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
        return {"image_id": image_id, "category_id": self._classes[detection["label"]] + 1, "bbox": bbox}

    @property
    def categories(self) -> list[dict[str, object]]:
        return [{"id": i, "name": label} for i, label in enumerate(self._classes, 1)]


class CocoWriter:
    """`coco.json`: a data set of images, categories and annotations, each with its `score`.

    What annotation tools and trainers read, `glip finetune` and `glip eval` too, and `glip eval --dt` as results.
    Images without a box are in it; those that failed are not.
    """

    def __init__(self, folder: Path) -> None:
        head = b'{"info": ' + json_bytes({"description": "Detections of glip", "version": SCHEMA})
        self._annotations = JsonList(AtomicFile(folder / COCO_DATA), head + b', "annotations": [', b"]")
        self._images = Spool()
        self._ids, self._boxes = CocoIds(), 0

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            self._ids.pass_over()
            return
        image = self._ids.image(record)
        self._images.write((b"\n" if self._images.is_empty else b",\n") + json_bytes(image))
        for detection in record["detections"]:
            self._boxes += 1
            box = self._ids.box(detection, image["id"])
            area = round(box["bbox"][2] * box["bbox"][3], 3)
            rest = {"area": area, "segmentation": [], "iscrowd": 0, "score": detection["score"]}
            rest |= {"track_id": detection["track"]} if "track" in detection else {}
            self._annotations.add({"id": self._boxes, **box, **rest})

    def close(self) -> None:
        categories = [{**category, "supercategory": ""} for category in self._ids.categories]
        after = b'], "categories": ' + json_bytes(categories) + b"}\n"
        self._annotations.close(b', "images": [', self._images, after)


class CocoResultsWriter:
    """`coco_results.json`, a bare COCO results list, and `coco_images.json`, which says what the ids of that file mean.

    Images that failed are in neither file.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / COCO_RESULTS
        self._results = JsonList(AtomicFile(self._path), b"[", b"]\n")
        self._images = JsonList(AtomicFile(folder / "coco_images.json"), b'{"images": [', b"]")
        self._ids = CocoIds()

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            self._ids.pass_over()
            return
        image = self._ids.image(record)
        self._images.add(image)
        for detection in record["detections"]:
            self._results.add({**self._ids.box(detection, image["id"]), "score": detection["score"]})

    def close(self) -> None:
        self._results.close()
        more = {"categories": self._ids.categories, RESULTS_SHA256: sha256_of(self._path)}
        self._images.close(b", " + json_bytes(more).removeprefix(b"{") + b"\n")
