"""The engine of this process: what a runner finds in images, saved and as records. Imports no torch."""

from __future__ import annotations

import platform
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from glip_cli.data.sources import ImageInput
from glip_cli.errors import ImageError
from glip_cli.outputs.files import writing
from glip_cli.outputs.images import AnnotatedImages
from glip_cli.outputs.records import AnyRecord, record
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.items import Item
from glip_cli.runs.read_image import failed_record
from glip_cli.types import Detections

if TYPE_CHECKING:
    from glip_cli.inference.preprocess import PreprocessedImage
    from glip_cli.prompts.chunking import Explanation


@dataclass
class ImageResult:
    """The result of one image: an error, or detections, and the upright image where it is kept."""

    source: ImageInput
    image: Image.Image | None = None
    prepared: PreprocessedImage | None = None
    detections: Detections | None = None
    error: ImageError | None = None

    @property
    def done(self) -> bool:
        return self.detections is not None or self.error is not None


@dataclass
class Clock:
    """Seconds spent in each step.

    Attributes:
        model: detecting.
        data_time: waiting for the next image while there was nothing to detect.
    """

    model: float = 0.0
    data_time: float = 0.0

    @property
    def waited_share(self) -> float:
        return self.data_time / max(self.model + self.data_time, 1e-9)


class ImageRunner(Protocol):
    """Detects in images: `runner.Runner` here, `client.model.RemoteRunner` on a server.

    Attributes:
        keep_images: outcomes then hold their images, for drawing.
        flight: notes which images this process is at.
    """

    keep_images: bool
    flight: InFlight

    @property
    def stop(self) -> threading.Event:
        """Once set, no further image is begun or waited for, and the iteration ends."""

    @property
    def model(self) -> str:
        """The model's name in records."""

    @property
    def block_size(self) -> int:
        """See `items.Engine`."""

    @property
    def prompt_notes(self) -> tuple[str, ...]:
        """Notes on the prompt."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the results so far."""

    @property
    def clock(self) -> Clock | None:
        """Seconds spent in each step, if known."""

    @property
    def effective_batch_size(self) -> int | None:
        """The batch size that memory allowed, if it differs from the requested one."""

    def explain(self) -> Explanation:
        """How the model reads the prompt."""

    def __call__(self, sources: Iterable[ImageInput]) -> Iterator[ImageResult]:
        """Each source's outcome, in order, as soon as those before it are there too."""


class LocalEngine:
    """See `items.Engine`."""

    host = platform.node()

    def __init__(self, runner: ImageRunner, images: AnnotatedImages) -> None:
        runner.keep_images = images.any
        self.runner, self.images = runner, images
        self.model, self.stop = runner.model, runner.stop
        self.block_size, self.flight = runner.block_size, runner.flight

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        given: deque[Item] = deque()
        self.runner.flight = self.flight

        def sources() -> Iterator[ImageInput]:
            for item in items:
                given.append(item)
                yield item.source

        for outcome in self.runner(sources()):
            item, name = given.popleft(), outcome.source.name
            if outcome.error is not None:
                yield failed_record(name, outcome.error, self.model)
            elif outcome.detections is not None:
                if outcome.image is not None:  # saved first: a record says that everything of its image is there
                    in_video = item.source.clip is not None
                    with writing(f"to {self.images.folder}", "make room, then run the same command to resume"):
                        self.images.save(outcome.image, outcome.detections, item.file_name, name, in_video)
                yield record(name, outcome.detections, self.model, outcome.source.position)
