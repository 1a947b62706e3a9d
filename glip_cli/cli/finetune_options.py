"""The flags of `glip finetune` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from glip_cli.cli.options import HOW, MODEL

TRAIN, TUNING = "Training data", "Tuning"

Init = Annotated[
    str | None,
    typer.Option("--init", metavar="random|FILE", rich_help_panel=MODEL, show_default=False,
                 help="Begin with random weights, or with the image side of FILE and all else random."),
]  # fmt: skip
GoOn = Annotated[
    bool,
    typer.Option(
        "--resume", rich_help_panel=HOW, help="Go on with the training in --out-dir; --epochs N may be added."
    ),
]
Loaders = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=0, rich_help_panel=HOW, show_default=False,
                 help="Processes that prepare batches; 0: none but this."),
]  # fmt: skip


@dataclass(frozen=True)
class DataFlags:
    """What is trained and measured on."""

    train: Annotated[
        list[Path] | None,
        typer.Option("--train", metavar="PATH", rich_help_panel=TRAIN, show_default=False,
                     help="COCO or grounding json, a folder of YOLO or Pascal VOC, or scenes:N; repeatable."),
    ] = None  # fmt: skip
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                     help="The folder of the images, for all --train or for each; else beside them."),
    ] = None  # fmt: skip
    share: Annotated[
        list[float] | None,
        typer.Option("--share", metavar="X", rich_help_panel=TRAIN, show_default=False,
                     help="How often an epoch goes through a --train: one for each."),
    ] = None  # fmt: skip
    val: Annotated[
        Path | None,
        typer.Option("--val", metavar="PATH", rich_help_panel=TRAIN, show_default=False,
                     help="Validate on it after each epoch: keep the best, end when it falls."),
    ] = None  # fmt: skip
    val_images: Annotated[
        Path | None,
        typer.Option("--val-images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                     help="The folder of its images; else that of --images."),
    ] = None  # fmt: skip
    shots: Annotated[
        int | None,
        typer.Option("--shots", metavar="N", min=1, rich_help_panel=TRAIN, show_default=False,
                     help="Train on N images per class."),
    ] = None  # fmt: skip
    shot_seed: Annotated[
        int | None,
        typer.Option("--shot-seed", metavar="N", min=0, rich_help_panel=TRAIN, show_default=False,
                     help="Which of them, 3 by default; 30 and 300 are usual too."),
    ] = None  # fmt: skip
    keep_check: Annotated[
        str | None,
        typer.Option("--keep-check", metavar="FILE|scenes", rich_help_panel=TRAIN, show_default=False,
                     help="COCO json that shows what is forgotten; or scenes, drawn ones, which glip-mini knows."),
    ] = None  # fmt: skip
    keep_images: Annotated[
        Path | None,
        typer.Option("--keep-images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                     help="The folder of its images; else beside it."),
    ] = None  # fmt: skip
    keep_limit: Annotated[
        int | None,
        typer.Option("--keep-limit", metavar="N", min=1, rich_help_panel=TRAIN, show_default=False,
                     help="Only its first N images."),
    ] = None  # fmt: skip

    def given(self) -> dict[str, Any]:
        return given(**vars(self))


@dataclass(frozen=True)
class TuningFlags:
    """What a person changes of the recipe of a mode; the names are those of `Recipe`."""

    mode: Annotated[
        str | None,
        typer.Option("--mode", metavar="MODE", rich_help_panel=TUNING, show_default=False,
                     help="What trains: full (default), head, prompt (an offset to the text) or lora."),
    ] = None  # fmt: skip
    optimizer: Annotated[
        str | None,
        typer.Option("--optimizer", metavar="NAME", rich_help_panel=TUNING, show_default=False,
                     help="adamw; or muon for matrices, adamw for the rest."),
    ] = None  # fmt: skip
    lr: Annotated[
        float | None,
        typer.Option("--lr", metavar="RATE", rich_help_panel=TUNING, show_default=False,
                     help="Learning rate: 1e-4; prompt 0.05, lora 1e-3; glip-mini, -nano: docs."),
    ] = None  # fmt: skip
    language_lr: Annotated[
        float | None,
        typer.Option("--language-lr", metavar="RATE", rich_help_panel=TUNING, show_default=False,
                     help="Of the text side: 1e-5; lora 1e-4; more: docs."),
    ] = None  # fmt: skip
    muon_lr: Annotated[
        float | None,
        typer.Option("--muon-lr", metavar="RATE", rich_help_panel=TUNING, show_default=False,
                     help="Of what Muon moves; else --lr."),
    ] = None  # fmt: skip
    level_factor: Annotated[
        float | None,
        typer.Option("--level-factor", metavar="X", rich_help_panel=TUNING, show_default=False,
                     help="How much faster the logits' level learns: 2."),
    ] = None  # fmt: skip
    weight_decay: Annotated[
        float | None,
        typer.Option("--weight-decay", metavar="X", rich_help_panel=TUNING, show_default=False,
                     help="0.05; prompt 0.25. Biases have none."),
    ] = None  # fmt: skip
    freeze_backbone_at: Annotated[
        int | None,
        typer.Option("--freeze-backbone-at", metavar="N", rich_help_panel=TUNING, show_default=False,
                     help="Full: 2 keeps the patches and the first stage, 5 all stages, -1 none."),
    ] = None  # fmt: skip
    lora_rank: Annotated[
        int | None,
        typer.Option("--lora-rank", metavar="N", rich_help_panel=TUNING, show_default=False, help="4 by itself."),
    ] = None  # fmt: skip
    lora_alpha: Annotated[
        float | None,
        typer.Option("--lora-alpha", metavar="X", rich_help_panel=TUNING, show_default=False, help="Twice the rank."),
    ] = None  # fmt: skip
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", metavar="N", rich_help_panel=TUNING, show_default=False,
                     help="At most 200 with --val, 12 without."),
    ] = None  # fmt: skip
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="S,S", rich_help_panel=TUNING, show_default=False,
                     help="Shorter sides, one at random; else 480,560,...,800, for glip-mini 96 to 160."),
    ] = None  # fmt: skip
    max_size: Annotated[
        int | None,
        typer.Option("--max-size", metavar="PIXELS", rich_help_panel=TUNING, show_default=False,
                     help="Limit of the longer side: 1333; glip-mini 320."),
    ] = None  # fmt: skip
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", "-b", metavar="N", rich_help_panel=TUNING, show_default=False,
                     help="Images at once, 4; halved where memory is short."),
    ] = None  # fmt: skip
    accumulation: Annotated[
        int | None,
        typer.Option("--accumulation", metavar="N", rich_help_panel=TUNING, show_default=False,
                     help="Batches per step."),
    ] = None  # fmt: skip
    warmup: Annotated[
        int | None,
        typer.Option("--warmup", metavar="STEPS", rich_help_panel=TUNING, show_default=False,
                     help="Steps in which the rates rise."),
    ] = None  # fmt: skip
    schedule: Annotated[
        str | None,
        typer.Option("--schedule", metavar="NAME", rich_help_panel=TUNING, show_default=False,
                     help="auto: rates fall when AP stands still; steps; cosine; constant."),
    ] = None  # fmt: skip
    steps: Annotated[
        str | None,
        typer.Option("--steps", metavar="X,Y", rich_help_panel=TUNING, show_default=False,
                     help="Shares of the training at which rates fall: 0.67,0.89."),
    ] = None  # fmt: skip
    step_patience: Annotated[
        int | None,
        typer.Option("--step-patience", metavar="N", rich_help_panel=TUNING, show_default=False,
                     help="Epochs without a better AP before rates fall: 3."),
    ] = None  # fmt: skip
    patience: Annotated[
        int | None,
        typer.Option("--patience", metavar="N", rich_help_panel=TUNING, show_default=False,
                     help="Epochs below the best AP before the end: 8."),
    ] = None  # fmt: skip
    clip: Annotated[
        float | None,
        typer.Option("--clip", metavar="X", rich_help_panel=TUNING, show_default=False,
                     help="Largest norm of the gradients: 1."),
    ] = None  # fmt: skip
    bf16: Annotated[
        bool | None,
        typer.Option("--bf16/--no-bf16", rich_help_panel=TUNING, show_default=False,
                     help="bfloat16 where it suffices; on by itself on GPUs that have it."),
    ] = None  # fmt: skip
    ema: Annotated[
        float | None,
        typer.Option("--ema", metavar="DECAY", rich_help_panel=TUNING, show_default=False,
                     help="Keep a moving average of the weights, as 0.999."),
    ] = None  # fmt: skip
    checkpointing: Annotated[
        bool | None,
        typer.Option("--checkpointing", rich_help_panel=TUNING, show_default=False,
                     help="Compute activations twice: far less memory."),
    ] = None  # fmt: skip
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", rich_help_panel=TUNING, show_default=False,
                     help="Of all that is random: 10."),
    ] = None  # fmt: skip
    save_every: Annotated[
        int | None,
        typer.Option("--save-every", metavar="STEPS", rich_help_panel=HOW, show_default=False,
                     help="Steps between states to resume from: 500, and each epoch's end."),
    ] = None  # fmt: skip

    def given(self) -> dict[str, Any]:
        """Raises UsageError."""
        from glip_cli.finetune.config import parse_sides, parse_steps

        flags = given(**vars(self))
        if self.size:
            flags["size"] = parse_sides(self.size)
        if self.steps:
            flags["steps"] = parse_steps(self.steps)
        return flags


def given(**flags: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in flags.items() if value is not None and value != []}
