"""The flags of `glip annotate` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glip_cli.cli.flags import KEEP, OUTPUT

CAPTIONS = "Captions"

Captions = Annotated[
    Path | None,
    typer.Option("--captions", metavar="PATH", rich_help_panel=CAPTIONS, show_default=False,
                 help="jsonl or csv of image and caption, a folder of .txt beside images, or a webdataset tar."),
]  # fmt: skip
CaptionedImages = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", rich_help_panel=CAPTIONS, show_default=False,
                 help="The folder of the images; else that of the captions."),
]  # fmt: skip
TeacherThreshold = Annotated[
    float,
    typer.Option("--threshold", metavar="SCORE", rich_help_panel=KEEP, help="Keep boxes that score higher."),
]  # fmt: skip
AnnotationFormat = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="FORMAT", rich_help_panel=OUTPUT, show_default=False,
                 help="grounding (default), labelstudio, coco, yolo, voc, csv; repeatable, or with commas."),
]  # fmt: skip
