"""The whole road for many pictures: sources in, one `Outcome` per picture out, in order.

One picture that cannot be read does not stop the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from PIL import Image

from glip_cli.detector import Detector, Plan
from glip_cli.errors import ImageError
from glip_cli.image import read_image
from glip_cli.options import DetectOptions
from glip_cli.sources import Source
from glip_cli.types import Detections


@dataclass
class Outcome:
    """What became of one picture: an error, or the upright image and what was found in it."""

    source: Source
    image: Image.Image | None = None
    detections: Detections | None = None
    error: ImageError | None = None


def detect_all(detector: Detector, sources: Iterable[Source], plan: Plan, options: DetectOptions) -> Iterator[Outcome]:
    """Read, detect and hand out, one batch of pictures in memory at a time."""
    waiting: deque[Outcome] = deque()
    for detections in detector.stream(_readable(sources, waiting), plan, options):
        yield from _failures(waiting)
        outcome = waiting.popleft()
        outcome.detections = detections
        yield outcome
    yield from _failures(waiting)


def _readable(sources: Iterable[Source], waiting: deque[Outcome]) -> Iterator[Image.Image]:
    """The pictures that can be read; every source is noted in `waiting`."""
    for source in sources:
        try:
            image = read_image(source.open(), source.name)
        except ImageError as error:
            waiting.append(Outcome(source, error=error))
            continue
        waiting.append(Outcome(source, image=image))
        yield image


def _failures(waiting: deque[Outcome]) -> Iterator[Outcome]:
    """Those that stand before the next picture."""
    while waiting and waiting[0].error:
        yield waiting.popleft()
