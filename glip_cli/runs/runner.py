"""The whole road for many images: sources in, one `ImageResult` per image out, in order.

Images are read and resized ahead of the model, and detected together with others of the same padded shape. A small
model on a CPU detects in an image on one thread, and in several images at once. One that cannot be read does not stop
the others. A batch that does not fit into the device's memory is halved.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain, islice
from typing import cast

import torch
from torch import Tensor

from glip_cli.data.prompted import KEPT_PROMPTS, own_prompt
from glip_cli.data.sources import ImageInput
from glip_cli.detector import Detector
from glip_cli.errors import ImageError, OutOfMemoryError, without_frames
from glip_cli.inference.device import free_cached_memory, out_of_memory
from glip_cli.inference.postprocess import is_capped
from glip_cli.inference.preprocess import padded_size, preprocess
from glip_cli.model.head import RawOutput
from glip_cli.options import DetectOptions
from glip_cli.prompts.chunking import Chunk, Explanation
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.local import Clock, ImageResult
from glip_cli.runs.prefetch import in_order
from glip_cli.runs.read_image import ImageReader
from glip_cli.types import Detections, Prompt
from glip_cli.utils.text_format import counted

BLOCK = 8  # batches' worth of images among which those of one shape are brought together
MOST_WORKERS = 16
CPU = torch.device("cpu")


@dataclass
class Runner:
    """Detects in images, as `detector(image, prompt)` would in each.

    No answer depends on when a run was begun: the images are cut into blocks of `block_size` from the first on, and
    only images of one block, one prompt and one padded shape share a batch.

    Attributes:
        compiled: the prompt of all images that have none of their own (`data.prompted.PromptedImage`).
        workers: threads that read; None: as many as the machine has cores, 16 at most.
        keep_images: outcomes then hold their images, for drawing.
        stop: once set, no new batch is begun, no image is waited for, and the iteration ends.
        flight: notes which images are read and detected at any moment.
        observe: is given B prepared images, and what a `batch_detector.Observer` is given of them; not of views.
    """

    detector: Detector
    compiled: CompiledPrompt | None
    options: DetectOptions
    workers: int | None = None
    keep_images: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Clock = field(default_factory=Clock)
    flight: InFlight = field(default_factory=InFlight)
    observe: Callable[[Sequence[ImageResult], Sequence[Chunk], RawOutput, Tensor], None] | None = None

    def __post_init__(self) -> None:
        self._reading = ImageReader()
        self._batch_size, self._capped = self.options.batch_size, False
        self._size = self.detector.image_size(self.options.size)
        self._threads = torch.get_num_threads()
        self._compile = lru_cache(maxsize=KEPT_PROMPTS)(
            lambda prompt: self.detector.compile_prompt(prompt, self.options.for_labels(prompt.labels))
        )

    @property
    def model(self) -> str:
        return self.detector.name

    @property
    def block_size(self) -> int:
        return self._together * BLOCK if self._together > 1 else 1

    @property
    def _together(self) -> int:
        """Images that the model sees at once; in views it sees parts of one."""
        return 1 if self.options.has_crops else self.options.batch_size

    def __call__(self, sources: Iterable[ImageInput]) -> Iterator[ImageResult]:
        workers = self.workers or min(os.cpu_count() or 1, MOST_WORKERS)
        ahead = 2 * max(workers, self._together)
        # the threads that read also detect, an image each; not in views, in which one may take a minute
        alone = self._together == 1 and not self.options.has_crops and self.observe is None
        readers_detect = alone and self._threads > 1 and self.detector.is_small
        function = self._read_and_detect if readers_detect else self._read
        try:
            with closing(in_order(function, sources, workers, ahead, self.stop)) as read:
                timed = self._timed(read)
                for first in timed:
                    yield from self._block(chain([first], islice(timed, self.block_size - 1)))
                    if self.stop.is_set():
                        return
        finally:
            if readers_detect:
                torch.set_num_threads(self._threads)  # of threads that begin later

    def _block(self, outcomes: Iterable[ImageResult]) -> Iterator[ImageResult]:
        waiting: deque[ImageResult] = deque()
        alike: defaultdict[tuple[Prompt | None, tuple[int, int]], list[ImageResult]] = defaultdict(list)
        for outcome in outcomes:
            waiting.append(outcome)
            if self.options.has_crops and outcome.image is not None:
                self._detect_timed([outcome])
            elif outcome.prepared is not None:
                same = alike[own_prompt(outcome.source), padded_size(outcome.prepared)]
                same.append(outcome)
                if len(same) == self._together:
                    self._detect_timed(same)
                    same.clear()
            yield from _done(waiting)
            if self.stop.is_set():
                return
        for same in alike.values():
            if same and not self.stop.is_set():
                self._detect_timed(same)
                yield from _done(waiting)

    def _read(self, source: ImageInput) -> ImageResult:
        try:
            self.flight.refuse(source.name)
            with self.flight.at(source.name):
                image = self._reading(source)
                if self.options.has_crops:  # are cut when its turn comes: those of all ahead would fill the memory
                    return ImageResult(source, image)
                with out_of_memory(CPU):
                    return ImageResult(source, image if self.keep_images else None, preprocess(image, *self._size))
        except ImageError as error:
            return ImageResult(source, error=without_frames(error))

    def _read_and_detect(self, source: ImageInput) -> ImageResult:
        torch.set_num_threads(1)  # of this thread
        outcome = self._read(source)
        if outcome.prepared is not None:
            self._detect([outcome])
        return outcome

    def _timed(self, outcomes: Iterator[ImageResult]) -> Iterator[ImageResult]:
        while True:
            started = time.perf_counter()
            outcome = next(outcomes, None)
            self.clock.data_time += time.perf_counter() - started
            if outcome is None:
                return
            yield outcome

    def _detect_timed(self, outcomes: Sequence[ImageResult]) -> None:
        started = time.perf_counter()
        self._detect(outcomes)
        self.clock.model += time.perf_counter() - started

    def _detect(self, outcomes: Sequence[ImageResult]) -> None:
        """Fill in the detections, in smaller batches from the first that does not fit on."""
        todo = list(outcomes)
        while todo:
            names = [outcome.source.name for outcome in todo[: self._batch_size]]
            batch = todo[:1] if self.flight.divides(names) else todo[: self._batch_size]
            at_once = self._batch_size if self.options.has_crops else len(batch)
            found = None
            try:
                with self.flight.at(*names[: len(batch)]):
                    found = self._answers(batch)
            except OutOfMemoryError:
                if at_once == 1:
                    raise
            if found is None:
                free_cached_memory(self.detector.device)
                self._batch_size = at_once // 2
                continue
            for outcome, detections in zip(batch, found, strict=True):
                outcome.detections, outcome.prepared = detections, None
                outcome.image = outcome.image if self.keep_images else None
            todo = todo[len(batch) :]

    def _answers(self, batch: Sequence[ImageResult]) -> list[Detections]:
        """The detections of images with one prompt and one shape, or of one image in several crops."""
        prompt = own_prompt(batch[0].source)
        compiled = self._compile(prompt) if prompt else cast(CompiledPrompt, self.compiled)
        if self.options.has_crops:
            options = replace(self.options, batch_size=self._batch_size)
            images = [outcome.image for outcome in batch if outcome.image is not None]
            pairs = [self.detector.detect_crops(image, compiled, options) for image in images]
            if any(capped for _, capped in pairs):
                self._capped = True
            return [found for found, _ in pairs]
        prepared = [outcome.prepared for outcome in batch if outcome.prepared is not None]
        observe = partial(self.observe, batch) if self.observe else None
        found = self.detector.detect(prepared, compiled, self.options, observe)
        if any(is_capped(one, compiled, self.options) for one in found):  # several threads may be here
            self._capped = True
        return found

    @property
    def prompt_notes(self) -> tuple[str, ...]:
        return self.compiled.notes if self.compiled else ()

    def explain(self) -> Explanation:
        return Explanation.of(self.compiled.chunks if self.compiled else ())

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.detector.notes, *self._reading.notes, *((capped_note(self.options),) if self._capped else ()))

    @property
    def effective_batch_size(self) -> int | None:
        return self._batch_size if self._batch_size < self.options.batch_size else None


def capped_note(options: DetectOptions) -> str:
    """The note for `is_capped`."""
    what = "view" if options.has_crops else "image"
    kept = counted(options.per_text, "box is", "boxes are")
    return f"{kept} kept per {what}, and one had as many: --top-k N says how many"


def _done(waiting: deque[ImageResult]) -> Iterator[ImageResult]:
    """The leading results that are complete."""
    while waiting and waiting[0].done:
        yield waiting.popleft()
