"""The training loop.

    for each step:  batches -> losses of all parts -> gradients, averaged over processes -> clip -> AdamW, Muon
    each epoch:     validate -> keep the best -> lower the rates where AP stands still -> end where it falls

Unusual here:
- Losses are divided by the positives of the whole step, over all its batches and processes. So a batch that does not
  fit into memory is cut into halves, again and again, and the gradients stay what they were.
- Each step seeds its random numbers (dropout, stochastic depth) from the seed, its number and the process. A resumed
  training resumes bit by bit, on a CPU, with no state of a generator kept.
- A loss that is not a number ends the training, and so do weights that are none; officially the loss is taken for 0.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from glip_cli.errors import GlipError
from glip_cli.model.glip import Glip
from glip_cli.training.batches import Batch
from glip_cli.training.checkpoint import TrainingFolder, copy_into
from glip_cli.training.config import TrainConfig
from glip_cli.training.distributed import Distributed
from glip_cli.training.gradients import Gradients, checkpoint_activations
from glip_cli.training.loss import add_to
from glip_cli.training.metrics_log import History, Row
from glip_cli.training.optim import EarlyStopping, ExponentialMovingAverage, Left, Optimizers, left, set_rates
from glip_cli.training.tuning import Tuning
from glip_cli.utils.json import JsonObject

LOG_EVERY = 10  # steps per row of metrics.jsonl


@dataclass(frozen=True)
class TrainResult:
    """The end of a training.

    Attributes:
        step, epoch: how many are done.
        complete: nothing is left to do; else it was asked to stop, and can be resumed.
        early: AP had fallen for too long.
        best, best_step: the highest AP on validation, 0 without any, and when it was.
        parts: into how many each batch was cut for want of memory.
        unread: what was wrong with images that could not be read any more -> how often others took their places.
    """

    step: int
    epoch: float
    complete: bool
    early: bool
    best: float
    best_step: int
    parts: int
    unread: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Trainer:
    """One training.

    Attributes:
        model: as `tuning.select` left it, with `tuning`.
        source: batches without end from a number on, the share of this process; batch k is always the same.
        epoch_steps: steps per epoch.
        save: writes a folder that `Detector.load` takes, given facts for its card.
        validate: name -> number, "AP" among them, of the current model, None where undefined; the same in all
            processes.
        on_row: is given each row of numbers.
        notes: is given remarks for the person.
        report: is given all rows at the end of an epoch, but not too often.
        stop: once set, the training ends after the step in flight.
        epoch_time: seconds that the end of an epoch takes; at first as the caller expects it.
    """

    model: Glip
    tuning: Tuning
    source: Callable[[int], Iterator[Batch]]
    recipe: TrainConfig
    folder: TrainingFolder
    epoch_steps: int
    save: Callable[[Path, Mapping[str, object]], object]
    validate: Callable[[], Mapping[str, float | None]] | None = None
    processes: Distributed = field(default_factory=lambda: Distributed(0, 1, torch.device("cpu")))
    on_row: Callable[[Row], None] = lambda row: None
    notes: Callable[[str], None] = lambda note: None
    report: Callable[[Sequence[Row]], None] = lambda rows: None
    stop: threading.Event = field(default_factory=threading.Event)
    epoch_time: float = 0.0

    def __post_init__(self) -> None:
        recipe, device = self.recipe, self.processes.device
        self.model.to(device).to(memory_format=torch.channels_last)
        if recipe.checkpointing:
            checkpoint_activations(self.model)
        self.trained = {name: self.model.get_parameter(name) for name in self.tuning.names}
        self.processes.share(self.trained.values())
        self.optimizer = Optimizers(self.tuning.groups)
        self.average = ExponentialMovingAverage(self.trained, recipe.ema) if recipe.ema else None
        self.watch = EarlyStopping(recipe.step_patience, recipe.patience)
        self.gradients = Gradients(self.model, self.optimizer, recipe, self.processes, self.notes)
        self.step, self.total = 0, recipe.epochs * self.epoch_steps
        self._window: dict[str, float] = {}
        self._unread: Counter[str] = Counter()
        self._step_time = self._data_time = 0.0
        with self.folder.intact():
            self._restore(self.folder.load())

    def run(self) -> TrainResult:
        """Train to the end or until a stop is requested. Raises GlipError."""
        with self.folder.writing():
            first = self.processes.first
            self.history = History(self.folder.metrics, self.folder.curves, self.step) if first else None
        self._began = time.monotonic()
        self.tuning.train(self.model)
        batches = self.source(self.step * self.recipe.accumulation)
        while not self.done and not self._train_step(self._load(batches)):
            ends_epoch = self.step % self.epoch_steps == 0
            if ends_epoch or self.step % LOG_EVERY == 0:
                self._report()
            if ends_epoch:
                self._end_epoch()
            if ends_epoch or self.step % self.recipe.save_every == 0:
                self._checkpoint()
        if not self.done:
            self._checkpoint()
        unread = self._all_unread()
        if unread and self.done:
            self._write({**self._position, "unread": unread})
        if self.history:
            with self.folder.writing():
                self.history.close()
        watch = self.watch
        return TrainResult(
            self.step, self.epoch, self.done, watch.stops, watch.best, watch.best_step, self.gradients.parts, unread
        )

    @property
    def epoch(self) -> float:
        """The number of epochs done."""
        return self.step / self.epoch_steps

    @property
    def _position(self) -> Row:
        return {"step": self.step, "epoch": self.epoch}

    @property
    def done(self) -> bool:
        return self.step >= self.total or self.watch.stops

    @property
    def left(self) -> Left:
        watch = self.watch if self.validate else None
        return left(watch, self.step, self.epoch_steps, self.recipe.epochs, self._step_time, self.epoch_time)

    def _load(self, batches: Iterator[Batch]) -> list[Batch]:
        """Load the batches of a step; the waiting time is recorded."""
        began = time.monotonic()
        loaded = [next(batches) for _ in range(self.recipe.accumulation)]
        self._data_time += time.monotonic() - began
        return loaded

    def _train_step(self, batches: Sequence[Batch]) -> bool:
        """One step; True if a stop was requested instead."""
        weights = self.gradients.weights(batches)
        set_rates(self.optimizer.param_groups, self.recipe, self.step, self.total, self.watch.drops)
        while True:
            losses = self.gradients.add_up(batches, weights, self.step)
            wrong = losses is not None and not math.isfinite(losses["loss"])
            short, wrong, stop = self.processes.any(losses is None, wrong, self.stop.is_set())
            if stop:
                return True
            if wrong:
                self._abort_nonfinite(batches, "loss")
            if losses is not None and not short:
                break
            self.gradients.halve(batches, self.step)
        self.processes.average_gradients(self.trained.values())
        norm = nn.utils.clip_grad_norm_(list(self.trained.values()), self.recipe.clip)
        if not norm.isfinite():
            self._abort_nonfinite(batches, "gradient")
        self.optimizer.step()
        if self.average:
            self.average.update()
        self._count_unread(batches)
        self.step += 1
        add_to(self._window, {**losses, "gradient": float(norm), "steps": 1})
        return False

    def _count_unread(self, batches: Sequence[Batch]) -> None:
        """Count the images that a step could not read; each reason is printed once."""
        for reason in (reason for batch in batches for reason in batch.unread):
            if not self._unread[reason]:
                self.notes(f"{reason}; other images take its place")
            self._unread[reason] += 1

    def _all_unread(self) -> dict[str, int]:
        """The counts of all processes."""
        return dict(sorted(sum(self.processes.gather(self._unread), Counter()).items()))

    def _abort_nonfinite(self, batches: Sequence[Batch], what: str) -> None:
        """Save what led to it, and raise."""
        self.optimizer.zero_grad()
        ranked = "" if self.processes.world == 1 else f"-{self.processes.rank}"
        path = self.folder.bad_batch.with_stem(self.folder.bad_batch.stem + ranked)
        with self.folder.writing():
            torch.save(
                {"step": self.step, "batches": [batch.to_dict() for batch in batches], "weights": self.trained}, path
            )
        raise GlipError(
            f"the {what} of step {self.step + 1} is not a number: its batch and the weights are in {path}; look at "
            "them, or start over with a lower --lr or --clip, or a --warmup"
        )

    def _check_weights(self) -> None:
        """A step that destroys the weights shows in no loss before the next one: nothing of it is kept."""
        if not all(bool(weight.isfinite().all()) for weight in self.trained.values()):
            raise GlipError(
                f"the weights after step {self.step} are not numbers, so they are not kept; start over with a lower "
                "--lr or --weight-decay, or a --warmup"
            )

    def _report(self) -> None:
        """A row of the means since the last one, over all processes."""
        steps = self._window.pop("steps", 0)
        if not steps:
            return
        shares = self.processes.gather({**self._window, "data_time": self._data_time})
        means = {name: sum(one[name] for one in shares) / len(shares) / steps for name in shares[0]}
        self._window, self._data_time = {}, 0.0
        self._step_time, self._began = (time.monotonic() - self._began) / steps, time.monotonic()
        rate = self.optimizer.param_groups[0]["lr"]  # that of weights; biases and BERT have others
        device = self.processes.device
        memory = {"memory": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}
        self._add({"lr": rate, **means, "seconds": self._step_time, **memory})

    def _add(self, row: Row) -> None:
        row = self._position | {
            name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()
        }
        self.on_row(row)
        self._write(row)

    def _write(self, row: Row) -> None:
        if self.history:
            with self.folder.writing():
                self.history.add(row)

    def _end_epoch(self) -> None:
        """Validate and keep, with the averaged weights where there are such."""
        self._check_weights()
        began = time.monotonic()
        with self.average.applied() if self.average else nullcontext():
            scores = dict(self.validate()) if self.validate else {}
            ap = scores.get("AP")
            best = ap is None or self.watch.tell(ap, self.step)
            if scores:
                self._add({**scores, "best": best})
            if self.processes.first:
                facts = {**self._position, **scores}
                for folder in (self.folder.last, *([self.folder.best] if best else [])):
                    self.save(folder, facts)
        if self.history:
            with self.folder.writing():
                drawn = self.history.draw()
            if drawn:
                self.report(self.history.rows)
        self.tuning.train(self.model)
        self._began = time.monotonic()
        self.epoch_time = self._began - began

    def _checkpoint(self) -> None:
        self._check_weights()
        unread = self._all_unread()
        if self.processes.first:
            tensors = {"weights": self.trained, "optimizer": self.optimizer.state_dict()}
            counts = {"step": self.step, "parts": self.gradients.parts, "epochs": self.recipe.epochs, "unread": unread}
            average = self.average.shadow if self.average else {}
            more = {"watch": asdict(self.watch), "average": average, "window": self._window}
            self.folder.save({**tensors, **counts, **more})
        self.processes.wait()

    def _restore(self, state: JsonObject | None) -> None:
        if state is None:
            return
        self.step, self.gradients.parts = int(state["step"]), int(state["parts"])
        self.watch = EarlyStopping(**state["watch"])
        if self.watch.stops and state["epochs"] != self.recipe.epochs:  # asked for, though AP had fallen
            self.watch.worse = 0
        self._window = dict(state["window"])
        self._unread = Counter(state.get("unread", {}) if self.processes.first else {})
        copy_into(self.trained, state["weights"])
        if self.average:
            copy_into(self.average.shadow, state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
