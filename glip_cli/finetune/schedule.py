"""Learning rates over time, and when to end: what step it is, and what validation has said."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from glip_cli.finetune.config import TrainConfig

WARMUP_FROM = 0.001  # official WARMUP_FACTOR
FACTOR = 0.1  # by which the rates fall, officially and in ReduceLROnPlateau
LOWEST = 1e-6  # auto-step takes no rate below it (official min_lr)
COSINE_TO = 0.01  # of the highest rate
THRESHOLD = 1e-4  # by which, relatively, AP must rise to count as better (torch's default)


@dataclass
class EarlyStopping:
    """What validation has told so far: torch's ReduceLROnPlateau, and the official early stop.

    Two rules that differ: the rates fall after more than `step_patience` validations in a row without an AP better by
    `THRESHOLD`; training ends after `patience` in a row with an AP below the best. An AP of exactly 0 lowers no rate
    (official trainer.py): nothing was learned yet.

    Attributes:
        best: the highest AP; at first 0.
        drops: how often the rates have fallen.
        worse: validations in a row below the best.
    """

    step_patience: int
    patience: int
    best: float = 0.0
    best_step: int = 0
    drops: int = 0
    worse: int = 0
    plateau: float = float("-inf")
    flat: int = 0

    def tell(self, ap: float, step: int) -> bool:
        """Take in an AP; True where it is as good as the best or better."""
        if ap:
            self._follow(ap)
        self.worse = self.worse + 1 if ap < self.best else 0
        if self.worse:
            return False
        self.best, self.best_step = ap, step
        return True

    def _follow(self, ap: float) -> None:
        if ap > self.plateau * (1 + THRESHOLD):
            self.plateau, self.flat = ap, 0
            return
        self.flat += 1
        if self.flat > self.step_patience:
            self.drops, self.flat = self.drops + 1, 0

    @property
    def stops(self) -> bool:
        return self.worse >= self.patience

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Left:
    """Seconds that are left, as far as the last steps and the last validation tell.

    Attributes:
        epoch: to the end of this epoch, its validation included.
        least: to the end of the training at the earliest: were each AP from now on below the best.
        most: to the end of all epochs.
    """

    epoch: float
    least: float
    most: float


def left(
    watch: EarlyStopping | None, step: int, epoch_steps: int, epochs: int, step_time: float, epoch_time: float
) -> Left:
    """After `step` steps.

    Args:
        watch: None where nothing is validated.
        epochs: of the training at most.
        step_time, epoch_time: seconds of a step, and of what comes at the end of each epoch.
    """
    this = max(-(-step // epoch_steps), 1)
    first = epochs if watch is None else min(epochs, this + watch.patience - watch.worse - 1)

    def until(epoch: int) -> float:
        return (epoch * epoch_steps - step) * step_time + (epoch - this + 1) * epoch_time

    return Left(until(this), until(first), until(epochs))


def rate(peak: float, recipe: TrainConfig, step: int, total: int, drops: int) -> float:
    """The learning rate of step `step` (0-based) of `total`, for a group whose highest is `peak`."""
    if recipe.schedule == "auto":
        decayed = max(peak * FACTOR**drops, min(peak, LOWEST))
    elif recipe.schedule == "cosine":
        decayed = peak * _cosine((step - recipe.warmup) / max(total - recipe.warmup, 1))
    else:
        passed = sum(step >= round(share * total) for share in recipe.steps) if recipe.schedule == "steps" else 0
        decayed = peak * FACTOR**passed
    return decayed * _warm(step, recipe.warmup)


def _cosine(done: float) -> float:
    """Half a wave from 1 to `COSINE_TO`, of the share of the training that is done."""
    return COSINE_TO + (1 - COSINE_TO) * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2


def _warm(step: int, warmup: int) -> float:
    """Linear from `WARMUP_FROM` to 1 (official WarmupMultiStepLR)."""
    return 1.0 if step >= warmup else WARMUP_FROM + (1 - WARMUP_FROM) * step / warmup


def set_rates(groups: Iterable[dict[str, Any]], recipe: TrainConfig, step: int, total: int, drops: int) -> None:
    """Of an optimizer's groups, each with its highest rate as "peak"."""
    for group in groups:
        group["lr"] = rate(group["peak"], recipe, step, total, drops)
