"""State that the data sets of one `glip eval` share: the model, loaded when first needed, and the folder of records.

Detecting is a batch run in a folder: resumes after a kill; under torchrun each process does its share.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from glip_cli.data.sources import ImageInput
from glip_cli.detector import Detector
from glip_cli.options import DetectKeywords, DetectOptions
from glip_cli.outputs.images import AnnotatedImages
from glip_cli.outputs.records import AnyRecord
from glip_cli.prompts.chunking import vocabulary_notes
from glip_cli.runs.items import Engine, Item
from glip_cli.runs.local import LocalEngine
from glip_cli.runs.run_dir import Progress, RunFolder
from glip_cli.runs.runner import Runner
from glip_cli.runs.settings import settings_of
from glip_cli.runs.shards import Shard
from glip_cli.types import Prompt


class RunProgress(AbstractContextManager["RunProgress"], Protocol):
    """Shows how far a run has come."""

    def started(self, before: int) -> None: ...

    def add(self, record: AnyRecord) -> None: ...


class SilentProgress(nullcontext["RunProgress"]):
    """Shows nothing."""

    def __init__(self, total: int = 0):
        super().__init__(self)

    def started(self, before: int) -> None: ...

    def add(self, record: AnyRecord) -> None: ...


@dataclass
class Session:
    """
    Attributes:
        out: each data set's records go to a folder in it.
        load: loads the detector, when it is first needed.
        base: the chosen options: size, batch size.
        dtype: as chosen; a run of another is not resumed.
        follow: given the number of images, what shows the progress.
        note: called with remarks on the prompt.
        stop: once set, the run ends after the images in flight.
        progress: of each run so far, by folder.
    """

    out: Path
    load: Callable[[], Detector]
    base: DetectOptions
    dtype: str = "auto"
    follow: Callable[[int], RunProgress] = SilentProgress
    shard: Shard = field(default_factory=Shard)
    overwrite: bool = False
    retry_failed: bool = False
    workers: int | None = None
    note: Callable[..., None] = lambda *remarks: None
    stop: threading.Event = field(default_factory=threading.Event)
    progress: dict[str, Progress] = field(default_factory=dict)

    @cached_property
    def detector(self) -> Detector:
        return self.load()

    @property
    def model_name(self) -> str:
        """As in weights.toml: the detector's without the hash. A tuned model has no name there."""
        name = self.detector.name
        return name if "+" in name else name.split("@")[0]

    def detect(self, name: str, sources: Sequence[ImageInput], prompt: Prompt, options: DetectKeywords) -> Path | None:
        """Detect in all sources; the file of their records, or None where it is not complete yet.

        Args:
            name: of the folder in `out`.
            options: fields of `DetectOptions` that the protocol demands, over `base`.
        """
        chosen = replace(self.base, **options)
        self.note(*vocabulary_notes(prompt, self.detector.tokenizer, self.detector.prompt_compiler.tuned_words))
        runner = Runner(
            self.detector, self.detector.compile_prompt(prompt, chosen), chosen, self.workers, stop=self.stop
        )
        settings = settings_of(self.detector.name, prompt, chosen)
        return self.run(name, sources, LocalEngine(runner, AnnotatedImages(self.out)), settings)

    def run(
        self, name: str, sources: Sequence[ImageInput], engine: Engine, settings: Mapping[str, object]
    ) -> Path | None:
        """The same with any engine; `settings` are what the answers depend on."""
        settings = {**settings, "dtype": self.dtype}
        with RunFolder(self.out / name, settings, self.shard, self.overwrite, self.retry_failed) as folder:
            with self.follow(len(sources)) as follower:
                items: Iterable[Item] = map(Item, sources)
                done = folder.run(items, engine, follower.started, follower.add)
            self.progress[name] = done
            return folder.results if done.complete else None
