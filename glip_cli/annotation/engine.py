"""The engine of `glip annotate`: every item is a sentence about its image.

Images are read ahead by threads; one that several sentences in a row are about is read and encoded once.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import NamedTuple, cast

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
from glip_cli.types import Detections, Prompt, Span

Read = tuple[list[Captioned], PreprocessedImage | ImageError]
"""An image with all its sentences."""


class GroundingEngine:
    """See `batch.items.Engine`; the items' sources are `Captioned`."""

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
        seen: ImageFeatures | None = None
        for one in sentences:
            if isinstance(image, ImageError):
                yield failed_record(name, image, model)
                continue
            try:
                text, prompt = read_sentence(
                    one.caption, self.tagger, self.detector.tokenizer, self.detector.model.config.text.window
                )
                compiled = self.detector.compile_prompt(prompt, self.options) if prompt else None
                self._unread |= self._unknown(prompt) if prompt else {}
            except PromptError as error:
                yield error_record(name, f"{name}: {error}", model)
                continue
            if compiled is None:
                yield {**record(name, nothing(text, image.size), model), "spans": []}
                continue
            with self.flight.at(name):
                seen = seen or self.detector.encode_images([image])
                found = self.detector.detect_features(seen, compiled, self.options)[0]
            yield record(name, found, model)

    def _unknown(self, prompt: Prompt) -> dict[str, tuple[int, ...]]:
        """Phrases with words that the vocabulary lacks."""
        tokenizer = self.detector.tokenizer
        return {label: ids for label, ids in label_ids(prompt, tokenizer).items() if tokenizer.unknown_id in ids}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the answers so far: `prompt.vocabulary_notes`, once for all captions."""
        return notes_of_tokens(self._unread, self.detector.tokenizer)


def nothing(text: str, size: tuple[int, int]) -> Detections:
    """Of a sentence without a phrase."""
    none = np.zeros(0, np.float32)
    return Detections(np.zeros((0, 4), np.float32), none, np.zeros(0, np.int64), (), (), text, size)


class CaptionPrompt(NamedTuple):
    """A caption without brackets, and its prompt; None where it has no noun phrase."""

    text: str
    prompt: Prompt | None


def read_sentence(caption: str, tagger: Tagger | None, tokenizer: Tokenizer, window: int) -> CaptionPrompt:
    """Args:
        tagger: finds noun phrases; None where every caption has brackets.
        window: tokens that the model reads; parts behind them are left out, as in training.

    Raises PromptError, for brackets that do not match.
    """
    if is_marked(caption) or tagger is None:
        text, parts = read_brackets(caption)
    else:
        text, parts = caption, noun_phrases(caption, tagger)
    read = _within(parts, text, tokenizer, window)
    return CaptionPrompt(text, caption_prompt(text, parts=read) if read else None)


def _within(parts: Sequence[Span], text: str, tokenizer: Tokenizer, window: int) -> list[Span]:
    """Those that the model reads to their end."""
    end = tokenizer.end(text, parts, window)
    return [part for part in parts if part[1] <= end]
