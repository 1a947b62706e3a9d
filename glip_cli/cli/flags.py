"""The flags that several commands share, each written once; those that go together are the fields of a dataclass.

A command takes such a dataclass as one argument (`glip_cli.cli.command`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from glip_cli.cli.command import Fields, Values
from glip_cli.options import DetectOptions, PromptRequest
from glip_cli.utils.option import HOW, KEEP, MODEL, OUTPUT, WHAT, option

ALIASES = {
    "--text": "--texts",
    "--labels": "--texts",
    "--pred-score-thr": "--threshold",
    "--score-thr": "--threshold",
    "--conf": "--threshold",
    "--box-threshold": "--threshold",
    "--max-det": "--top-k",
    "--iou": "--nms-iou",
    "--print-result": "--json",
}
"""Names known from mmdetection, GroundingDINO and ultralytics. Accepted, and kept out of the help."""

OPTIONAL_VALUES = {"--ray": "auto"}
"""Flags that may stand alone, and what they mean then; a value of theirs needs the equals sign."""

FORMATS = "coco, coco-results, yolo, voc, cvat, labelstudio, mmdet, csv, parquet, html"
"""For other tools, as --format names them."""

# --- flags that a command takes by themselves


Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT...", show_default=False,
                   help="Image, video, folder (recursive), glob, URL (https, s3, gs, hf), @list.txt, - for stdin."),
]  # fmt: skip
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME", rich_help_panel=MODEL, show_default=False,
                 help="glip-t (default), glip-l, glip-nano (built in), ...: glip weights list."),
]  # fmt: skip
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", rich_help_panel=MODEL, show_default=False,
                 help="A checkpoint: safetensors, mmdet .pth or official .pth."),
]  # fmt: skip
Adapter = Annotated[
    Path | None,
    typer.Option("--adapter", metavar="DIR", rich_help_panel=MODEL, show_default=False,
                 help="Folder that glip finetune wrote for the model."),
]  # fmt: skip
Bert = Annotated[
    Path | None,
    typer.Option("--bert", metavar="DIR", rich_help_panel=MODEL, show_default=False,
                 help="Folder with another vocab.txt or tokenizer.json."),
]  # fmt: skip
Onnx = Annotated[
    Path | None,
    typer.Option("--onnx", metavar="FILE", rich_help_panel=MODEL, show_default=False,
                 help="A file of glip export, run by onnxruntime."),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option("--device", metavar="DEVICE", rich_help_panel=MODEL, show_default=False,
                 help="auto, cpu, cuda, cuda:1 or mps."),
]  # fmt: skip
Compile = Annotated[
    bool,
    typer.Option("--compile", rich_help_panel=MODEL,
                 help="Use torch.compile: slow start, for many images of few shapes."),
]  # fmt: skip
AutoBatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", "-b", metavar="N", rich_help_panel=MODEL, show_default=False,
                 help="Images at once: 1 on a CPU, 8 on a GPU; halved when memory is short."),
]  # fmt: skip
OutDir = Annotated[
    Path, typer.Option("--out-dir", "-o", metavar="DIR", rich_help_panel=OUTPUT, help="Folder of the results.")
]
OutDirOrUrl = Annotated[
    str,
    typer.Option("--out-dir", "-o", metavar="DIR", rich_help_panel=OUTPUT,
                 help="Folder of the results, of this machine, or s3:// or gs://BUCKET/FOLDER."),
]  # fmt: skip
Json = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=OUTPUT,
                 help="Print one JSON line per image on stdout, and nothing else."),
]  # fmt: skip
WithScores = Annotated[
    bool, typer.Option("--with-scores", rich_help_panel=OUTPUT, help="YOLO lines with the score as a sixth column.")
]
SaveCrop = Annotated[bool, typer.Option("--save-crop", rich_help_panel=OUTPUT, help="Also save a crop of each box.")]
Grid = Annotated[
    bool,
    typer.Option("--grid", rich_help_panel=OUTPUT, help="Save grid.jpg: the best and the doubtful images on one page."),
]
Palette = Annotated[
    str,
    typer.Option("--palette", metavar="NAME", rich_help_panel=OUTPUT, show_default=False,
                 help="bright, okabe-ito, or red,#00ff00."),
]  # fmt: skip
Overwrite = Annotated[
    bool, typer.Option("--overwrite", rich_help_panel=HOW, help="Start over in a folder that holds another run.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, max=1000, rich_help_panel=HOW, show_default=False,
                 help="Threads that read images (default: one per core), or ask --server (4)."),
]  # fmt: skip
Quiet = Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=HOW, help="Print errors only.")]
Offline = Annotated[bool, typer.Option("--offline", rich_help_panel=HOW, help="Never use the network.")]
Debug = Annotated[bool, typer.Option("--debug", rich_help_panel=HOW, help="Show the traceback of an error.")]


# --- flags that go together


@dataclass(frozen=True)
class PromptFlags(PromptRequest):
    """What to find: labels, or a sentence and which parts of it."""

    texts: list[str] | None = option(
        None,
        '"cat . remote .", "cat, remote", "words = class", @labels.txt, "$: coco"; repeated: one label each.',
        WHAT,
        "LABELS",
        flags=("--texts", "-t"),
    )
    custom_entities: bool = option(
        False, "Read --texts as labels even if they look like a caption.", WHAT, flags=("--custom-entities", "-c")
    )
    caption: str | None = option(
        None, r"A sentence; its noun phrases, or its \[bracketed] words, are the labels.", WHAT, "SENTENCE"
    )
    phrases: list[str] | None = option(None, "Words of the caption that are a label; repeatable.", WHAT, "WORDS")
    tokens_positive: str | None = option(
        None, "Character spans of the labels: [[[0,5]],[[9,15]]].", WHAT, "SPANS", flags=("--tokens-positive", "-p")
    )


Beside = Annotated[Values, Fields(DetectOptions, ("negatives", "chunked_size", "knowledge"))]
Filters = Annotated[
    Values, Fields(DetectOptions, ("threshold", "class_thresholds", "top_k", "nms_iou", "agnostic_nms"))
]
NmsIou = Annotated[Values, Fields(DetectOptions, ("nms_iou",))]
BatchSize = Annotated[Values, Fields(DetectOptions, ("batch_size",))]
Knowledge = Annotated[Values, Fields(DetectOptions, ("knowledge",))]
Size = Annotated[Values, Fields(DetectOptions, ("size",))]
Resizing = Annotated[Values, Fields(DetectOptions, ("size", "tile", "overlap", "tta"))]
Thresholds = Annotated[
    Path | None,
    typer.Option("--thresholds", metavar="FILE", rich_help_panel=KEEP, show_default=False,
                 help="Thresholds of labels, from glip eval --calibrate."),
]  # fmt: skip


@dataclass(frozen=True)
class FrameFlags:
    """Which frames of a video, of a file of pages or of an animation."""

    frames: str | None = option(None, "Read every page and frame of images, and videos in folders.", HOW, "all")
    every: int | None = option(None, "Read one frame in N; implies --frames all.", HOW, "N", min=1)
    track: bool = option(False, "Number the things in each video, with ByteTrack.", HOW)


@dataclass(frozen=True)
class ModelSourceFlags:
    """Which model."""

    model: Model = None
    weights: Weights = None
    adapter: Adapter = None
    bert: Bert = None


@dataclass(frozen=True)
class ModelFlags(ModelSourceFlags):
    """Which model, and how it is held: arguments of `Detector.load`."""

    device: Device = "auto"
    dtype: str = option("auto", "auto (float32), bfloat16 or float16.", MODEL, "DTYPE")


@dataclass(frozen=True)
class ServerFlags:
    """A server of `glip serve` in the place of a model."""

    server: str | None = option(None, "Ask a running glip serve, such as http://127.0.0.1:8000.", MODEL, "URL")
    token: str | None = option(None, "What that server's --token asks for.", MODEL, "TOKEN")


@dataclass(frozen=True)
class RunFlags:
    """How a run in a folder begins and resumes."""

    overwrite: Overwrite = False
    resume: Annotated[bool, typer.Option("--resume", hidden=True, help="Accepted: a run always resumes.")] = False
    retry_failed: bool = option(False, "Retry images whose record is an error.", HOW)
    workers: Workers = None
    shard: str | None = option(
        None, "Do part I of N, counted from 0: 0/8 to 7/8 (default: $RANK of $WORLD_SIZE).", HOW, "I/N"
    )


@dataclass(frozen=True)
class CommonFlags:
    """Flags of every command that uses a model."""

    quiet: Quiet = False
    offline: Offline = False
    config: Path | None = option(None, "TOML with any of these flags; GLIP_... variables override it.", HOW, "FILE")
    debug: Debug = False
