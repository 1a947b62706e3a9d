"""The flags of `glip eval` alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from glip_cli.utils.option import OUTPUT

DATA = "Data"


@dataclass(frozen=True)
class DatasetFlags:
    """Which data, how much of it, and how it is asked and counted."""

    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", show_default=False,
                       help="coco (any COCO json), lvis-minival, lvis-val, odinw-13, odinw-35, flickr30k or scenes."),
    ]  # fmt: skip
    gt: Annotated[
        Path | None,
        typer.Option("--gt", metavar="FILE", rich_help_panel=DATA, show_default=False,
                     help="Annotations: COCO json, a folder of YOLO or Pascal VOC, or a csv."),
    ] = None  # fmt: skip
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", rich_help_panel=DATA, show_default=False,
                     help="Folder of the images (default: beside the annotations)."),
    ] = None  # fmt: skip
    dt: Annotated[
        Path | None,
        typer.Option("--dt", metavar="FILE", rich_help_panel=DATA, show_default=False,
                     help="Score this file of results; no model is loaded."),
    ] = None  # fmt: skip
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", rich_help_panel=DATA, show_default=False,
                     help="Folder of ODinW or Flickr30k."),
    ] = None  # fmt: skip
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", rich_help_panel=DATA, show_default=False,
                     help="test, val or minival; else test of Flickr30k, the published one of ODinW, val of a folder."),
    ] = None  # fmt: skip
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, rich_help_panel=DATA, show_default=False,
                     help="Only the first N images."),
    ] = None  # fmt: skip
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", rich_help_panel=DATA, help="Leave out images that do not exist.")
    ] = False
    capped: Annotated[
        bool, typer.Option("--capped", rich_help_panel=DATA, help="LVIS: 300 boxes per image instead of Fixed AP.")
    ] = False
    packed: Annotated[
        bool,
        typer.Option("--packed", rich_help_panel=DATA,
                     help="LVIS: as many names in a prompt as fit, instead of 40; faster."),
    ] = False  # fmt: skip
    merged: Annotated[
        bool, typer.Option("--merged", rich_help_panel=DATA, help="Flickr30k: merged boxes instead of any box.")
    ] = False


@dataclass(frozen=True)
class ReportFlags:
    """What is made of the numbers."""

    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="DIR", rich_help_panel=OUTPUT, show_default=False,
                     help="--out-dir of an earlier eval: show what changed."),
    ] = None  # fmt: skip
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", metavar="FILE", rich_help_panel=OUTPUT, show_default=False,
                     help="Write the best threshold of each label, for --thresholds."),
    ] = None  # fmt: skip
    evalai: Annotated[bool, typer.Option("--evalai", rich_help_panel=OUTPUT, help="ODinW: also write evalai.json.")] = (
        False
    )
    no_report: Annotated[
        bool, typer.Option("--no-report", rich_help_panel=OUTPUT, help="Do not write report.html.")
    ] = False
