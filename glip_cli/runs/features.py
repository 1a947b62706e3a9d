"""Features of many images, a file each; resumes after a kill.

The files are their own journal: each appears whole or not at all, and says how it was made.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from glip_cli.errors import ImageError, OutOfMemoryError, UsageError, without_frames
from glip_cli.inference.device import free_cached_memory
from glip_cli.inference.feature_extractor import Extractor
from glip_cli.inference.features import SCHEMA, Features, read_metadata, save, strings
from glip_cli.inference.preprocess import PreprocessedImage, padded_size, same_shape_batches
from glip_cli.outputs.files import writing
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.items import Item
from glip_cli.runs.journal import held
from glip_cli.runs.prefetch import in_order
from glip_cli.runs.read_image import ImageReader
from glip_cli.runs.runner import MOST_WORKERS
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import QUOTED, shorten

Watch = Callable[[JsonObject], None]
LOCK, FLIGHT = ".features.lock", ".features.flight"


@dataclass(frozen=True)
class FeatureFolder:
    """The folder of feature files.

    Attributes:
        metadata: what every file of this run says besides its image; a file that says otherwise is not of this run.
    """

    path: Path
    metadata: JsonObject
    dtype: str
    overwrite: bool
    done: set[str] = field(default_factory=set)  # by this run

    def file(self, item: Item) -> Path:
        return self.path / f"{item.file_name}.safetensors"

    def has(self, item: Item) -> bool:
        """Whether the image was done before this run.

        Raises UsageError for a file of another program, and for one that was made otherwise.
        """
        path = self.file(item)
        there = None if item.file_name in self.done else read_metadata(path)
        if there is not None and there.get("schema") != SCHEMA:
            raise UsageError(f"{path} was not written by glip features; choose another --out-dir")
        if there is None or self.overwrite:
            return False
        for key, value in strings(self._told(item)).items():
            if there.get(key) != value:
                raise UsageError(
                    f"{path} was made with {key.replace('_', ' ')} {_shown(there.get(key))}, not {_shown(value)}; "
                    "choose another --out-dir, or --overwrite it"
                )
        return True

    def save(self, item: Item, features: Features) -> int:
        self.done.add(item.file_name)
        return save(self.file(item), features, self._told(item), self.dtype)

    def _told(self, item: Item) -> JsonObject:
        return {"image": item.source.name, **self.metadata}

    @contextmanager
    def held(self) -> Iterator[None]:
        """One process at a time; what a killed one left half-written is removed."""
        with ExitStack() as stack:
            with writing(f"to {self.path}"):
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(self.path / LOCK))
                for path in self.path.rglob(".*.safetensors.*.tmp"):
                    path.unlink(missing_ok=True)
            yield


@dataclass
class FeatureJob:
    """Extracts the features of images that are not done yet.

    Attributes:
        stop: once set, nothing new is begun.
        there: images that were done before.
        bytes: written.
    """

    extractor: Extractor
    folder: FeatureFolder
    workers: int | None
    stop: threading.Event = field(default_factory=threading.Event)
    there: int = 0
    made: int = 0
    failed: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        self.flight, self._reading = InFlight(), ImageReader()
        self.most = self.extractor.options.batch_size  # images at once, as memory allows

    def run(self, items: Iterable[Item], watch: Watch) -> None:
        self.flight = InFlight(self.folder.path / FLIGHT, forgive=self.folder.overwrite)
        most = self.extractor.options.batch_size
        workers = self.workers or min(os.cpu_count() or 1, MOST_WORKERS)
        ahead = 2 * max(workers, most)
        with closing(self.flight), closing(in_order(self._read, self._left(items), workers, ahead, self.stop)) as read:
            for batch in same_shape_batches(self._readable(read, watch), lambda one: padded_size(one[1]), most):
                if self.stop.is_set():
                    return
                with self.flight.at(*(item.source.name for item, _ in batch)):
                    made = list(self._extract([prepared for _, prepared in batch]))
                for (item, _), features in zip(batch, made, strict=True):
                    self.bytes += self.folder.save(item, features)
                    self.made += 1
                    watch({})

    def _extract(self, batch: list[PreprocessedImage]) -> Iterator[Features]:
        """In smaller batches from the first that does not fit into memory on."""
        while batch:
            part = batch[: self.most]
            made = None
            try:
                made = self.extractor(part)
            except OutOfMemoryError:
                if len(part) == 1:
                    raise
            if made is None:
                free_cached_memory(self.extractor.device)
                self.most = len(part) // 2
            else:
                yield from made
                batch = batch[len(part) :]

    def _left(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            if self.folder.has(item):
                self.there += 1
            else:
                yield item

    def _read(self, item: Item) -> tuple[Item, PreprocessedImage | ImageError]:
        try:
            self.flight.refuse(item.source.name)
            with self.flight.at(item.source.name):
                return item, self.extractor.prepare(self._reading(item.source))
        except ImageError as error:
            return item, without_frames(error)

    def _readable(
        self, read: Iterable[tuple[Item, PreprocessedImage | ImageError]], watch: Watch
    ) -> Iterator[tuple[Item, PreprocessedImage]]:
        for item, prepared in read:
            if isinstance(prepared, ImageError):
                self.failed += 1
                watch({"error": str(prepared)})
            else:
                yield item, prepared


def _shown(value: str | None) -> str:
    """A value of a file's strings, delimited from the words around it."""
    return shorten("nothing" if not value else value if value[0] in '"[{' else f'"{value}"', QUOTED)
