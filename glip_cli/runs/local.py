"""The engine of this process: one detector, images read ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator

from glip_cli.data.sources import ImageInput
from glip_cli.errors import OutputError
from glip_cli.outputs.images import AnnotatedImages
from glip_cli.outputs.records import AnyRecord, record
from glip_cli.runs.items import Item
from glip_cli.runs.read_image import failed_record
from glip_cli.runs.runner import ImageResult, Runner


class LocalEngine:
    """See `items.Engine`."""

    def __init__(self, runner: Runner, images: AnnotatedImages) -> None:
        runner.keep_images = images.any
        self.runner, self.images = runner, images
        self.model, self.stop = runner.detector.name, runner.stop
        self.block_size, self.flight = runner.block_size, runner.flight

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        given: deque[Item] = deque()
        self.runner.flight = self.flight

        def sources() -> Iterator[ImageInput]:
            for item in items:
                given.append(item)
                yield item.source

        for outcome in self.runner(sources()):
            yield self._finish(given.popleft(), outcome)

    def _finish(self, item: Item, outcome: ImageResult) -> AnyRecord:
        """Save the images first: a record says that everything of its image is there."""
        name, model = outcome.source.name, self.model
        if outcome.detections is None:
            assert outcome.error is not None
            return failed_record(name, outcome.error, model)
        if outcome.image is not None:
            try:
                self.images.save(outcome.image, outcome.detections, item.file_name)
            except OSError as error:
                raise OutputError(
                    f"cannot write to {self.images.folder}: {error.strerror or error}; "
                    "make room, then the same command goes on"
                ) from None
        return record(name, outcome.detections, model)
