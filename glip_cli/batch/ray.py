"""The engine of a cluster: the same road in Ray Data's actors, each with a detector of its own.

A worker that dies is replaced and its pictures are done again; the journal is written by the driver alone. Paths must
mean the same on every machine, and pictures are saved by the workers, so the folder must be shared.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from glip_cli.batch.items import Item
from glip_cli.batch.local import LocalEngine
from glip_cli.batch.runner import BLOCK, Runner
from glip_cli.errors import GlipError, UsageError, without_frames
from glip_cli.options import DetectOptions
from glip_cli.output.formats import json_bytes
from glip_cli.output.pictures import Pictures
from glip_cli.output.records import AnyRecord
from glip_cli.sources import Source
from glip_cli.types import Prompt

WAVE = 1024  # groups given to Ray at a time: what the driver keeps in memory
KNOCK_SECONDS = 10.0
STORE_BYTES = 200_000_000  # of a cluster started here; only paths and records pass through its store


@dataclass(frozen=True)
class Job:
    """What a worker needs to know, on whatever machine it starts. `load` are the arguments of `Detector.load`."""

    load: Mapping[str, Any]
    prompt: Prompt
    options: DetectOptions
    pictures: Pictures

    def absolute(self) -> Job:
        """With paths that mean the same in a worker, which runs in another folder."""
        load = {key: Path(os.path.abspath(value)) if isinstance(value, Path) else value for key, value in
                self.load.items()}  # fmt: skip
        if load.get("model") and os.path.isdir(load["model"]):
            load["model"] = os.path.abspath(load["model"])
        pictures = replace(self.pictures, folder=Path(os.path.abspath(self.pictures.folder)))
        return replace(self, load=load, pictures=pictures)


@dataclass
class RayEngine:
    """See `items.Engine`.

    Attributes:
        address: of the cluster; "auto" joins the one of this machine or of RAY_ADDRESS, or else starts one here, and
            "local" always starts one.
        workers: actors; None: one per GPU of the cluster, or one per machine where there is none.
        stop: once set, nothing more is waited for than the group of pictures that is next.
    """

    job: Job
    address: str = "auto"
    workers: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.job = self.job.absolute()
        self.block_size = self.job.options.batch_size * BLOCK

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        """Raises UsageError where Ray is not installed or not there, and GlipError for what ends a worker's work."""
        ray = _started(self.address)
        try:
            with _one_line(ray):
                groups = self._groups(iter(items))
                while wave := list(islice(groups, WAVE)):
                    yield from self._done(ray, wave)
        finally:
            ray.shutdown()

    def _groups(self, items: Iterator[Item]) -> Iterator[dict[str, str]]:
        """One row of Ray Data holds the pictures of one block."""
        while not self.stop.is_set() and (group := list(islice(items, self.block_size))):
            yield {"items": json_bytes([_row(item) for item in group]).decode()}

    def _done(self, ray: Any, wave: list[dict[str, str]]) -> Iterator[AnyRecord]:
        for row in self._dataset(ray, wave).iter_rows():
            yield from json.loads(row["records"])
            if row["error"]:
                raise GlipError(row["error"])
            if self.stop.is_set():
                return

    def _dataset(self, ray: Any, wave: list[dict[str, str]]) -> Any:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        actors = self.workers or gpus or len(ray.nodes())
        return ray.data.from_items(wave, override_num_blocks=len(wave)).map_batches(
            Worker,
            fn_constructor_args=[self.job],
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(wave))),
            num_gpus=1 if gpus else None,
            num_cpus=None if gpus else 1,
        )


def _row(item: Item) -> tuple[str, str, bool, str]:
    source = item.source
    location = source.location if source.is_url else os.path.abspath(source.location)
    return source.name, location, source.offline, item.file_name


class Worker:
    """An actor: loads the model once, then does groups of pictures. Errors for a person travel as data."""

    def __init__(self, job: Job):
        from glip_cli.detector import Detector

        self._failed: GlipError | None = None
        try:
            detector = Detector.load(**job.load)
            runner = Runner(detector, detector.plan(job.prompt, job.options), job.options)
            self._engine = LocalEngine(runner, job.pictures)
        except GlipError as error:
            self._failed = without_frames(error)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[str]]:
        """One group: its records as a JSON list, and the error that ended it early, or ""."""
        (text,) = rows["items"]
        done: list[AnyRecord] = []
        failed = self._failed
        try:
            if not failed:
                fields = json.loads(text)
                items = [Item(Source(name, place, offline), file) for name, place, offline, file in fields]
                done.extend(self._engine(items))
        except GlipError as error:
            failed = error
        return {"records": [json_bytes(done).decode()], "error": [str(failed or "")]}


def _started(address: str) -> Any:
    """Ray, joined to a cluster. Raises UsageError."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # read at import; it writes to stderr past Python
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("--ray needs Ray: pip install 'glip-cli[ray]'") from None
    try:
        _join(ray, address)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"--ray={address}: no cluster there ({reason}); start one with `ray start --head`") from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    return ray


def _join(ray: Any, address: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address != "local":
        _knock(address)
        try:
            return ray.init(address, **quiet)
        except ConnectionError:
            if address != "auto":
                raise
    ray.init("local", include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


@contextmanager
def _one_line(ray: Any) -> Iterator[None]:
    """Ray's own errors run over many lines, its traceback among them."""
    try:
        yield
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise GlipError(f"Ray: {reason}; mend the cluster, then the same command goes on") from None
