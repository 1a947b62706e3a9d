"""The optimizers: AdamW for all weights, or Muon for the hidden matrices and AdamW for the rest.

Muon (Keller Jordan, 2024) is torch's, its steps scaled to the size of AdamW's (arXiv 2502.16982), so that rates are of
the same kind. It is what let glip-mini learn shapes from random weights (docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glip_cli.training.config import TrainConfig
from glip_cli.utils.json import JsonObject

MOMENTUM = 0.95  # of Muon, as published


class Optimizers:
    """One or two of torch's, used as one.

    Attributes:
        by_name: "adamw"; and "muon" where a group asks for it.
    """

    def __init__(self, groups: Iterable[Mapping[str, object]]):
        """From groups as `tuning.Tuning` has them; each rate is kept as "peak"."""
        own = [{**group, "peak": group["lr"]} for group in groups]
        self.by_name: dict[str, torch.optim.Optimizer] = {
            # fused: a third of the time on a CPU, where the default form goes through memory once for each operation
            "adamw": torch.optim.AdamW([group for group in own if not group["muon"]], fused=True)
        }
        if matrices := [group for group in own if group["muon"]]:
            self.by_name["muon"] = torch.optim.Muon(matrices, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")

    @property
    def param_groups(self) -> list[dict[str, object]]:
        """AdamW's first."""
        return [group for one in self.by_name.values() for group in one.param_groups]

    def zero_grad(self) -> None:
        for one in self.by_name.values():
            one.zero_grad()

    def step(self) -> None:
        for one in self.by_name.values():
            one.step()

    def state_dict(self) -> JsonObject:
        return {name: one.state_dict() for name, one in self.by_name.items()}

    def load_state_dict(self, state: JsonObject) -> None:
        for name, one in self.by_name.items():
            one.load_state_dict(state[name])


# ---------------------------------------------------------------------------------------------------------------- ema
# The exponential moving average of the weights that train: what is validated and kept, where it is asked for.


class ExponentialMovingAverage:
    """The exponential moving average of tensors that change in place.

    Attributes:
        shadow: name -> the average so far.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float):
        self._tensors, self.decay = dict(tensors), decay
        self.shadow = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Average = decay * average + (1 - decay) * weight."""
        torch._foreach_lerp_(list(self.shadow.values()), list(self._tensors.values()), 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the tensors hold their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._tensors.items():
            kept = tensor.detach().clone()
            tensor.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)


# ------------------------------------------------------------------------------------------------------- param groups
# How fast each parameter learns, by what it is; by the official rules (microsoft/GLIP solver/build.py) unless given.

LANGUAGE = ("text.bert.", "text.concepts.", "text.pieces.", "text.projection.")
"""The text side: glip-nano's, or BERT proper. BERT's layers between the fusions have the others' rate, officially."""
CONCEPTS = "text.concepts."  # class vectors with their biases: those that no label asks for stay what they are
LEVELS = ("head.bias0", "head.bias_lang")  # what the logits are without any feature
BIAS_FACTOR = 2.0  # by which biases learn faster (official BIAS_LR_FACTOR)
ORDER = ("weights", "biases", "levels", "language weights", "language biases", "matrices", "language matrices")


class ParamGroup(NamedTuple):
    """The learning rate and weight decay of a group of parameters."""

    name: str
    lr: float
    weight_decay: float
    muon: bool = False


def param_group(name: str, parameter: Tensor, recipe: TrainConfig, bias_factor: float = BIAS_FACTOR) -> ParamGroup:
    """By name and shape. As officially, a bias is what has "bias" in its name, Swin's tables too; norms' weights decay.

    Where Muon moves matrices, BERT's learn slower by what `language_lr` is below `lr`.
    """
    language = name.startswith(LANGUAGE)
    lr = recipe.language_lr if language else recipe.lr
    begin = "language " if language else ""
    if name in LEVELS and recipe.level_factor != bias_factor:
        return ParamGroup("levels", lr * recipe.level_factor, 0.0)
    if "bias" in name:
        return ParamGroup(f"{begin}biases", lr * bias_factor, 0.0)
    if name.startswith(CONCEPTS):
        return ParamGroup(f"{begin}biases", lr, 0.0)
    if recipe.optimizer == "muon" and parameter.ndim == 2 and is_hidden(name):
        muon_lr = recipe.lr if recipe.muon_lr is None else recipe.muon_lr
        return ParamGroup(f"{begin}matrices", muon_lr * lr / recipe.lr, recipe.weight_decay, muon=True)
    return ParamGroup(f"{begin}weights", lr, recipe.weight_decay)


def grouped(
    parameters: Iterable[tuple[str, Tensor]], recipe: TrainConfig, bias_factor: float = BIAS_FACTOR
) -> Iterator[dict[str, object]]:
    """Named parameters that learn alike together, as `Optimizers` takes them."""
    kinds: dict[ParamGroup, list[Tensor]] = {}
    for name, parameter in parameters:
        kinds.setdefault(param_group(name, parameter, recipe, bias_factor), []).append(parameter)
    for kind in sorted(kinds, key=lambda kind: ORDER.index(kind.name)):
        yield {"params": kinds[kind], **kind._asdict()}


def is_hidden(name: str) -> bool:
    """Whether a layer or its parameter is between two features: no embedding, nothing that gives an output."""
    if name.startswith("head.tower."):
        return name.split(".")[3] in ("fusion", "text")
    return name.startswith(("backbone.", "text.bert.encoder."))


# ----------------------------------------------------------------------------------------------------------- schedule
# Learning rates over time, and when to end: what step it is, and what validation has said.

WARMUP_FROM = 0.001  # official WARMUP_FACTOR
FACTOR = 0.1  # by which the rates fall, officially and in ReduceLROnPlateau
LOWEST = 1e-6  # auto-step takes no rate below it (official min_lr)
COSINE_TO = 0.01  # of the highest rate
THRESHOLD = 1e-4  # by which, relatively, AP must rise to count as better (torch's default)


@dataclass
class EarlyStopping:
    """The validation results so far: torch's ReduceLROnPlateau, and the official early stop.

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
        done = min(max((step - recipe.warmup) / max(total - recipe.warmup, 1), 0.0), 1.0)
        decayed = peak * (COSINE_TO + (1 - COSINE_TO) * (1 + math.cos(math.pi * done)) / 2)  # half a wave
    else:
        passed = sum(step >= round(share * total) for share in recipe.steps) if recipe.schedule == "steps" else 0
        decayed = peak * FACTOR**passed
    if step < recipe.warmup:  # linear (official WarmupMultiStepLR)
        decayed *= WARMUP_FROM + (1 - WARMUP_FROM) * step / recipe.warmup
    return decayed


def set_rates(groups: Iterable[JsonObject], recipe: TrainConfig, step: int, total: int, drops: int) -> None:
    """Set the learning rates of an optimizer's groups; "peak" is a group's highest rate."""
    for group in groups:
        group["lr"] = rate(group["peak"], recipe, step, total, drops)
