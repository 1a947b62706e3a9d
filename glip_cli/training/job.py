"""One training, ready to run: data, what is measured, the loop, and what stands in its folder at the end."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from glip_cli.checkpoints.finetuned import RunConfig
from glip_cli.data.issues import Findings
from glip_cli.errors import UsageError
from glip_cli.outputs.files import save_json
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import other_words
from glip_cli.training.batches import Batches, feed
from glip_cli.training.checkpoint import Digest, TrainingFolder, changes, digest_of_data
from glip_cli.training.config import TrainConfig
from glip_cli.training.dataset import TrainSet, few_shot
from glip_cli.training.distributed import Distributed
from glip_cli.training.init_model import Start, label_notes
from glip_cli.training.metrics_log import Row, best_row, read_rows
from glip_cli.training.optim import Left
from glip_cli.training.report import KEPT, NEW, BeforeAndAfter, TrainingReport, ValidationRow, compare, write_table
from glip_cli.training.sampler import AnySet, DrawnScenes
from glip_cli.training.settings import Data, Settings
from glip_cli.training.trainer import Trainer, TrainResult
from glip_cli.training.transforms import Augmentation
from glip_cli.training.tuning import save_tuned, select
from glip_cli.training.validation import Evaluation
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import counted


@dataclass(frozen=True)
class Callbacks:
    """Called with remarks; with what was wrong with a data set; and with a row of numbers, the steps in all and the
    time that is left.
    """

    note: Callable[[str], None] = lambda text: None
    findings: Callable[[Findings], None] = lambda found: None
    row: Callable[[Row, int, Left], None] = lambda row, steps, left: None


@dataclass(frozen=True)
class Result:
    """The result of a training.

    Attributes:
        table: before and after; where it was stopped, before and at the best so far.
    """

    ending: TrainResult
    table: list[ValidationRow]


@dataclass
class FinetuneJob:
    """A training, ready to run.

    Attributes:
        workers: processes that prepare batches; 0: this one.
        stopping: within it an event is set where the user wants the training to stop after the step in flight.
            Elsewhere nothing would be lost.
    """

    start: Start
    settings: Settings
    recipe: TrainConfig
    folder: TrainingFolder
    processes: Distributed
    callbacks: Callbacks
    workers: int = 0
    resume: bool = False
    overwrite: bool = False
    stopping: Callable[[threading.Event], AbstractContextManager[None]] = lambda stop: nullcontext()

    @property
    def data(self) -> Data:
        return self.settings.data

    def run(self) -> Result:
        """Train, and measure before and after. Raises GlipError."""
        with ExitStack() as stack:
            if self.processes.first:
                stack.enter_context(self.folder.held(self._asked(), resume=self.resume, overwrite=self.overwrite))
            self.processes.wait()
            scenes = stack.enter_context(TemporaryDirectory(prefix="glip-"))
            return self._run(Path(scenes))

    def _run(self, scenes: Path) -> Result:
        self.callbacks.note(f"settings: {self.recipe}")
        sets = self.data.read(self.callbacks.findings, self.start.words)
        for note in label_notes(self.start, sets, self.data.words):
            self.callbacks.note(note)
        checks = {NEW: self.data.validation(), KEPT: self.data.kept(scenes)}
        there = {name: check for name, check in checks.items() if check is not None}
        self.measured = BeforeAndAfter(there, self.start, self.folder, self.processes, self.callbacks.note)
        digests = digest_of_data(
            (one for one in sets if isinstance(one, TrainSet)), (check.task for check in self.measured.checks.values())
        )
        self._compare(digests)
        shown = self._shots(sets)
        odd = self._say_what_is_odd(shown)
        batches = self._batches(shown)
        before = self.measured.before()
        trainer = self._trainer(batches)
        self._go_on(trainer)
        if self.processes.first:
            self.folder.keep({**self._asked(), "digests": digests})
        report = self._report(batches, odd)
        self._write(report)
        trainer.report = report.write
        with self.stopping(trainer.stop):
            ending = trainer.run()
        names = self.measured.names
        if not ending.complete:
            table = compare(names, before, {NEW: best_row(read_rows(self.folder.metrics)) or {}})
            self._write(report, table)
            return Result(ending, table)
        table = compare(names, before, self.measured.after())
        if self.processes.first:
            with self.folder.writing():
                write_table(self.folder.path, table)
        self._write(report, table, self.measured.latest.get(NEW))
        return Result(ending, table)

    def _report(self, batches: Batches, notes: Sequence[str]) -> TrainingReport:
        facts = {
            "begins with": self.start.name,
            "settings": str(self.recipe),
            "data": ", ".join(one.name for one in batches.sets),
        }
        title = f"{self.folder.path.resolve().name}: {self.start.name} tuned"
        return TrainingReport(self.folder.report, title, facts, notes, batches, self.measured.checks.get(NEW))

    def _write(
        self, report: TrainingReport, table: Sequence[ValidationRow] = (), final: Evaluation | None = None
    ) -> None:
        if self.processes.first:
            report.write(read_rows(self.folder.metrics), table, final)

    def _say_what_is_odd(self, sets: Sequence[AnySet]) -> list[str]:
        """About what is measured on."""
        checks = self.measured.checks if self.processes.first else {}
        read = [one for one in sets if isinstance(one, TrainSet)]
        odd = [f"{check.task.name}: {note}" for check in checks.values() for note in check.notes(read)]
        if NEW in checks and len(read) == len(sets) and all(one.labels for one in read):
            odd += [f"{checks[NEW].task.name}: {note}" for note in checks[NEW].untrained(read)]
        for note in odd:
            self.callbacks.note(f"note: {note}")
        return odd

    def _compare(self, digests: Mapping[str, Digest]) -> None:
        """Raises UsageError where a resumed training began with other data."""
        before = self.folder.settings().get("digests")
        if self.folder.begun and before is not None and (changed := list(changes(before, digests))):
            more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UsageError(
                f"{self.folder.path} holds a training that began with other data: {changed[0]} changed{more}; put back "
                "what was there, or --overwrite to start over"
            )

    def _go_on(self, trainer: Trainer) -> None:
        """Print where the training resumes. Raises UsageError where more epochs are done than requested."""
        if not trainer.step:
            return
        if trainer.epoch > self.recipe.epochs:
            raise UsageError(
                f"--epochs {self.recipe.epochs}: {self.folder.path} has done {trainer.epoch:.4g} already; give more"
            )
        end = ", its end: --epochs N goes on from there" if trainer.done else ""
        self.callbacks.note(f"going on from step {trainer.step}, epoch {trainer.epoch:.4g}{end}")

    def _shots(self, sets: list[AnySet]) -> list[AnySet]:
        """With --shots, a few images of each class."""
        for one in sets:
            if isinstance(one, DrawnScenes):
                self.callbacks.note(f"{one.name}: {one.count} drawn scenes in each epoch, new ones every time")
        if self.data.shots is None:
            return sets
        chosen: list[TrainSet] = []
        for whole in (one for one in sets if isinstance(one, TrainSet)):
            few = few_shot(whole, self.data.shots, self.data.shot_seed)
            self.callbacks.note(
                f"{whole.name}: --shots {self.data.shots} takes {len(few)} of the {counted(len(whole), 'image')}, "
                f"{few.box_count} of the {counted(whole.box_count, 'box', 'boxes')}"
            )
            chosen.append(few)
        if self.processes.first:
            with self.folder.writing():
                rows = [
                    {"set": few.name, "images": [{"id": item.image_id, "file": str(item.image)} for item in few.items]}
                    for few in chosen
                ]
                save_json(self.folder.path / "shots.json", rows, indent=2)
        return [*chosen]

    def _batches(self, sets: Sequence[AnySet]) -> Batches:
        recipe, config = self.recipe, self.start.model.config
        return Batches(
            sets,
            self.data.share or [1.0] * len(sets),
            Tokenizer.from_dir(self.start.tokenizer),
            config,
            recipe.batch_size,
            recipe.seed,
            rank=self.processes.rank,
            world=self.processes.world,
            augmentation=Augmentation.of_size(config.image_size, recipe.size, recipe.max_size, config.size_multiple),
        )

    def _trainer(self, batches: Batches) -> Trainer:
        recipe, model = self.recipe, self.start.model
        trainer = Trainer(
            model=model,
            tuning=select(model, recipe),
            source=lambda first: feed(batches.starting(first), self.workers),
            recipe=recipe,
            folder=self.folder,
            epoch_steps=math.ceil(batches.per_round / recipe.accumulation),
            save=lambda folder, facts: save_tuned(folder, model, self._card(batches.sets, facts)),
            validate=self.measured.validate if NEW in self.measured.checks else None,
            processes=self.processes,
            on_row=lambda row: self.callbacks.row(row, trainer.total, trainer.left),
            notes=self.callbacks.note,
            epoch_time=self.measured.seconds.get(NEW, 0.0),
        )
        return trainer

    def _card(self, sets: Sequence[AnySet], facts: Mapping[str, object]) -> RunConfig:
        start, labels = self.start, tuple(dict.fromkeys(label for one in sets for label in one.labels))
        return RunConfig(
            mode=self.recipe.mode,
            name=self.folder.path.resolve().name,
            architecture=start.architecture,
            base=start.name if start.sha256 else "",
            base_sha256=start.sha256,
            source=start.source,
            labels=labels,
            training={**self.recipe.to_dict(), "train": [one.name for one in sets], **facts},
            words=other_words(labels, self.data.words or {}),
        )

    def _asked(self) -> JsonObject:
        """The settings that the result depends on."""
        made = {"base": self.start.name, "processes": self.processes.world}
        return {**self.settings.to_dict(), **self.recipe.to_dict(), **made}
