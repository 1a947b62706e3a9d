"""The configuration of a training: a frozen object, made from the flags and checked once.

Defaults are the official recipes of tools/finetune.py (README "Fine-tuning"; prompt tuning has its own rates). LoRA has
no official one: its rate is what is usual for it. The embedded models have their own.
Unusual here: `accumulation` and the cutting of batches that do not fit change nothing in the gradients, because losses
are divided by the whole step's positives.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from glip_cli.checkpoints.finetuned import MODES
from glip_cli.errors import OptionError, UsageError
from glip_cli.utils.json import JsonObject
from glip_cli.utils.option import HOW, POSITIVE, TUNING, Constraint, as_typed, at_least, check_options, one_of, option
from glip_cli.utils.text_format import whole_number

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
STAGES = 5  # `freeze_backbone_at` that leaves only the backbone's output norms
HIGHEST_RATE = 1e6
LARGEST_RANK = 1024  # the width of the widest layers but for the feed-forward ones
SMALLEST, LARGEST = 32, 10_000  # sides of an image in pixels


def parse_steps(text: str) -> tuple[float, ...]:
    """ "0.67,0.89" -> (0.67, 0.89). Raises UsageError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--steps {text}: give shares of the training, as 0.67,0.89") from None


def parse_sides(text: str) -> tuple[int, ...]:
    """ "480,560,640" -> (480, 560, 640). Raises UsageError."""
    sides = [whole_number(part.strip()) for part in text.split(",")]
    if None in sides:
        raise UsageError(f"--size {text}: give shorter sides in pixels, as 480,560,640; the longer one is --max-size")
    return tuple(side for side in sides if side is not None)


def _is_side(pixels: int) -> bool:
    return SMALLEST <= pixels <= LARGEST


_SIDES = Constraint(
    lambda sides: all(map(_is_side, sides)), f"give sides of {SMALLEST} to {LARGEST} pixels, as 480,560,640"
)
_LIMIT = Constraint(_is_side, f"give a limit of {SMALLEST} to {LARGEST} pixels")
_DECAY = Constraint(lambda decay: 0 <= decay < 1, "give a decay from 0 to below 1, as 0.999")
_STAGES = Constraint(
    lambda at: -1 <= at <= STAGES,
    f"-1 trains all of the backbone, 2 all but its first stage, {STAGES} none of its stages",
)
_RANK = Constraint(lambda rank: 1 <= rank <= LARGEST_RANK, f"give a number from 1 to {LARGEST_RANK}")
_SEED = Constraint(lambda seed: 0 <= seed < 2**63, "give a number from 0 to 9223372036854775807")
_RISING = Constraint(
    lambda steps: all(0 < a < b < 1 for a, b in zip((1e-9, *steps), steps, strict=False)),
    "give rising shares of the training, as 0.67,0.89",
)


