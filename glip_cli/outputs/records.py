"""One JSON object per image: schema glip/1, the form that every other format is made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, cast, final

import numpy as np
from typing_extensions import TypedDict

from glip_cli.types import Detections
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import valid_unicode

SCHEMA = "glip/1"
SIDES = ("xmin", "ymin", "xmax", "ymax")


class BoxRecord(TypedDict):
    """Absolute pixels of the upright original image; named corners cannot be mistaken for x, y, w, h."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class DetectionRecord(TypedDict):
    """One box. `label_id` counts from 0 into the record's labels; `span` is [begin, end) of its prompt.

    `track` is there where a tracker followed the box: the same number in all frames of its video.
    """

    label: str
    label_id: int
    score: float
    span: list[int]
    box: BoxRecord
    track: NotRequired[int]


class Position(TypedDict, total=False):
    """The position of an image in its file: the number of its frame, from 0; in a video its time in seconds.

    The record's `image` is then the file's name with the number, as in `scan.tif#frame=2`, so that each is there once.
    """

    frame: int
    time: float


@final
class Record(Position):
    """The detections in one image, best first.

    `spans` is there where the prompt is a caption: for each of `labels` every [begin, end) of the prompt where it
    stands, found or not. A detection's `span` is the first of them.
    """

    schema: str
    image: str
    width: int
    height: int
    model: str
    prompt: str
    labels: list[str]
    spans: NotRequired[list[list[list[int]]]]
    detections: list[DetectionRecord]


@final
class ErrorRecord(TypedDict):
    """An image that could not be read, so that a file of results names every image once.

    `host` is there where the error may be a machine's or a moment's: the machine that could not have the image.
    """

    schema: str
    image: str
    model: str
    error: str
    host: NotRequired[str]


AnyRecord = Record | ErrorRecord


def record(image_name: str, detections: Detections, model: str, position: Position | None = None) -> Record:
    """Scores to 6 decimals and corners to 3 (a thousandth of a pixel): shorter than float32's own error."""
    width, height = detections.size
    head = {"schema": SCHEMA, "image": valid_unicode(image_name), **(position or {})}
    labels = [valid_unicode(label) for label in detections.labels]
    made: Record = {
        **cast(Record, head),
        "width": width,
        "height": height,
        "model": model,
        "prompt": valid_unicode(detections.text),
        "labels": labels,
        "detections": [
            {
                "label": labels[found.label_id],
                "label_id": found.label_id,
                "score": round(found.score, 6),
                "span": list(detections.spans[found.label_id]),
                "box": cast(BoxRecord, {side: round(edge, 3) for side, edge in zip(SIDES, found.box, strict=True)}),
            }
            for found in detections
        ],
    }
    if detections.all_spans:
        made["spans"] = [[list(span) for span in spans] for spans in detections.all_spans]
    return made


def detections_of(record: Record | JsonObject) -> Detections:
    """A record as `Detections`; the inverse of `record`.

    A label that was not found has the span (0, 0) where the prompt is no caption: the record does not say where it
    stands. Raises ValueError, KeyError or TypeError for what is no record.
    """
    if record["schema"] != SCHEMA:
        raise ValueError(f"no {SCHEMA} record")
    found, labels = record["detections"], tuple(map(str, record["labels"]))
    all_spans = tuple(tuple((begin, end) for begin, end in spans) for spans in record.get("spans", ()))
    first = {one["label_id"]: (one["span"][0], one["span"][1]) for one in found}
    return Detections(
        boxes=np.array([corners(one) for one in found], np.float32).reshape(-1, 4),
        scores=np.array([one["score"] for one in found], np.float32),
        label_ids=np.array([one["label_id"] for one in found], np.int64),
        labels=labels,
        spans=tuple(spans[0] for spans in all_spans) or tuple(first.get(i, (0, 0)) for i in range(len(labels))),
        text=str(record["prompt"]),
        size=(int(record["width"]), int(record["height"])),
        all_spans=all_spans,
        name=str(record["image"]),
        model=str(record["model"]),
    )


def as_recorded(detections: Detections) -> Detections:
    """With the numbers that their record has, so that what is drawn of either is the same to the last pixel."""
    return detections_of(record(detections.name, detections, detections.model))


def error_record(image_name: str, message: str, model: str) -> ErrorRecord:
    return {"schema": SCHEMA, "image": valid_unicode(image_name), "model": model, "error": valid_unicode(message)}


def corners(detection: DetectionRecord) -> tuple[float, float, float, float]:
    """(xmin, ymin, xmax, ymax) in pixels."""
    box = detection["box"]
    return box["xmin"], box["ymin"], box["xmax"], box["ymax"]


def corners_inside(record: Record, detection: DetectionRecord) -> tuple[float, float, float, float]:
    """(xmin, ymin, xmax, ymax) as fractions of the image's sides, clipped to [0, 1]."""
    sides = (record["width"], record["height"]) * 2
    xmin, ymin, xmax, ymax = (min(max(c / side, 0.0), 1.0) for c, side in zip(corners(detection), sides, strict=True))
    return xmin, ymin, xmax, ymax


class ClassNumbers(dict[str, int]):
    """Numbers from 0 for labels, in the order in which records bring them; a label that repeats has one number.

    In a run of one prompt every record has the same labels; where none repeats, the number is the `label_id`.
    """

    _learnt: Sequence[str] = ()

    def learn(self, labels: Sequence[str]) -> None:
        if labels != self._learnt:
            self._learnt = labels
            for label in labels:
                self.setdefault(label, len(self))
