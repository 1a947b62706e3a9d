"""The flags of `glip eval` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glip_cli.cli.flags import OUTPUT

DATA = "Data"

Dataset = Annotated[
    str,
    typer.Argument(metavar="DATASET", show_default=False,
                   help="coco (any COCO json), lvis-minival, lvis-val, odinw-13, odinw-35, flickr30k or scenes."),
]  # fmt: skip
GroundTruth = Annotated[
    Path | None,
    typer.Option("--gt", metavar="FILE", rich_help_panel=DATA, show_default=False, help="The annotations: COCO json."),
]
Images = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", rich_help_panel=DATA, show_default=False,
                 help="The folder of the images; else beside the annotations."),
]  # fmt: skip
Results = Annotated[
    Path | None,
    typer.Option("--dt", metavar="FILE", rich_help_panel=DATA, show_default=False,
                 help="Score these results instead of a model."),
]  # fmt: skip
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", rich_help_panel=DATA, show_default=False,
                 help="The folder of ODinW or Flickr30k."),
]  # fmt: skip
Split = Annotated[
    str | None,
    typer.Option(metavar="NAME", rich_help_panel=DATA, show_default=False,
                 help="test, val or minival; else test of Flickr30k, the published one of ODinW."),
]  # fmt: skip
Limit = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, rich_help_panel=DATA, show_default=False, help="Only the first N images."),
]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", rich_help_panel=DATA, help="Leave out images that are not there.")
]
Capped = Annotated[
    bool, typer.Option("--capped", rich_help_panel=DATA, help="LVIS: 300 boxes per image instead of Fixed AP.")
]
Packed = Annotated[
    bool,
    typer.Option("--packed", rich_help_panel=DATA,
                 help="LVIS: as many names in a prompt as fit, instead of 40; faster."),
]  # fmt: skip
Merged = Annotated[
    bool, typer.Option("--merged", rich_help_panel=DATA, help="Flickr30k: merged boxes instead of any box.")
]
Compare = Annotated[
    Path | None,
    typer.Option(metavar="DIR", rich_help_panel=OUTPUT, show_default=False,
                 help="Another eval's --out-dir: show what changed."),
]  # fmt: skip
Calibrate = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=OUTPUT, show_default=False,
                 help="Write each label's best threshold, for --thresholds."),
]  # fmt: skip
EvalAi = Annotated[bool, typer.Option("--evalai", rich_help_panel=OUTPUT, help="ODinW: also write evalai.json.")]
NoReport = Annotated[bool, typer.Option("--no-report", rich_help_panel=OUTPUT, help="Write no report.html.")]
