"""One `glip finetune`, from what the flags say to the table of what was gained and forgotten."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import torch

from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.checkpoints.finetuned import RunConfig
from glip_cli.data.issues import Findings
from glip_cli.detector import Detector
from glip_cli.errors import UsageError
from glip_cli.inference.device import dtype_notes
from glip_cli.outputs.files import save_json
from glip_cli.prompts.chunking import vocabulary_notes
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import other_words, read_words, words_for
from glip_cli.training.batches import Batches, feed
from glip_cli.training.checkpoint import TrainingFolder
from glip_cli.training.config import TrainConfig
from glip_cli.training.data_args import AnySet, Data
from glip_cli.training.dataset import TrainSet, few_shot, shots_table
from glip_cli.training.distributed import Distributed
from glip_cli.training.init_model import Start
from glip_cli.training.metrics_log import Row, read_rows
from glip_cli.training.optim import LearningRates, Left
from glip_cli.training.parts import TrainResult
from glip_cli.training.report import TrainingReport
from glip_cli.training.sampler import DrawnScenes
from glip_cli.training.settings import Digest, FinetuneKeywords, Settings, changes, digest_of_data, going_on
from glip_cli.training.trainer import Trainer
from glip_cli.training.transforms import Augmentation
from glip_cli.training.tuning import save_tuned, select
from glip_cli.training.validation import KEPT, NEW, Evaluation, Evaluator, Scores, ValidationRow, compare, write_table
from glip_cli.utils.text_format import counted, listed


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
    """What a training came to.

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
    out: Path
    processes: Distributed
    callbacks: Callbacks
    workers: int = 0
    resume: bool = False
    overwrite: bool = False
    stopping: Callable[[threading.Event], AbstractContextManager[None]] = lambda stop: nullcontext()

    def __post_init__(self) -> None:
        self.folder = TrainingFolder(self.out)
        self._seconds: dict[str, float] = {}  # that each check took
        self._latest: dict[str, Evaluation] = {}  # of each check

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
        self._say_how_labels_are_read(sets)
        self._read_checks(scenes)
        digests = digest_of_data((one for one in sets if isinstance(one, TrainSet)), self.checks.values())
        self._compare(digests)
        shown = self._shots(sets)
        odd = self._say_what_is_odd([one for one in shown if isinstance(one, TrainSet)])
        batches = self._batches(shown)
        before = self._before()
        trainer = self._trainer(batches)
        self._go_on(trainer)
        if self.processes.first:
            self.folder.keep({**self._asked(), "digests": digests})
        report = self._report(batches, odd)
        self._write(report)
        trainer.report = report.write
        with self.stopping(trainer.stop):
            ending = trainer.run()
        names = {name: check.name for name, check in self.checks.items()}
        if not ending.complete:
            table = compare(names, before, {NEW: trainer.best_scores()})
            self._write(report, table)
            return Result(ending, table)
        table = compare(names, before, self._after())
        if self.processes.first:
            with self.folder.writing():
                write_table(self.out, table)
        self._write(report, table, self._latest.get(NEW))
        return Result(ending, table)

    def _report(self, batches: Batches, notes: Sequence[str]) -> TrainingReport:
        facts = {
            "begins with": self.start.name,
            "settings": str(self.recipe),
            "data": ", ".join(one.name for one in batches.sets),
        }
        title = f"{self.out.resolve().name}: {self.start.name} tuned"
        return TrainingReport(self.folder.report, title, facts, notes, batches, self.checks.get(NEW))

    def _write(
        self, report: TrainingReport, table: Sequence[ValidationRow] = (), final: Evaluation | None = None
    ) -> None:
        if self.processes.first:
            report.write(read_rows(self.folder.metrics), table, final)

    def _say_how_labels_are_read(self, sets: Sequence[AnySet]) -> None:
        """Words that the model remembers; class names that the vocabulary lacks, or that it cannot tell apart."""
        labels = tuple(dict.fromkeys(label for one in sets for label in one.labels))
        if self.data.words == self.start.words and (words := other_words(labels, self.start.words)):
            self.callbacks.note(
                f"words of {self.start.name}: {listed(f'{read} = {label}' for label, read in words.items())}"
            )
        tuned = self.start.prompt_tuned_labels
        if tuned and words_for(labels, self.data.words or {}) != tuned:
            self.callbacks.note(
                f"note: {self.start.name} was tuned for the prompt of {listed(tuned)}, in this order; what was "
                "added to its tokens stays, for other labels now"
            )
        tokenizer = Tokenizer.from_dir(self.start.tokenizer)
        if tokenizer.learns_words:
            return
        for labels in dict.fromkeys(one.labels for one in sets if isinstance(one, TrainSet) and one.labels):
            for note in vocabulary_notes(label_prompt(labels, self.data.words or {}), tokenizer):
                self.callbacks.note(f"note: {note}")

    def _say_what_is_odd(self, sets: Sequence[TrainSet]) -> list[str]:
        """About what is measured on."""
        checks = self.checks.values() if self.processes.first else ()
        odd = [f"{check.task.name}: {note}" for check in checks for note in check.notes(sets)]
        for note in odd:
            self.callbacks.note(f"note: {note}")
        return odd

    def _compare(self, digests: Mapping[str, Digest]) -> None:
        """Raises UsageError where a resumed training began with other data."""
        before = self.folder.settings().get("digests")
        if self.folder.begun and before is not None and (changed := list(changes(before, digests))):
            more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UsageError(
                f"{self.out} holds a training that began with other data: {changed[0]} changed{more}; put back what "
                "was there, or --overwrite to start over"
            )

    def _go_on(self, trainer: Trainer) -> None:
        """Say where it goes on from. Raises UsageError where more epochs are done than are asked for."""
        if not trainer.step:
            return
        done = trainer.step / trainer.epoch_steps
        if done > self.recipe.epochs:
            raise UsageError(f"--epochs {self.recipe.epochs}: {self.out} has done {done:.4g} already; give more")
        end = ", its end: --epochs N goes on from there" if trainer.done else ""
        self.callbacks.note(f"going on from step {trainer.step}, epoch {done:.4g}{end}")

    def _shots(self, sets: list[AnySet]) -> list[AnySet]:
        """Few of each class, where few are asked for."""
        for one in sets:
            if isinstance(one, DrawnScenes):
                self.callbacks.note(f"{one.name}: {one.count} drawn scenes in each epoch, new ones every time")
        if self.data.shots is None:
            return sets
        wholes = [one for one in sets if isinstance(one, TrainSet)]
        chosen: list[TrainSet] = []
        for whole in wholes:
            few = few_shot(whole, self.data.shots, self.data.shot_seed)
            self.callbacks.note(
                f"{whole.name}: --shots {self.data.shots} takes {len(few)} of the {counted(len(whole), 'image')}, "
                f"{few.box_count} of the {counted(whole.box_count, 'box', 'es')}"
            )
            chosen.append(few)
        if self.processes.first:
            with self.folder.writing():
                save_json(self.out / "shots.json", shots_table(chosen), indent=2)
        return [*chosen]

    def _read_checks(self, scenes: Path) -> None:
        """The first process makes the files of the checks; the others then find them."""
        for turn in (True, False):
            if self.processes.first is turn:
                made = {NEW: self.data.validation(), KEPT: self.data.kept(scenes)}
                self.checks = {name: check for name, check in made.items() if check is not None}
            self.processes.wait()

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
            augmentation=Augmentation.chosen(config.image_size, recipe.size, recipe.max_size, config.size_multiple),
        )

    def _trainer(self, batches: Batches) -> Trainer:
        recipe, model = self.recipe, self.start.model
        tuning = select(
            model,
            recipe.mode,
            LearningRates.of_recipe(recipe),
            freeze_backbone_at=recipe.freeze_backbone_at,
            lora_rank=recipe.lora_rank,
            lora_alpha=recipe.lora_alpha,
        )
        trainer = Trainer(
            model=model,
            tuning=tuning,
            source=lambda first: feed(batches.starting(first), self.workers),
            recipe=recipe,
            folder=self.folder,
            epoch_steps=math.ceil(batches.per_round / recipe.accumulation),
            save=lambda place, facts: save_tuned(place, model, self._card(batches.sets, facts)),
            validate=self._validate if NEW in self.checks else None,
            processes=self.processes,
            on_row=lambda row: self.callbacks.row(row, trainer.total, trainer.left),
            notes=self.callbacks.note,
            epoch_time=self._seconds.get(NEW, 0.0),
        )
        return trainer

    def _measure(self, name: str, detector: Detector) -> Evaluation:
        size = 1 if self.processes.device.type == "cpu" else 8
        found = Evaluator(size, notes=self.callbacks.note)(self.checks[name], detector, self.processes)
        self._latest[name] = found
        return found

    def _validate(self) -> Scores:
        return self._measure(NEW, self._live()).row

    def _live(self) -> Detector:
        """The current model; it shares the weights with the training."""
        tokenizer = Tokenizer.from_dir(self.start.tokenizer)
        return Detector(self.start.model, tokenizer, self.start.name, str(self.processes.device))

    def _before(self) -> dict[str, Scores]:
        """Measured once, before the first step, and kept in before.json."""
        file = self.out / "before.json"
        if file.exists() and self.folder.state.exists():
            found: dict[str, Scores] = json.loads(file.read_bytes())
            return found
        scores = self._measured("before the training", self._live())
        self.processes.wait()  # all have looked for the file
        if self.processes.first:
            with self.folder.writing():
                save_json(file, scores, indent=2)
        return scores

    def _after(self) -> dict[str, Scores]:
        """Of the best state, loaded as anyone would load it."""
        self.processes.wait()
        detector = Detector.load(
            str(self.folder.best), bert=self.start.tokenizer, device=str(self.processes.device), offline=True
        )
        return self._measured("of the best state", detector)

    def _measured(self, when: str, detector: Detector) -> dict[str, Scores]:
        """Of every check; it can take long, so it is said."""
        scores = {}
        for name, check in self.checks.items():
            self.callbacks.note(f"measuring AP {when} on {check.name}")
            began = time.monotonic()
            scores[name] = self._measure(name, detector).numbers
            self._seconds[name] = time.monotonic() - began
        return scores

    def _card(self, sets: Sequence[AnySet], facts: Mapping[str, Any]) -> RunConfig:
        labels = tuple(dict.fromkeys(label for one in sets for label in one.labels))
        training = {**self.recipe.to_dict(), "train": [one.name for one in sets], **facts}
        words = other_words(labels, self.data.words or {})
        return self.start.card(self.recipe.mode, self.out.resolve().name, labels, training, words)

    def _asked(self) -> dict[str, Any]:
        """What the outcome depends on."""
        made = {"base": self.start.name, "processes": self.processes.world}
        return {**self.settings.to_dict(), **self.recipe.to_dict(), **made}


