"""One `glip finetune`, from what the flags say to the table of what was gained and forgotten."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from glip_cli.data.issues import Findings
from glip_cli.detector import Detector
from glip_cli.finetune.adapters import Card, save_tuned
from glip_cli.finetune.checkpoint import TrainingFolder
from glip_cli.finetune.data.batches import Batch, Batches, feed
from glip_cli.finetune.data.drawn import DrawnScenes
from glip_cli.finetune.data.sets import TrainSet
from glip_cli.finetune.data.shots import few_shot
from glip_cli.finetune.data.transforms import Augmentation
from glip_cli.finetune.history import Row
from glip_cli.finetune.keep import (
    KEPT,
    NEW,
    Measuring,
    Scores,
    compare,
    write_table,
)
from glip_cli.finetune.keep import Row as Compared
from glip_cli.finetune.loop import Ending, Trainer
from glip_cli.finetune.memory import Need, estimate
from glip_cli.finetune.modes import select
from glip_cli.finetune.named import AnySet, Data
from glip_cli.finetune.processes import Processes
from glip_cli.finetune.rates import Rates
from glip_cli.finetune.recipe import Recipe
from glip_cli.finetune.start import Start
from glip_cli.output.formats import json_bytes, written
from glip_cli.tokenizer import Tokenizer


@dataclass(frozen=True)
class Told:
    """Who is told of what."""

    note: Callable[[str], None]
    findings: Callable[[Findings], None]
    row: Callable[[Row, int], None]  # numbers, and the steps in all
    need: Callable[[Need, torch.device], None]


@dataclass(frozen=True)
class Result:
    """What a training came to.

    Attributes:
        table: before and after; empty where it was stopped.
    """

    ending: Ending
    table: list[Compared]


@dataclass
class Job:
    """A training, ready to run.

    Attributes:
        workers: processes that prepare batches; 0: this one.
    """

    start: Start
    data: Data
    recipe: Recipe
    out: Path
    processes: Processes
    told: Told
    workers: int = 0
    resume: bool = False
    overwrite: bool = False
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Result:
        """Train, and measure before and after. Raises GlipError."""
        with ExitStack() as stack:
            self.folder = TrainingFolder(self.out)
            if self.processes.first:
                stack.enter_context(self.folder.held(self._settings(), resume=self.resume, overwrite=self.overwrite))
            self.processes.wait()
            return self._run()

    def _run(self) -> Result:
        data, folder = self.data, self.out
        sets = self._sets()
        self._checks(data, folder)
        before = self._before()
        trainer = self._trainer(sets)
        ending = trainer.run()
        if not ending.complete:
            return Result(ending, [])
        table = compare({name: check.name for name, check in self.checks.items()}, before, self._after())
        if self.processes.first:
            with self.folder.writing():
                write_table(self.out, table)
        return Result(ending, table)

    def _sets(self) -> list[AnySet]:
        sets = self.data.read(self.told.findings)
        for one in sets:
            if isinstance(one, DrawnScenes):
                self.told.note(f"{one.name}: {one.count} drawn scenes in each epoch, new ones every time")
        if self.data.shots is None:
            return sets
        chosen = [few_shot(one, self.data.shots, self.data.shot_seed) for one in sets if isinstance(one, TrainSet)]
        if self.processes.first:
            content = {one.train_set.name: one.image_ids for one in chosen}
            with self.folder.writing(), written(self.out / "shots.json") as stream:
                stream.write(json_bytes(content, indent=2) + b"\n")
        return [one.train_set for one in chosen]

    def _checks(self, data: Data, folder: Path) -> None:
        """The first process makes the files of the checks; the others then find them."""
        for turn in (True, False):
            if self.processes.first is turn:
                made = {
                    NEW: data.validation(folder, self.told.findings),
                    KEPT: data.kept(folder, self.start.architecture),
                }
                self.checks = {name: check for name, check in made.items() if check is not None}
            self.processes.wait()

    def _trainer(self, sets: Sequence[AnySet]) -> Trainer:
        recipe, model = self.recipe, self.start.model
        tuning = select(
            model,
            recipe.mode,
            Rates.of_recipe(recipe),
            freeze_backbone_at=recipe.freeze_backbone_at,
            lora_rank=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,
        )
        views = Augmentation.chosen(model.config.image_size, recipe.size, recipe.max_size)
        self.told.need(estimate(model, tuning, recipe, views.largest), self.processes.device)
        batches = Batches(
            sets,
            self.data.shares or [1.0] * len(sets),
            Tokenizer.from_dir(self.start.tokenizer),
            model.config,
            recipe.batch_size,
            recipe.seed,
            rank=self.processes.rank,
            world=self.processes.world,
            augmentation=views,
        )
        epoch_steps = math.ceil(batches.per_round / recipe.accumulation)
        total = recipe.epochs * epoch_steps
        return Trainer(
            model=model,
            tuning=tuning,
            source=Feed(batches, self.workers),
            recipe=recipe,
            folder=self.folder,
            epoch_steps=epoch_steps,
            save=lambda place, facts: save_tuned(place, model, self._card(sets, facts)),
            validate=self._validate if NEW in self.checks else None,
            processes=self.processes,
            told=lambda row: self.told.row(row, total),
            notes=self.told.note,
            stop=self.stop,
        )

    def _measure(self, name: str, detector: Detector) -> Scores:
        size = 1 if self.processes.device.type == "cpu" else 8
        return Measuring(size, notes=self.told.note)(self.checks[name], detector, self.processes)

    def _validate(self) -> Scores:
        return self._measure(NEW, self._live())

    def _live(self) -> Detector:
        """The model as it is now; it shares the weights with the training."""
        tokenizer = Tokenizer.from_dir(self.start.tokenizer)
        return Detector(self.start.model, tokenizer, self.start.name, str(self.processes.device))

    def _before(self) -> dict[str, Scores]:
        """Measured once, before the first step, and kept in before.json."""
        file = self.out / "before.json"
        if file.exists() and self.folder.state.exists():
            found: dict[str, Scores] = json.loads(file.read_bytes())
            return found
        scores = {name: self._measure(name, self._live()) for name in self.checks}
        self.processes.wait()  # all have looked for the file
        if self.processes.first:
            with self.folder.writing(), written(file) as stream:
                stream.write(json_bytes(scores, indent=2) + b"\n")
        return scores

    def _after(self) -> dict[str, Scores]:
        """Of the best state, loaded as anyone would load it."""
        self.processes.wait()
        detector = Detector.load(
            str(self.folder.best), bert=self.start.tokenizer, device=str(self.processes.device), offline=True
        )
        return {name: self._measure(name, detector) for name in self.checks}

    def _card(self, sets: Sequence[AnySet], facts: Mapping[str, Any]) -> Card:
        labels = tuple(dict.fromkeys(label for one in sets for label in one.labels))
        training = {**self.recipe.to_dict(), "train": [one.name for one in sets], **facts}
        return self.start.card(self.recipe.mode, self.out.resolve().name, labels, training)

    def _settings(self) -> dict[str, Any]:
        """What the outcome depends on."""
        data = {key: _as_json(value) for key, value in vars(self.data).items()}
        model = {"model": self.start.name, "processes": self.processes.world}
        return {**model, **data, **self.recipe.to_dict()}


@dataclass(frozen=True)
class Feed:
    """`loop.Source` of a stream."""

    stream: Batches
    workers: int

    def batches(self, first: int) -> Iterator[Batch]:
        return feed(self.stream.starting(first), self.workers)


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(one) for one in value]
    return str(value) if isinstance(value, Path) else value