@dataclass(frozen=True)
class TrainConfig:
    """Each field is a flag. Raises OptionError for a value that is not allowed."""

    mode: str = option(
        "full", "What trains: full (default), head, prompt (an offset to the text) or lora.", TUNING, "MODE",
        allowed=one_of(MODES),
    )  # fmt: skip
    optimizer: str = option(
        "adamw", "adamw; or muon for matrices, adamw for the rest.", TUNING, "NAME", allowed=one_of(OPTIMIZERS)
    )
    lr: float = option(
        1e-4, "Learning rate: 1e-4; prompt 0.05, lora 1e-3; glip-mini, -nano: docs.", TUNING, "RATE", allowed=POSITIVE
    )
    language_lr: float = option(
        1e-5, "Learning rate of the text side: 1e-5; lora 1e-4; more: docs.", TUNING, "RATE", allowed=POSITIVE
    )
    muon_lr: float | None = option(
        None, "Learning rate of the parameters that Muon trains (default: --lr).", TUNING, "RATE", allowed=POSITIVE
    )
    level_factor: float = option(
        2.0, "Learning rate factor of the logits' biases (default 2).", TUNING, "X", allowed=POSITIVE
    )
    weight_decay: float = option(
        0.05, "Weight decay: 0.05; prompt 0.25. Biases have none.", TUNING, "X", allowed=at_least(0)
    )
    freeze_backbone_at: int = option(
        2, "Mode full: 2 freezes the patches and the first stage, 5 all, -1 none.", TUNING, "N",
        allowed=_STAGES,
    )  # fmt: skip
    lora_rank: int | None = option(None, "LoRA rank (default 4).", TUNING, "N", allowed=_RANK)
    lora_alpha: float | None = option(None, "LoRA alpha (default: twice the rank).", TUNING, "X", allowed=POSITIVE)
    epochs: int = option(EPOCHS, "Epochs: at most 200 with --val, 12 without.", TUNING, "N", allowed=at_least(1))
    size: tuple[int, ...] = option(
        (), "Shorter sides, one at random; else 480,560,...,800, for glip-mini 96 to 160.", TUNING, "S,S",
        typed=str, parse=parse_sides, allowed=_SIDES,
    )  # fmt: skip
    max_size: int | None = option(None, "Largest longer side: 1333; glip-mini 320.", TUNING, "PIXELS", allowed=_LIMIT)
    batch_size: int = option(
        4, "Images at once (default 4); halved when memory is short.", TUNING, "N",
        flags=("--batch-size", "-b"), allowed=at_least(1),
    )  # fmt: skip
    accumulation: int = option(1, "Batches per optimizer step.", TUNING, "N", allowed=at_least(1))
    warmup: int = option(0, "Steps in which the learning rates rise.", TUNING, "STEPS", allowed=at_least(0))
    schedule: str = option(
        "auto", "auto (falls when AP stands still), steps, cosine or constant.", TUNING, "NAME",
        allowed=one_of(SCHEDULES),
    )  # fmt: skip
    steps: tuple[float, ...] = option(
        (0.67, 0.89), "Shares of the training at which rates fall: 0.67,0.89.", TUNING, "X,Y",
        typed=str, parse=parse_steps, allowed=_RISING,
    )  # fmt: skip
    step_patience: int = option(
        3, "Epochs without a better AP before the rates fall (default 3).", TUNING, "N", allowed=at_least(0)
    )
    patience: int = option(
        8, "Epochs without a better AP before training stops (default 8).", TUNING, "N", allowed=at_least(1)
    )
    clip: float = option(1.0, "Largest gradient norm (default 1).", TUNING, "X", allowed=POSITIVE)
    bf16: bool = option(
        False, "Train in bfloat16 where it suffices (default on GPUs with it).", TUNING, flags=("--bf16/--no-bf16",)
    )
    ema: float = option(0.0, "Keep a moving average of the weights, as 0.999.", TUNING, "DECAY", allowed=_DECAY)
    checkpointing: bool = option(False, "Gradient checkpointing: slower, far less memory.", TUNING)
    seed: int = option(10, "Random seed (default 10).", TUNING, "N", allowed=_SEED)
    save_every: int = option(
        500, "Steps between checkpoints to resume from (default 500).", HOW, "STEPS", allowed=at_least(1)
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("lr", "language_lr", "muon_lr"):
            if (getattr(self, name) or 0) > HIGHEST_RATE:
                raise OptionError(name, as_typed(getattr(self, name)), f"give a rate of at most {HIGHEST_RATE:g}")
        if self.optimizer != "adamw" and self.mode != "full":
            advice = "the other modes train few matrices; it goes with --mode full"
            raise OptionError("optimizer", self.optimizer, advice)
        if self.muon_lr is not None and self.optimizer != "muon":
            raise OptionError("muon_lr", as_typed(self.muon_lr), "it goes with --optimizer muon")

    @classmethod
    def of(cls, mode: str = "full", *, watched: bool, architecture: str = "", **given: Any) -> TrainConfig:
        """The recipe of a mode for an architecture, with what the user changed; None is not given.

        `watched` says that there is something to validate on; without it there is no AP to judge by.
        """
        plain = {} if watched else {"schedule": "steps", "epochs": EPOCHS_UNWATCHED}
        usual = OF_MODE.get(mode, {}) | OF_ARCHITECTURE.get(architecture, {}).get(mode, {})
        chosen = {name: value for name, value in given.items() if value is not None}
        recipe = replace(cls(), **{"mode": mode, **plain, **usual, **chosen})
        if not watched and recipe.schedule == "auto":
            raise UsageError("--schedule auto lowers the rates by the AP on --val, which is not given; take steps")
        return recipe

    def to_dict(self) -> JsonObject:
        """As JSON has it."""
        return {**asdict(self), "steps": list(self.steps), "size": list(self.size)}

    def __str__(self) -> str:
        """The main settings and all that differ from the defaults, by the names of the flags."""
        plain, own = vars(TrainConfig()), vars(self)
        shown = [*SHOWN[:2], *SHOWN_OF_MODE.get(self.mode, ()), *SHOWN[2:]]
        shown += [name for name in FIELDS if own[name] != plain[name] and name not in shown]
        return ", ".join(f"{name.replace('_', '-')} {as_typed(own[name])}" for name in shown)


FIELDS = tuple(field.name for field in fields(TrainConfig))
