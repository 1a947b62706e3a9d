"""How to train: one frozen object, made from the flags, checked once.

Defaults are the official recipes of tools/finetune.py (README "Fine-tuning"; prompt tuning has its own rates). LoRA has
no official one: its rate is what is usual for it. The embedded models have their own.
Unusual here: `accumulation` and the cutting of batches that do not fit change nothing in the gradients, because losses
are divided by the whole step's positives.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from glip_cli.checkpoints.finetuned import MODES
from glip_cli.errors import UsageError

EPOCHS, EPOCHS_UNWATCHED = 200, 12  # officially 200 are an upper limit, and validation stops far earlier
OF_MODE: dict[str, dict[str, float]] = {
    "prompt": {"lr": 0.05, "weight_decay": 0.25},
    "lora": {"lr": 1e-3, "language_lr": 1e-4},
}
"""What differs from the defaults below."""

OF_ARCHITECTURE: dict[str, dict[str, dict[str, float]]] = {
    "glip-mini": {
        "full": {"lr": 4e-4, "language_lr": 4e-4, "freeze_backbone_at": -1},
        "lora": {"lr": 2e-3, "language_lr": 2e-3},
        "head": {"lr": 2e-3},
    },
    "glip-nano": {
        "full": {"lr": 5e-5, "language_lr": 2e-4, "freeze_backbone_at": -1},
        "head": {"lr": 2e-4, "language_lr": 2e-4},
        "prompt": {"lr": 5e-4, "weight_decay": 0.05},
    },
}
"""What differs from both, by mode: measured on blood cells and roads (docs/finetune.md)."""

SHOWN = ("mode", "lr", "weight_decay", "batch_size", "epochs", "schedule", "seed")
SHOWN_OF_MODE = {"full": ("language_lr", "freeze_backbone_at"), "lora": ("language_lr",)}
SCHEDULES = ("auto", "steps", "cosine", "constant")
OPTIMIZERS = ("adamw", "muon")
SMALLEST, LARGEST = 32, 10_000  # sides of an image in pixels


@dataclass(frozen=True)
class TrainConfig:
    """Raises UsageError, naming the flag, for a value that cannot be meant."""

    mode: str = "full"
    optimizer: str = "adamw"  # "muon" for the matrices between features, then with adamw for the rest
    lr: float = 1e-4  # of all but the text side
    language_lr: float = 1e-5  # of the text side: BERT; glip-nano's names and word pieces
    muon_lr: float | None = None  # of what Muon moves; None: lr
    level_factor: float = 2.0  # by which the levels of the logits learn faster, as biases do
    weight_decay: float = 0.05  # biases have none
    freeze_backbone_at: int = 2  # mode full: -1 freezes nothing, 2 the patch embedding and the first stage
    lora_rank: int | None = None
    lora_alpha: float | None = None
    epochs: int = EPOCHS
    batch_size: int = 4  # images per process and batch
    accumulation: int = 1  # batches per step
    warmup: int = 0  # steps in which the rates rise from a thousandth
    schedule: str = "auto"  # "auto": x0.1 when AP stands still; "steps": at `steps`; "cosine": to 1 %; "constant"
    steps: tuple[float, ...] = (0.67, 0.89)  # shares of the training
    step_patience: int = 3  # validations without a better AP before the rates fall
    patience: int = 8  # validations worse than the best before the end
    clip: float = 1.0  # largest norm of all gradients together
    size: tuple[int, ...] = ()  # shorter sides, one of them at random; (): from 6 to 10 tenths of the model's
    max_size: int | None = None  # limit of the longer side; None: the model's
    bf16: bool = False
    ema: float = 0.0  # decay of the average of the weights that is validated and kept; 0: none
    checkpointing: bool = False  # forget activations and compute them again: slower, far less memory
    seed: int = 10
    save_every: int = 500  # steps between two states to resume from; each epoch ends with one too

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "patience", "save_every"):
            _check(getattr(self, name) >= 1, self, name, "give a number of at least 1")
        for name in ("warmup", "step_patience", "seed", "weight_decay"):
            value = getattr(self, name)
            _check(math.isfinite(value) and value >= 0, self, name, "give a number of at least 0")
        for name in ("lr", "language_lr", "muon_lr", "level_factor", "clip"):
            value = getattr(self, name)
            _check(value is None or (math.isfinite(value) and value > 0), self, name, "give a number greater than 0")
        _check(self.mode in MODES, self, "mode", f"there are {', '.join(MODES)}")
        _check(0 <= self.ema < 1, self, "ema", "give a decay from 0 to below 1, as 0.999")
        _check(self.schedule in SCHEDULES, self, "schedule", f"there are {', '.join(SCHEDULES)}")
        _check(self.optimizer in OPTIMIZERS, self, "optimizer", f"there are {', '.join(OPTIMIZERS)}")
        small = self.optimizer == "adamw" or self.mode == "full"
        _check(small, self, "optimizer", "the other modes train few matrices; it goes with --mode full")
        _check(self.muon_lr is None or self.optimizer == "muon", self, "muon_lr", "it goes with --optimizer muon")
        good = all(SMALLEST <= side <= LARGEST for side in self.size)
        _check(good, self, "size", f"give sides of {SMALLEST} to {LARGEST} pixels, as 480,560,640")
        good = self.max_size is None or SMALLEST <= self.max_size <= LARGEST
        _check(good, self, "max_size", f"give a limit of {SMALLEST} to {LARGEST} pixels")
        rising = all(0 < a < b < 1 for a, b in zip((1e-9, *self.steps), self.steps, strict=False))
        _check(rising, self, "steps", "give rising shares of the training, as 0.67,0.89")

    @classmethod
    def of(cls, mode: str = "full", *, watched: bool, architecture: str = "", **given: Any) -> TrainConfig:
        """The recipe of a mode for an architecture, with what the user changed; None is not given.

        `watched` says that there is something to validate on; without it nothing can be told from AP.
        """
        plain = {} if watched else {"schedule": "steps", "epochs": EPOCHS_UNWATCHED}
        usual = OF_MODE.get(mode, {}) | OF_ARCHITECTURE.get(architecture, {}).get(mode, {})
        chosen = {name: value for name, value in given.items() if value is not None}
        recipe = replace(cls(), **{"mode": mode, **plain, **usual, **chosen})
        if not watched and recipe.schedule == "auto":
            raise UsageError("--schedule auto lowers the rates by the AP on --val, which is not given; take steps")
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "steps": list(self.steps), "size": list(self.size)}

    def __str__(self) -> str:
        """What decides most, and whatever is unlike the defaults, by the names of the flags."""
        plain, own = vars(TrainConfig()), vars(self)
        shown = [*SHOWN[:2], *SHOWN_OF_MODE.get(self.mode, ()), *SHOWN[2:]]
        shown += [name for name in FIELDS if own[name] != plain[name] and name not in shown]
        return ", ".join(f"{name.replace('_', '-')} {_as_typed(own[name])}" for name in shown)


def parse_steps(text: str) -> tuple[float, ...]:
    """ "0.67,0.89" -> (0.67, 0.89). Raises UsageError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--steps {text}: give shares of the training, as 0.67,0.89") from None


def parse_sides(text: str) -> tuple[int, ...]:
    """ "480,560,640" -> (480, 560, 640). Raises UsageError."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--size {text}: give shorter sides in pixels, as 480,560,640; the longer one is --max-size")
    return tuple(map(int, parts))


def _check(good: bool, recipe: TrainConfig, name: str, way_out: str) -> None:
    if not good:
        raise UsageError(f"--{name.replace('_', '-')} {_as_typed(getattr(recipe, name))}: {way_out}")


def _as_typed(value: Any) -> Any:
    return ",".join(f"{x:g}" for x in value) if isinstance(value, tuple) else value


FIELDS = tuple(field.name for field in fields(TrainConfig))
