"""`finetune`: from the arguments to the training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import torch

from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.errors import UsageError
from glip_cli.inference.device import dtype_notes
from glip_cli.prompts.words import read_words
from glip_cli.training.checkpoint import TrainingFolder
from glip_cli.training.distributed import Distributed
from glip_cli.training.job import Callbacks, FinetuneJob, Result
from glip_cli.training.settings import FinetuneKeywords, Settings, going_on
from glip_cli.utils.json import JsonObject

SILENT = Callbacks()


def finetune(
    train: str | Path | Sequence[str | Path],
    *,
    out: str | Path = "tuned",
    device: str = "auto",
    callbacks: Callbacks = SILENT,
    resume: bool = False,
    overwrite: bool = False,
    offline: bool = False,
    workers: int = 0,
    **given: Unpack[FinetuneKeywords],
) -> Result:
    """Tune a model as `glip finetune` does; `Detector.load(out)` loads the best state.

    Args:
        train: COCO or grounding json, a folder of YOLO, Pascal VOC or labelme ..., or "scenes:N"; or several of these.
        out: the folder of the training.
        workers: processes that load batches.
        resume: go on with the training in `out`, to the same weights; overwrite: start over.
        given: the other flags by their names; `words` is their file, or class -> words.

    Raises DataError, OptionError, UsageError, WeightsError, DeviceError; TypeError for a name that is no flag's.
    """
    unknown = given.keys() - FinetuneKeywords.__annotations__.keys()
    if unknown:
        raise TypeError(f"finetune() got an unexpected keyword argument {min(unknown)!r}")
    asked = {"train": train, **{name: value for name, value in given.items() if value is not None}}
    asked |= {name: _listed(asked[name]) for name in ("train", "images", "share") if name in asked}
    job = prepare(
        Path(out), asked, processes=Distributed.join(device), callbacks=callbacks, workers=workers, resume=resume,
        overwrite=overwrite, offline=offline,
    )  # fmt: skip
    return job.run()


def prepare(
    out: Path,
    given: JsonObject,
    *,
    processes: Distributed,
    callbacks: Callbacks,
    workers: int,
    resume: bool,
    overwrite: bool,
    offline: bool,
    report: ProgressCallback | None = None,
    stopping: Callable[[threading.Event], AbstractContextManager[None]] = lambda stop: nullcontext(),
) -> FinetuneJob:
    """A training that is ready to run; what cannot be meant is refused before anything is loaded."""
    if isinstance(words := given.get("words"), str | Path):
        given = given | {"words": read_words(Path(words))}
    folder = TrainingFolder(out)
    if resume and not overwrite:
        given = going_on(folder, given)
    try:
        settings = Settings.of(given)
    except (AttributeError, TypeError, ValueError):
        if not resume:
            raise
        raise folder.damaged from None
    if overwrite and settings.begins_in(out):
        raise UsageError(
            f"--overwrite would remove the model in {out} that training begins with: choose another --out-dir"
        )
    first = settings.recipe()
    start = settings.origin.load(first.mode, first.seed, offline=offline, report=report)
    if start.words and settings.data.words is None:
        settings = replace(settings, data=replace(settings.data, words=dict(start.words)))
    bf16 = given.get("bf16")
    if bf16 is None:  # officially in half precision; a CPU and older GPUs are slow at it, so there it must be asked for
        bf16 = processes.device.type == "cuda" and torch.cuda.is_bf16_supported(False)
    recipe = replace(settings.recipe(start.architecture), bf16=bf16)
    if recipe.bf16:
        for note in dtype_notes("--bf16", processes.device):
            callbacks.note(f"note: {note}")
    return FinetuneJob(start, settings, recipe, folder, processes, callbacks, workers, resume, overwrite, stopping)


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]
