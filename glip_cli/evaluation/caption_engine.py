"""The engine of Flickr30k: every item is a sentence of its own about its image.

The sentences of one image follow each other, so the model looks at it once for all of them.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from glip_cli.data.sources import ImageInput
from glip_cli.detector import Detector
from glip_cli.errors import ImageError
from glip_cli.evaluation.flickr30k import ScoredSentence, item_prompt
from glip_cli.inference.batch_detector import ImageFeatures
from glip_cli.inference.preprocess import preprocess
from glip_cli.options import DetectOptions
from glip_cli.outputs.records import AnyRecord, record
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.items import Item
from glip_cli.runs.read_image import ImageReader, failed_record

OPTIONS: Mapping[str, Any] = {"threshold": 0.0}
"""Fields of `DetectOptions`: the protocol takes every box that post-processing leaves."""


class CaptionEngine:
    """See `batch.items.Engine`. The name of an item's source says which of the sentences it is."""

    block_size = 1
    host = platform.node()

    def __init__(
        self, detector: Detector, options: DetectOptions, sentences: Mapping[str, ScoredSentence], stop: threading.Event
    ):
        self.detector, self.options, self.sentences, self.stop = detector, options, sentences, stop
        self.flight, self._reading = InFlight(), ImageReader()
        self._last = lru_cache(maxsize=1)(self._look)

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        for item in items:
            if self.stop.is_set():
                return
            yield self._record(item.source.name, item.source.location)

    def _record(self, name: str, path: str) -> AnyRecord:
        try:
            self.flight.refuse(path)
            with self.flight.at(path):
                seen = self._last(path)
                compiled = self.detector.compile_prompt(item_prompt(self.sentences[name]), self.options)
                (found,) = self.detector.detect_features(seen, compiled, self.options)
        except ImageError as error:
            return failed_record(name, error, self.detector.name)
        return record(name, found, self.detector.name)

    def _look(self, path: str) -> ImageFeatures:
        size = self.detector.image_size(self.options.size)
        return self.detector.encode_images([preprocess(self._reading(ImageInput(path, path)), *size)])


def source_of(item: ScoredSentence) -> ImageInput:
    return ImageInput(f"{item.image_id}#{item.sentence}", str(item.image))


def boxes_of(record: AnyRecord, phrases: int) -> Sequence[npt.NDArray[np.float32]]:
    """For each phrase its boxes, best first: float32 [n, 4] xyxy; none where the image could not be read."""
    boxes: list[list[list[float]]] = [[] for _ in range(phrases)]
    for found in () if "error" in record else record["detections"]:
        boxes[found["label_id"]].append([found["box"][corner] for corner in ("xmin", "ymin", "xmax", "ymax")])
    return [np.array(rows, np.float32).reshape(-1, 4) for rows in boxes]
