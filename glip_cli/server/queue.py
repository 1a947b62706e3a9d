"""Images of all clients, one model: a bounded queue, readers beside the model, one thread for the model itself.

On a GPU images of one padded shape are detected together, whoever asked for them; a CPU gains nothing from that. There
a small model has several threads, and each detects in an image of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import torch
from PIL import Image

from glip_cli.detector import Detector
from glip_cli.errors import OutOfMemoryError, without_frames
from glip_cli.inference.batch_detector import ImageFeatures
from glip_cli.inference.device import free_cached_memory
from glip_cli.inference.postprocess import is_capped
from glip_cli.inference.preprocess import PreprocessedImage, padded_size, preprocess
from glip_cli.options import DetectOptions
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.server.errors import RequestError
from glip_cli.server.metrics import Metrics
from glip_cli.types import Detections
from glip_cli.utils.text_format import counted

T = TypeVar("T")
TOGETHER = 8  # images that a GPU sees at once
GATHER_SECONDS = 0.004  # that a batch waits for more images, on a GPU
MOST_READERS, FETCHERS = 8, 16


@dataclass(eq=False)
class QueuedImage:
    """One image for the model.

    Attributes:
        image: prepared; or as it was read, where it is detected in crops.
        result: what is found, and whether boxes were left out (`is_capped`). Cancelled: it is not wanted any more.
        is_wanted: false once nothing waits for the result, even if the model has begun.
    """

    image: PreprocessedImage | Image.Image
    compiled: CompiledPrompt
    options: DetectOptions
    result: Future[tuple[Detections, bool]] = field(default_factory=Future)
    is_wanted: bool = True

    @property
    def shape(self) -> tuple[int, int] | None:
        """Jobs of one shape may share a batch; None: alone."""
        return padded_size(self.image) if isinstance(self.image, PreprocessedImage) else None


class _UnwantedError(Exception):
    """Nothing waits for what is being detected."""


class DetectQueue:
    """See the module. `close` it; what is in work is finished first.

    An image in crops may take the model a minute. One such image is in work at a time, and between its crops the model
    takes the others.
    """

    def __init__(self, detector: Detector, room: int, metrics: Metrics):
        self.detector, self.room, self.metrics = detector, room, metrics
        self.together = 1 if detector.device.type == "cpu" else TOGETHER
        self.gather_seconds = GATHER_SECONDS
        self.readers = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_READERS), "glip-reader")
        self.fetchers = ThreadPoolExecutor(FETCHERS, "glip-fetcher")  # a slow site keeps no reader
        self._inside = 0  # images, waiting or in work
        self._image_seconds = 1.0
        threads = torch.get_num_threads() if detector.is_small else 1
        self._ahead = asyncio.Semaphore(3 * self.together + threads)  # images that are prepared and wait
        self._crops_ahead = asyncio.Semaphore(1)  # images in crops
        self._jobs: deque[QueuedImage] = deque()
        self._change, self._closed = threading.Condition(), False
        self._models = [threading.Thread(target=self._work, name="glip-model", daemon=True) for _ in range(threads)]
        for model in self._models:
            model.start()

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()
        for model in self._models:
            model.join()
        self.readers.shutdown(cancel_futures=True)
        self.fetchers.shutdown(wait=False, cancel_futures=True)

    # -------------------------------------------------------------------------------------------------- event loop

    def seconds_for(self, images: int) -> float:
        """The expected seconds for more images, from those before them."""
        return (self._inside + images) * self._image_seconds / len(self._models)

    @contextmanager
    def places(self, images: int) -> Iterator[None]:
        """Places for so many images, while the block runs. Raises RequestError 503 where there are too few."""
        if self._inside + images > self.room:
            inside, seconds = counted(self._inside, "image is", "images are"), max(1, round(self.seconds_for(0)))
            why = f"{inside} waiting or in work, and {self.room} may be; try again later"
            raise RequestError(503, why, {"Retry-After": str(seconds)})
        self._count(images)
        try:
            yield
        finally:
            self._count(-images)

    def _count(self, more: int) -> None:
        self._inside += more
        self.metrics.queue.set(self._inside)

    async def read(self, function: Callable[..., T], *args: object) -> T:
        """`function(*args)` in one of the threads that read."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, function, *args)

    async def fetch(self, function: Callable[..., T], *args: object) -> T:
        """`function(*args)` in one of the threads that wait for other sites."""
        return await asyncio.get_running_loop().run_in_executor(self.fetchers, function, *args)

    async def detect(
        self, read: Callable[[], Image.Image], compiled: CompiledPrompt, options: DetectOptions
    ) -> tuple[Detections, bool]:
        """What is found in an image, and whether boxes were left out. Cancelled, it leaves its place to others.

        Raises ImageError and what else `read` raises; OutOfMemoryError.
        """
        async with self._crops_ahead if options.has_crops else self._ahead:
            job = await self.read(self._prepare, read, compiled, options)
            with self._change:
                self._jobs.append(job)
                self._change.notify_all()
            try:
                return await asyncio.wrap_future(job.result)
            finally:
                job.is_wanted = False

    def _prepare(
        self, read: Callable[[], Image.Image], compiled: CompiledPrompt, options: DetectOptions
    ) -> QueuedImage:
        image = read()
        if options.has_crops:
            return QueuedImage(image, compiled, replace(options, batch_size=self.together))
        return QueuedImage(preprocess(image, *self.detector.image_size(options.size)), compiled, options)

    # ------------------------------------------------------------------------------------------------ model's thread

    def _work(self) -> None:
        if len(self._models) > 1:
            torch.set_num_threads(1)  # of this thread
        while jobs := self._next():
            self._run_timed(jobs)

    def _run_timed(self, jobs: Sequence[QueuedImage]) -> None:
        started = time.perf_counter()
        self._run(jobs)
        seconds = time.perf_counter() - started
        self.metrics.model_seconds.observe(seconds)
        self.metrics.batch.observe(len(jobs))
        if jobs[0].shape:  # crops say nothing of other images
            self._image_seconds += 0.2 * (seconds / len(jobs) - self._image_seconds)

    def _next(self, *, wait: bool = True) -> list[QueuedImage]:
        """The first job that is still wanted, and those that go with it; [] when closed and done, or none waits."""
        with self._change:
            while True:
                while wait and not self._jobs and not self._closed:
                    self._change.wait()
                if not self._jobs:
                    return []
                first = self._jobs.popleft()
                if first.result.set_running_or_notify_cancel():
                    break
            if self.together == 1 or first.shape is None:
                return [first]
            self._change.wait_for(
                lambda: sum(job.shape == first.shape for job in self._jobs) >= self.together - 1, self.gather_seconds
            )
            return [first, *self._take_like(first)]

    def _take_like(self, first: QueuedImage) -> list[QueuedImage]:
        """Waiting images of the same shape, as many as fit the batch."""
        chosen = [job for job in self._jobs if job.shape == first.shape][: self.together - 1]
        self._jobs = deque(job for job in self._jobs if job not in chosen)
        return [job for job in chosen if job.result.set_running_or_notify_cancel()]

    def _run(self, jobs: Sequence[QueuedImage]) -> None:
        """Fill in the results; a batch that does not fit into the device's memory is halved."""
        too_large = False
        try:
            for job, found in self._detect(jobs).items():
                job.result.set_result(found)
        except _UnwantedError:
            pass
        except Exception as error:
            too_large = isinstance(error, OutOfMemoryError) and len(jobs) > 1
            for job in () if too_large else jobs:
                job.result.set_exception(without_frames(error))
        if too_large:  # here the error, which holds the batch, is gone
            free_cached_memory(self.detector.device)
            half = len(jobs) // 2
            self._run(jobs[:half])
            self._run(jobs[half:])

    def _detect(self, jobs: Sequence[QueuedImage]) -> dict[QueuedImage, tuple[Detections, bool]]:
        """Without those that nothing waits for any more."""
        if isinstance(jobs[0].image, Image.Image):
            (job,) = jobs
            observe = partial(self._between_crops, job)
            return {job: self.detector.detect_crops(jobs[0].image, job.compiled, job.options, observe)}
        images = [job.image for job in jobs if isinstance(job.image, PreprocessedImage)]
        seen = self.detector.encode_images(images)
        found: dict[QueuedImage, tuple[Detections, bool]] = {}
        for same in _by_prompt(jobs):
            rows = [jobs.index(job) for job in same]
            part = seen if len(same) == len(jobs) else _rows(seen, rows)
            with suppress(_UnwantedError):
                answers = self.detector.detect_features(
                    part, same[0].compiled, same[0].options, partial(_check_wanted, same)
                )
                for job, answer in zip(same, answers, strict=True):
                    found[job] = answer, is_capped(answer, job.compiled, job.options)
        return found

    def _between_crops(self, job: QueuedImage, *_: object) -> None:
        """An `Observer`. Raises _UnwantedError."""
        _check_wanted([job])
        if jobs := self._next(wait=False):
            self._run_timed(jobs)


def _check_wanted(jobs: Sequence[QueuedImage], *_: object) -> None:
    """An `Observer`. Raises _UnwantedError."""
    if not any(job.is_wanted for job in jobs):
        raise _UnwantedError


def _by_prompt(jobs: Sequence[QueuedImage]) -> list[list[QueuedImage]]:
    """Jobs that ask the same, together."""
    groups: dict[tuple[int, DetectOptions], list[QueuedImage]] = {}
    for job in jobs:
        groups.setdefault((id(job.compiled), job.options), []).append(job)
    return list(groups.values())


def _rows(seen: ImageFeatures, rows: list[int]) -> ImageFeatures:
    return ImageFeatures(tuple(seen.items[i] for i in rows), [level[rows] for level in seen.maps])
