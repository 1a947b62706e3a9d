"""The flags of `glip finetune` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from glip_cli.cli.command import Fields, Values
from glip_cli.training.config import TrainConfig
from glip_cli.utils.option import HOW, MODEL, TRAIN

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

    train: Annotated[
        list[Path] | None,
        typer.Option("--train", metavar="PATH", rich_help_panel=TRAIN, show_default=False,
                     help="COCO or grounding json, a folder of YOLO, VOC, labelme ..., or scenes:N; repeatable."),
    ] = None  # fmt: skip
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                     help="Folder of the images, for all --train or one for each (default: beside them)."),
    ] = None  # fmt: skip
    share: Annotated[
        list[float] | None,
        typer.Option("--share", metavar="X", rich_help_panel=TRAIN, show_default=False,
                     help="Passes through each --train per epoch, one for each."),
    ] = None  # fmt: skip
    val: Annotated[
        Path | None,
        typer.Option("--val", metavar="PATH", rich_help_panel=TRAIN, show_default=False,
                     help="Validate on it after each epoch; keep the best, stop early."),
    ] = None  # fmt: skip
    val_images: Annotated[
        Path | None,
        typer.Option("--val-images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                     help="Folder of its images (default: that of --images)."),
    ] = None  # fmt: skip
    shots: Annotated[
        int | None,
        typer.Option("--shots", metavar="N", min=1, rich_help_panel=TRAIN, show_default=False,
                     help="Few-shot: train on N images per class."),
    ] = None  # fmt: skip
    shot_seed: Annotated[
        int | None,
        typer.Option("--shot-seed", metavar="N", min=0, rich_help_panel=TRAIN, show_default=False,
                     help="Seed of the few-shot choice: 3; 30 and 300 are usual too."),
    ] = None  # fmt: skip
    keep_check: Annotated[
        str | None,
        typer.Option("--keep-check", metavar="FILE|scenes", rich_help_panel=TRAIN, show_default=False,
                     help="COCO json that shows what is forgotten; or scenes (drawn, for glip-mini)."),
    ] = None  # fmt: skip
    keep_images: Annotated[
        Path | None,
        typer.Option("--keep-images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                     help="Folder of its images (default: beside it)."),
    ] = None  # fmt: skip
    keep_limit: Annotated[
        int | None,
        typer.Option("--keep-limit", metavar="N", min=1, rich_help_panel=TRAIN, show_default=False,
                     help="Use its first N images only."),
    ] = None  # fmt: skip

    words: Annotated[
        Path | None,
        typer.Option("--words", metavar="FILE", rich_help_panel=TRAIN, show_default=False,
                     help='Ask for classes in other words: {"container": "shipping container"}, JSON or TOML.'),
    ] = None  # fmt: skip

    def given(self) -> dict[str, Any]:
        return given(**vars(self))


Tuning = Annotated[Values, Fields(TrainConfig, given=True)]


def given(**flags: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in flags.items() if value is not None and value != []}
