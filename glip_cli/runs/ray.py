"""The engine of a cluster: the same road in Ray's actors, each with a detector of its own.

The journal is written by the driver alone, which holds no model. Paths must mean the same on every machine, and
images are saved by the workers, so the folder must be shared, or in a store.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import cast

from glip_cli.data.stored_folder import StoredFolder
from glip_cli.errors import GlipError, UsageError
from glip_cli.options import DetectOptions, LoadKeywords
from glip_cli.outputs.images import AnnotatedImages
from glip_cli.outputs.records import AnyRecord, error_record
from glip_cli.runs.actors import DEATHS, ActorPool, Done, Started
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.items import Item
from glip_cli.runs.local import LocalEngine
from glip_cli.runs.ray_cluster import WORDS, joined, room_for
from glip_cli.runs.runner import BLOCK, Runner
from glip_cli.runs.stored_files import StoredFiles
from glip_cli.types import Prompt
from glip_cli.utils.text_format import words_of

WITNESSES = 5  # files that the driver sees, and a worker must see too


@dataclass(frozen=True)
class RayJob:
    """Everything that a worker on any machine needs.

    Attributes:
        load: the arguments of `Detector.load`.
        prompt: of all images that have none of their own (`data.prompted.PromptedImage`).
        store: URL of the folder into which workers put images; "": they save them in that of `images`.
    """

    load: LoadKeywords
    prompt: Prompt | None
    options: DetectOptions
    images: AnnotatedImages
    store: str = ""

    def absolute(self) -> RayJob:
        """With paths that mean the same in a worker, which runs in another folder."""
        paths = {key: Path(os.path.abspath(value)) for key, value in self.load.items() if isinstance(value, Path)}
        load = cast("LoadKeywords", {**self.load, **paths})
        if (model := load.get("model")) and os.path.isdir(model):
            load["model"] = os.path.abspath(model)
        images = replace(self.images, folder=Path(os.path.abspath(self.images.folder)))
        return replace(self, load=load, images=images)


class Worker:
    """An actor: loads the model once, then does groups of images. Errors for the user travel as data."""

    def __init__(self, job: RayJob, witnesses: Sequence[str]):
        self._job, self._witnesses, self._stop = job, witnesses, threading.Event()

    def start(self) -> Started:
        """See the inputs and load the model."""
        import ray

        from glip_cli.detector import Detector

        host, error = platform.node(), ""
        try:
            if unseen := next((path for path in self._witnesses if not os.path.exists(path)), None):
                raise GlipError(f"{host} does not see {unseen}; mount its folder there, under the same path")
            job = self._job
            detector = Detector.load(**job.load)
            compiled = detector.compile_prompt(job.prompt, job.options) if job.prompt else None
            self._engine = LocalEngine(Runner(detector, compiled, job.options, stop=self._stop), job.images)
        except GlipError as failed:
            error = str(failed)
        return Started(ray.get_runtime_context().get_node_id(), host, error)

    def do(self, items: Sequence[Item]) -> Done:
        done: list[AnyRecord] = []
        error = ""
        images = self._job.images
        stored = StoredFiles(StoredFolder(self._job.store)) if self._job.store and images.any else None
        if stored:
            self._engine.images = replace(images, folder=stored.path)
        try:
            done.extend(self._engine(items))
        except GlipError as failed:
            error = str(failed)
        if stored:
            try:
                stored.put_images()
            except GlipError as failed:
                done, error = [], str(failed)  # no record is there before its images
        return Done(done, error, self._engine.runner.notes)

    def stop(self) -> None:
        """End the group at hand after the images in flight."""
        self._stop.set()


@dataclass
class RayEngine:
    """See `items.Engine`.

    Attributes:
        model: what records call the model.
        address: of the cluster; "auto" joins the one of this machine or of RAY_ADDRESS, or else starts one here, and
            "local" always starts one.
        workers: actors; None: one per GPU of the cluster, or one per machine where there is none.
        stop: once set, no group is begun any more, and the one that is next ends after the images in flight.
        say: for remarks.
    """

    job: RayJob
    model: str
    address: str = "auto"
    workers: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = lambda text: None
    worker: type = Worker
    flight: InFlight = field(default_factory=InFlight)  # none of this process

    def __post_init__(self) -> None:
        self.job = self.job.absolute()
        self.block_size = self.job.options.batch_size * BLOCK
        self._pool: ActorPool | None = None

    @property
    def host(self) -> str:
        return self._pool.host if self._pool else ""

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        """Raises UsageError where Ray is not installed or not there, and GlipError for what ends a worker's work."""
        with joined(self.address, self.stop, self.say) as ray:
            if ray is None:
                return
            with _one_line(ray, self.stop):
                groups = self._groups(iter(items))
                first = list(islice(groups, 1))
                self._pool = self._pool_for(ray, [item.source.location for group in first for item in group])
                yield from self._pool.run(chain(first, groups))

    def _pool_for(self, ray: ModuleType, paths: Sequence[str]) -> ActorPool:
        """Workers for the whole run. `paths`: of the first images, of which those that are here must be there."""
        witnesses = [place for place in paths if os.path.exists(place)][:WITNESSES]
        gpus = int(ray.cluster_resources().get("GPU", 0))
        kind, needs = ("GPU", {"num_gpus": 1}) if gpus else ("CPU", {"num_cpus": 1})
        actor = ray.remote(self.worker).options(max_concurrency=2, scheduling_strategy="SPREAD", **needs)
        return ActorPool(
            ray,
            hire=lambda: actor.remote(self.job, witnesses),
            size=self.workers or gpus or sum(node["Alive"] for node in ray.nodes()),
            doubt=lambda item: item.source.is_url or not witnesses or os.path.exists(item.source.location),
            died=self._died,
            room=lambda: room_for(ray, kind),
            stop=self.stop,
            say=self.say,
        )

    def _died(self, item: Item, host: str) -> AnyRecord:
        name = item.source.name
        record = error_record(name, f"{name}: {DEATHS} processes died at it, for a crash or want of memory; "
                              "convert or shrink it, or leave it out", self.model)  # fmt: skip
        return {**record, "host": host}

    def _groups(self, items: Iterator[Item]) -> Iterator[list[Item]]:
        while group := [placed(item) for item in islice(items, self.block_size)]:
            if framed := next((item.source.name for item in group if item.source.frame), None):
                raise UsageError(f"--ray takes whole images, not {framed}: leave out --ray, or the frames")
            yield group


def placed(item: Item) -> Item:
    """With a location that means the same in another folder."""
    source = item.source
    return item if source.is_url else replace(item, source=replace(source, location=os.path.abspath(source.location)))


@contextmanager
def _one_line(ray: ModuleType, stop: threading.Event) -> Iterator[None]:
    """Ray's own errors run over many lines, its traceback among them. A cluster that ends with its driver has none."""
    try:
        yield
    except ray.exceptions.RayError as error:
        if not stop.is_set():
            raise GlipError(
                f"Ray: {words_of(error)[:WORDS]}; check the cluster, then run the same command to resume"
            ) from None
