"""The flags of `glip finetune` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from glip_cli.cli.command import Fields, Values
from glip_cli.training.config import TrainConfig
from glip_cli.utils.option import HOW, MODEL, TRAIN, option

Init = Annotated[
    str | None,
    typer.Option("--init", metavar="random|pretrained|FILE", rich_help_panel=MODEL, show_default=False,
                 help="Start from random weights; from ImageNet's Swin and BERT; or from the image side of FILE."),
]  # fmt: skip
GoOn = Annotated[
    bool,
    typer.Option("--resume", rich_help_panel=HOW, help="Resume the training in --out-dir; --epochs N may extend it."),
]
Loaders = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=0, rich_help_panel=HOW, show_default=False,
                 help="Processes that load batches; 0: the main process."),
]  # fmt: skip


@dataclass(frozen=True)
class DataFlags:
    """What is trained and measured on."""

    train: list[Path] | None = option(
        None, "COCO or grounding json, a folder of YOLO, VOC, labelme ..., or scenes:N; repeatable.", TRAIN, "PATH"
    )
    images: list[Path] | None = option(
        None, "Folder of the images, for all --train or one for each (default: beside them).", TRAIN, "DIR"
    )
    share: list[float] | None = option(None, "Passes through each --train per epoch, one for each.", TRAIN, "X")
    val: Path | None = option(None, "Validate on it after each epoch; keep the best, stop early.", TRAIN, "PATH")
    val_images: Path | None = option(None, "Folder of its images (default: that of --images).", TRAIN, "DIR")
    shots: int | None = option(None, "Few-shot: train on N images per class.", TRAIN, "N", min=1)
    shot_seed: int | None = option(None, "Seed of the few-shot choice: 3; 30 and 300 are usual too.", TRAIN, "N", min=0)
    keep_check: str | None = option(
        None, "COCO json that shows what is forgotten; or scenes (drawn, for glip-mini).", TRAIN, "FILE|scenes"
    )
    keep_images: Path | None = option(None, "Folder of its images (default: beside it).", TRAIN, "DIR")
    keep_limit: int | None = option(None, "Use its first N images only.", TRAIN, "N", min=1)
    words: Path | None = option(
        None, 'Ask for classes in other words: {"container": "shipping container"}, JSON or TOML.', TRAIN, "FILE"
    )

    def given(self) -> dict[str, Any]:
        return given(**vars(self))


Tuning = Annotated[Values, Fields(TrainConfig, given=True)]


def given(**flags: object) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in flags.items() if value is not None and value != []}