def finetune(
    train: str | Path | Sequence[str | Path],
    *,
    out: str | Path = "tuned",
    device: str = "auto",
    callbacks: Callbacks = Callbacks(),
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
    given: dict[str, Any],
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
    if resume and not overwrite:
        given = going_on(TrainingFolder(out), given)
    settings = Settings.of(given)
    if overwrite and settings.begins_in(out):
        raise UsageError(
            f"--overwrite would remove the model in {out} that training begins with: choose another --out-dir"
        )
    first = settings.recipe()
    start = settings.origin.load(first.mode, first.seed, offline=offline, report=report)
    if start.words and settings.data.words is None:
        settings = replace(settings, data=replace(settings.data, words=dict(start.words)))
    recipe = replace(settings.recipe(start.architecture), bf16=_uses_bf16(processes.device, given.get("bf16")))
    if recipe.bf16:
        for note in dtype_notes("--bf16", processes.device):
            callbacks.note(f"note: {note}")
    return FinetuneJob(start, settings, recipe, out, processes, callbacks, workers, resume, overwrite, stopping)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _uses_bf16(device: torch.device, asked: bool | None) -> bool:
    """Officially training is in half precision; a CPU and older GPUs are slow at it, so there it must be asked for."""
    return asked if asked is not None else device.type == "cuda" and torch.cuda.is_bf16_supported(False)
