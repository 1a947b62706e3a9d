"""The engine of `glip annotate`: every item is a sentence about its image.

Images are read ahead by threads; one that several sentences in a row are about is read and encoded once.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import groupby
from typing import cast

import numpy as np
import torch

from glip_cli.data.captions import Captioned, is_marked
from glip_cli.detector import Detector
from glip_cli.errors import ImageError, PromptError, without_frames
from glip_cli.inference.batch_detector import ImageFeatures
from glip_cli.inference.device import out_of_memory
from glip_cli.inference.preprocess import PreprocessedImage, preprocess
from glip_cli.options import DetectOptions
from glip_cli.outputs.records import AnyRecord, error_record, record
from glip_cli.prompts.chunking import label_ids, notes_of_tokens
from glip_cli.prompts.noun_phrases import Tagger, noun_phrases
from glip_cli.prompts.prompt import caption_prompt
from glip_cli.prompts.spans import read_brackets
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.items import Item
from glip_cli.runs.prefetch import in_order
from glip_cli.runs.read_image import ImageReader, failed_record
from glip_cli.runs.runner import MOST_WORKERS
from glip_cli.types import Detections, Prompt

Read = tuple[list[Captioned], PreprocessedImage | ImageError]
"""An image with all its sentences."""


class GroundingEngine:
    """See `runs.items.Engine`; the items' sources are `Captioned`."""

    block_size = 1
    host = platform.node()

    def __init__(
        self,
        detector: Detector,
        options: DetectOptions,
        tagger: Tagger | None,
        workers: int | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """`tagger` may be None where every caption has brackets; `workers` is of threads that read images."""
        self.detector, self.options, self.tagger = detector, options, tagger
        self.workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
        self.stop = stop or threading.Event()
        self.flight = InFlight()
        self._reading = ImageReader()
        self._unread: dict[str, tuple[int, ...]] = {}
        self._size = detector.image_size(options.size)

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        sources = (cast(Captioned, item.source) for item in items)
        groups = (list(group) for _, group in groupby(sources, key=lambda source: source.location))
        with closing(in_order(self._read, groups, self.workers, 2 * self.workers, self.stop)) as images:
            for sentences, image in images:
                for made in self._records(sentences, image):
                    if self.stop.is_set():
                        return
                    yield made

    def _read(self, sentences: list[Captioned]) -> Read:
        try:
            self.flight.refuse(sentences[0].name)
            with self.flight.at(sentences[0].name), out_of_memory(torch.device("cpu")):
                return sentences, preprocess(self._reading(sentences[0]), *self._size)
        except ImageError as error:
            return sentences, without_frames(error)

    def _records(self, sentences: list[Captioned], image: PreprocessedImage | ImageError) -> Iterator[AnyRecord]:
        """One for each sentence; the image is encoded when the first of them asks."""
        name, model = sentences[0].name, self.detector.name
        tokenizer, window = self.detector.tokenizer, self.detector.model.config.text.window
        seen: ImageFeatures | None = None
        for one in sentences:
            if isinstance(image, ImageError):
                yield failed_record(name, image, model)
                continue
            try:
                text, prompt = read_sentence(one.caption, self.tagger, tokenizer, window)
                options = self.options.for_labels(prompt.labels) if prompt else self.options
                compiled = self.detector.compile_prompt(prompt, options) if prompt else None
            except PromptError as error:
                yield error_record(name, f"{name}: {error}", model)
                continue
            if prompt is None or compiled is None:
                none = np.zeros(0, np.float32)
                nothing = Detections(none.reshape(0, 4), none, np.zeros(0, np.int64), (), (), text, image.size)
                yield {**record(name, nothing, model), "spans": []}
                continue
            ids = label_ids(prompt, tokenizer)
            self._unread |= {label: its for label, its in ids.items() if tokenizer.unknown_id in its}
            with self.flight.at(name):
                seen = seen or self.detector.encode_images([image])
                found = self.detector.detect_features(seen, compiled, options)[0]
            yield record(name, found, model)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the results so far: `chunking.vocabulary_notes`, once for all captions."""
        return notes_of_tokens(self._unread, self.detector.tokenizer)


def read_sentence(caption: str, tagger: Tagger | None, tokenizer: Tokenizer, window: int) -> tuple[str, Prompt | None]:
    """A caption without brackets, and its prompt; None where it has no noun phrase.

    Args:
        tagger: finds noun phrases; None where every caption has brackets.
        window: tokens that the model reads; parts that it does not read to their end are left out, as in training.

    Raises PromptError, for brackets that do not match.
    """
    if is_marked(caption) or tagger is None:
        text, parts = read_brackets(caption)
    else:
        text, parts = caption, noun_phrases(caption, tagger)
    end = tokenizer.end(text, parts, window)
    read = [part for part in parts if part[1] <= end]
    return text, caption_prompt(text, parts=read) if read else None
