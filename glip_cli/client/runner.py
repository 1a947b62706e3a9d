"""Many images asked of a server, a few at once, each outcome in the order of the images."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from glip_cli.client.model import RemoteModel, question
from glip_cli.data.image_io import read_image
from glip_cli.data.prompted import own_prompt
from glip_cli.data.sources import ImageInput
from glip_cli.errors import ImageError, UnavailableError, without_frames
from glip_cli.options import DetectOptions
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.local import ImageResult
from glip_cli.runs.prefetch import in_order
from glip_cli.runs.read_image import ImageReader
from glip_cli.types import Detections, Prompt

if TYPE_CHECKING:
    from glip_cli.prompts.chunking import Explanation

WORKERS = 4
"""Requests on their way at once: one is answered while others travel, and are read and written here."""


@dataclass
class RemoteRunner:
    """See `runs.local.ImageRunner`. No answer depends on another image, so blocks have one.

    Attributes:
        prompt: of all images that have none of their own (`data.prompted.PromptedImage`).
    """

    remote: RemoteModel
    prompt: Prompt | None
    options: DetectOptions
    workers: int | None = None
    keep_images: bool = False
    flight: InFlight = field(default_factory=InFlight)

    block_size: ClassVar[int] = 1
    clock: ClassVar[None] = None
    effective_batch_size: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Ask which model it is, and how it reads the prompt. Raises UsageError, GlipError."""
        self._asked = question(self.prompt, self.options) if self.prompt else {}
        with closing(self.remote.server):
            self.model = self.remote.name
            self.reading = self.remote.reading(self.prompt, self.options) if self.prompt else None
        self._files, self._alone = ImageReader(), threading.Lock()
        self._notes: dict[str, None] = {}  # in the order in which they came

    @property
    def stop(self) -> threading.Event:
        return self.remote.server.stop

    @property
    def prompt_notes(self) -> tuple[str, ...]:
        return self.reading.notes if self.reading else ()

    def explain(self) -> Explanation:
        assert self.reading, "there is one prompt"
        return self.reading.explanation()

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(note for note in self._notes if note not in self.remote.prompt_notes)

    def __call__(self, sources: Iterable[ImageInput]) -> Iterator[ImageResult]:
        workers = self.workers or WORKERS
        with closing(self.remote.server), closing(
            in_order(self._one, sources, workers, 2 * workers, self.stop)) as outcomes:  # fmt: skip
            yield from outcomes

    def _detect(self, file: bytes, source: ImageInput) -> Detections:
        """Of several images at once a slow server may have none in time; then it is asked for one after the other."""
        prompt = own_prompt(source)
        asked = question(prompt, self.options.for_labels(prompt.labels)) if prompt else self._asked
        try:
            found, notes = self.remote.detect(file, source.name, asked)
        except UnavailableError:
            with self._alone:
                found, notes = self.remote.detect(file, source.name, asked)
        self._notes |= dict.fromkeys(notes)
        return found

    def _one(self, source: ImageInput) -> ImageResult:
        try:
            self.flight.refuse(source.name)
            with self.flight.at(source.name):
                file = self._files.file(source)
            found = self._detect(file, source)
            with self.flight.at(source.name):
                image = read_image(file, source.name) if self.keep_images else None
        except ImageError as error:
            return ImageResult(source, error=without_frames(error))
        return ImageResult(source, image, detections=found)
