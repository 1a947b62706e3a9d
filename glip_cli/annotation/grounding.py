"""The records of `glip annotate` as data to train on, and as records that the other formats are made from.

A record is of one caption. `grounding.json` has an image for each of them, as MDETR's files do; the other formats
want one record per image, which `by_image` makes.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from glip_cli.data.image_input import is_url
from glip_cli.outputs import formats as formats_of
from glip_cli.outputs.files import FileNames, digest, json_bytes
from glip_cli.outputs.records import AnyRecord, DetectionRecord, Record, corners
from glip_cli.runs.journal import fsynced, read_records
from glip_cli.utils.boxes import pairwise_iou
from glip_cli.utils.text_format import path_of_shown, shown_path

GROUNDING = "grounding"
FILE = "grounding.json"
SAME_OBJECT = 0.6
"""IoU from which two boxes of one class, found by two captions, are one object."""

_ARTICLES = ("a ", "an ", "the ")
_OBJECT = {"id": 1, "name": "object", "supercategory": "object"}


@dataclass
class CaptionCounts:
    """The counts of a run's captions."""

    captions: int = 0
    grounded: int = 0  # captions with a box at least
    without_phrase: int = 0
    phrases: int = 0
    found: int = 0  # phrases with a box at least

    def add(self, record: AnyRecord) -> None:
        if "detections" not in record:
            return
        self.captions += 1
        self.grounded += bool(record["detections"])
        self.without_phrase += not record["labels"]
        self.phrases += len(record["labels"])
        self.found += len({detection["label_id"] for detection in record["detections"]})


def count_captions(journal: Path) -> CaptionCounts:
    """Counts over all captions that the model could read."""
    total = CaptionCounts()
    for record in read_records(journal):
        total.add(record)
    return total


def write_formats(folder: Path, journal: Path, formats: Sequence[str], images: Path = Path()) -> None:
    """Make files of the complete records; `images` is the folder of the images. Raises OSError, OutputError."""
    if GROUNDING in formats:
        write_grounding(journal, folder / FILE)
    others = [form for form in formats if form != GROUNDING]
    formats_of.write_formats(by_image(lambda: read_records(journal), images), others, folder, FileNames())


def write_grounding(journal: Path, path: Path) -> None:
    """MDETR's format: a caption for each image, and for each box the characters of the caption that name it.

    Captions for which no box was found are left out: a teacher that sees nothing has nothing to teach. Of the others,
    phrases without a box stay words of the caption. `score` is the teacher's; readers pass over it.
    """
    with fsynced(path) as stream:
        stream.write(b'{"info": {"description": "made by glip annotate"},\n"categories": [%s],' % json_bytes(_OBJECT))
        for key, rows in (("images", _image_rows(journal)), ("annotations", _box_rows(journal))):
            stream.write(b'\n"%s": [' % key.encode())
            for number, row in enumerate(rows):
                stream.write((b",\n" if number else b"\n") + json_bytes(row))
            stream.write(b"]," if key == "images" else b"]}\n")


def by_image(read: Callable[[], Iterable[AnyRecord]], folder: Path = Path()) -> Iterator[AnyRecord]:
    """One record for each image, with the boxes of all its captions, wherever they stand; see `merged`.

    Paths in `folder` that differ in their form alone, as `a.jpg` and `./a.jpg`, are one image; it has the first name.
    `read` is called twice. An image comes where its last captions stand; until then its records are kept.
    """
    root = folder.absolute()

    def path_of(record: AnyRecord) -> str:
        name = record["image"]
        return name if is_url(name) else shown_path(os.path.normpath(root / path_of_shown(name)))

    def in_rows() -> Iterator[tuple[str, Iterator[AnyRecord]]]:
        return groupby(read(), key=path_of)

    rows = Counter(digest(image) for image, _ in in_rows())
    kept: defaultdict[str, list[AnyRecord]] = defaultdict(list)
    for image, group in in_rows():
        kept[image] += group
        rows[digest(image)] -= 1
        if not rows[digest(image)]:
            yield merged(kept.pop(image))
    yield from map(merged, kept.values())  # whose digests agree with another's


def merged(records: Sequence[AnyRecord]) -> AnyRecord:
    """The captions of one image as one: a class is a phrase without its article, in lower case.

    Of two boxes of a class that overlap by `SAME_OBJECT` the better stays. An image of which no caption could be
    asked is the error of its first.
    """
    good = [record for record in records if "detections" in record]
    if not good:
        return records[0]
    labels: dict[str, int] = {}
    boxes: list[DetectionRecord] = []
    for record in good:
        for label in record["labels"]:
            labels.setdefault(class_name(label), len(labels))
        boxes += [_renamed(detection, labels) for detection in record["detections"]]
    boxes.sort(key=lambda detection: -detection["score"])
    return {**good[0], "labels": list(labels), "spans": [], "detections": _apart(boxes)}


def class_name(phrase: str) -> str:
    """ "A  red Square" -> "red square"."""
    name = " ".join(phrase.lower().split())
    article = next((article for article in _ARTICLES if name.startswith(article)), "")
    return name.removeprefix(article)


def _renamed(detection: DetectionRecord, labels: dict[str, int]) -> DetectionRecord:
    name = class_name(detection["label"])
    return {**detection, "label": name, "label_id": labels[name]}


def _apart(boxes: Sequence[DetectionRecord]) -> list[DetectionRecord]:
    """Best first; without those that show what a better one shows."""
    edges = np.array([corners(box) for box in boxes], np.float64).reshape(-1, 4)
    same = pairwise_iou(edges, edges) >= SAME_OBJECT
    kept: list[int] = []
    for i, box in enumerate(boxes):
        if not any(same[i, j] and boxes[j]["label"] == box["label"] for j in kept):
            kept.append(i)
    return [boxes[i] for i in kept]


def _grounded(journal: Path) -> Iterator[tuple[int, Record]]:
    """The captions with a box, numbered from 1."""
    records = (record for record in read_records(journal) if "detections" in record)
    return enumerate((record for record in records if record["detections"]), 1)


def _image_rows(journal: Path) -> Iterator[dict[str, object]]:
    for number, record in _grounded(journal):
        yield {"id": number, "file_name": record["image"], "width": record["width"], "height": record["height"],
               "caption": record["prompt"]}  # fmt: skip


def _box_rows(journal: Path) -> Iterator[dict[str, object]]:
    count = 0
    for number, record in _grounded(journal):
        for detection in record["detections"]:
            count += 1
            x1, y1, x2, y2 = corners(detection)
            bbox = [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
            spans = record["spans"][detection["label_id"]]
            yield {"id": count, "image_id": number, "category_id": 1, "bbox": bbox, "area": round(bbox[2] * bbox[3], 3),
                   "iscrowd": 0, "tokens_positive": spans, "score": detection["score"]}  # fmt: skip
