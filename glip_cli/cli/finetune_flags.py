"""The flags of `glip finetune` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glip_cli.cli.flags import HOW, MODEL

TRAIN, TUNING = "Training data", "Tuning"

Train = Annotated[
    list[Path] | None,
    typer.Option("--train", metavar="PATH", rich_help_panel=TRAIN, show_default=False,
                 help="COCO or grounding json, a folder of YOLO or Pascal VOC, or scenes:N; repeatable."),
]  # fmt: skip
TrainImages = Annotated[
    list[Path] | None,
    typer.Option("--images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                 help="The folder of the images, for all --train or for each; else beside them."),
]  # fmt: skip
Share = Annotated[
    list[float] | None,
    typer.Option("--share", metavar="X", rich_help_panel=TRAIN, show_default=False,
                 help="How often an epoch goes through a --train: one for each."),
]  # fmt: skip
Val = Annotated[
    Path | None,
    typer.Option("--val", metavar="PATH", rich_help_panel=TRAIN, show_default=False,
                 help="Validate on it after each epoch: keep the best, end when it falls."),
]  # fmt: skip
ValImages = Annotated[
    Path | None,
    typer.Option("--val-images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                 help="The folder of its images; else that of --images."),
]  # fmt: skip
Shots = Annotated[
    int | None,
    typer.Option("--shots", metavar="N", min=1, rich_help_panel=TRAIN, show_default=False,
                 help="Train on N images per class."),
]  # fmt: skip
ShotSeed = Annotated[
    int, typer.Option("--shot-seed", metavar="N", min=0, rich_help_panel=TRAIN, help="Which of them: 3, 30 or 300.")
]
KeepCheck = Annotated[
    str | None,
    typer.Option("--keep-check", metavar="FILE", rich_help_panel=TRAIN, show_default=False,
                 help="COCO json that shows what is forgotten; else drawn scenes, for glip-mini; or none."),
]  # fmt: skip
KeepImages = Annotated[
    Path | None,
    typer.Option("--keep-images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                 help="The folder of its images; else beside it."),
]  # fmt: skip
KeepLimit = Annotated[
    int | None,
    typer.Option("--keep-limit", metavar="N", min=1, rich_help_panel=TRAIN, show_default=False,
                 help="Only its first N images."),
]  # fmt: skip
Init = Annotated[
    str | None,
    typer.Option("--init", metavar="random|FILE", rich_help_panel=MODEL, show_default=False,
                 help="Begin with random weights, or with the image side of FILE and all else random."),
]  # fmt: skip

Mode = Annotated[
    str,
    typer.Option("--mode", metavar="MODE", rich_help_panel=TUNING,
                 help="What trains: full, head, prompt (an offset to the text) or lora."),
]  # fmt: skip
Lr = Annotated[
    float | None,
    typer.Option("--lr", metavar="RATE", rich_help_panel=TUNING, show_default=False,
                 help="Learning rate: 1e-4; prompt 0.05, lora 1e-3."),
]  # fmt: skip
Optimizer = Annotated[
    str | None,
    typer.Option("--optimizer", metavar="NAME", rich_help_panel=TUNING, show_default=False,
                 help="adamw; or muon for matrices, adamw for the rest."),
]  # fmt: skip
MuonLr = Annotated[
    float | None,
    typer.Option("--muon-lr", metavar="RATE", rich_help_panel=TUNING, show_default=False,
                 help="Of what Muon moves; else --lr."),
]  # fmt: skip
LevelFactor = Annotated[
    float | None,
    typer.Option("--level-factor", metavar="X", rich_help_panel=TUNING, show_default=False,
                 help="How much faster the logits' level learns: 2."),
]  # fmt: skip
LanguageLr = Annotated[
    float | None,
    typer.Option("--language-lr", metavar="RATE", rich_help_panel=TUNING, show_default=False,
                 help="Of BERT: 1e-5; lora 1e-4."),
]  # fmt: skip
WeightDecay = Annotated[
    float | None,
    typer.Option("--weight-decay", metavar="X", rich_help_panel=TUNING, show_default=False,
                 help="0.05; prompt 0.25. Biases have none."),
]  # fmt: skip
FreezeBackboneAt = Annotated[
    int | None,
    typer.Option("--freeze-backbone-at", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="Full: 2 keeps the patches and the first stage, 5 all stages, -1 none."),
]  # fmt: skip
LoraRank = Annotated[
    int | None,
    typer.Option("--lora-rank", metavar="N", rich_help_panel=TUNING, show_default=False, help="4 by itself."),
]
LoraAlpha = Annotated[
    float | None,
    typer.Option("--lora-alpha", metavar="X", rich_help_panel=TUNING, show_default=False, help="Twice the rank."),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="At most 200 with --val, 12 without."),
]  # fmt: skip
TrainBatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", "-b", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="Images at once, 4; halved where memory is short."),
]  # fmt: skip
Sides = Annotated[
    str | None,
    typer.Option("--size", metavar="S,S", rich_help_panel=TUNING, show_default=False,
                 help="Shorter sides, one at random; else 480,560,...,800, for glip-mini 96 to 160."),
]  # fmt: skip
MaxSize = Annotated[
    int | None,
    typer.Option("--max-size", metavar="PIXELS", rich_help_panel=TUNING, show_default=False,
                 help="Limit of the longer side: 1333; glip-mini 320."),
]  # fmt: skip
Accumulation = Annotated[
    int | None,
    typer.Option("--accumulation", metavar="N", rich_help_panel=TUNING, show_default=False, help="Batches per step."),
]
Warmup = Annotated[
    int | None,
    typer.Option("--warmup", metavar="STEPS", rich_help_panel=TUNING, show_default=False,
                 help="Steps in which the rates rise."),
]  # fmt: skip
Schedule = Annotated[
    str | None,
    typer.Option("--schedule", metavar="NAME", rich_help_panel=TUNING, show_default=False,
                 help="auto: rates fall when AP stands still; steps; cosine; constant."),
]  # fmt: skip
Steps = Annotated[
    str | None,
    typer.Option("--steps", metavar="X,Y", rich_help_panel=TUNING, show_default=False,
                 help="Shares of the training at which rates fall: 0.67,0.89."),
]  # fmt: skip
StepPatience = Annotated[
    int | None,
    typer.Option("--step-patience", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="Epochs without a better AP before rates fall: 3."),
]  # fmt: skip
Patience = Annotated[
    int | None,
    typer.Option("--patience", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="Epochs below the best AP before the end: 8."),
]  # fmt: skip
Clip = Annotated[
    float | None,
    typer.Option("--clip", metavar="X", rich_help_panel=TUNING, show_default=False,
                 help="Largest norm of the gradients: 1."),
]  # fmt: skip
Bf16 = Annotated[
    bool | None,
    typer.Option("--bf16/--no-bf16", rich_help_panel=TUNING, show_default=False,
                 help="bfloat16 where it suffices; on by itself on GPUs that have it."),
]  # fmt: skip
Ema = Annotated[
    float | None,
    typer.Option("--ema", metavar="DECAY", rich_help_panel=TUNING, show_default=False,
                 help="Keep a moving average of the weights, as 0.999."),
]  # fmt: skip
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", rich_help_panel=TUNING, help="Compute activations twice: far less memory.")
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", rich_help_panel=TUNING, show_default=False, help="Of all that is random: 10."),
]
SaveEvery = Annotated[
    int | None,
    typer.Option("--save-every", metavar="STEPS", rich_help_panel=HOW, show_default=False,
                 help="Steps between states to resume from: 500, and each epoch's end."),
]  # fmt: skip
GoOn = Annotated[bool, typer.Option("--resume", rich_help_panel=HOW, help="Go on with the training in --out-dir.")]
Loaders = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=0, rich_help_panel=HOW, show_default=False,
                 help="Processes that prepare batches; 0: none but this."),
]  # fmt: skip
