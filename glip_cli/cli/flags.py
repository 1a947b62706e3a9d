"""The flags that several commands share, each written once; those that go together are the fields of a dataclass.

A command takes such a dataclass as one argument (`glip_cli.cli.command`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from glip_cli.cli.command import Fields, Values, place_of, text_of
from glip_cli.options import DetectOptions, PromptRequest
from glip_cli.utils.option import HOW, KEEP, MODEL, OUTPUT, WHAT, Option, option

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
    Option(
        "glip-t (default), glip-l, glip-nano (built in), ...: glip weights list.",
        MODEL,
        "NAME",
        ("--model", "-m"),
        parser=text_of,
    ),
]
Weights = Annotated[Path | None, Option("A checkpoint: safetensors, mmdet .pth or official .pth.", MODEL, "FILE")]
Adapter = Annotated[Path | None, Option("Folder that glip finetune wrote for the model.", MODEL, "DIR")]
Bert = Annotated[Path | None, Option("Folder with another vocab.txt or tokenizer.json.", MODEL, "DIR")]
Onnx = Annotated[Path | None, Option("A file of glip export, run by onnxruntime.", MODEL, "FILE")]
Device = Annotated[str, Option("auto, cpu, cuda, cuda:1 or mps.", MODEL, "DEVICE")]
Compile = Annotated[bool, Option("Use torch.compile: slow start, for many images of few shapes.", MODEL)]
AutoBatchSize = Annotated[
    int | None,
    Option("Images at once: 1 on a CPU, 8 on a GPU; halved when memory is short.", MODEL, "N", ("--batch-size", "-b")),
]
_OUT_DIR = ("--out-dir", "-o")
OutDir = Annotated[Path, Option("Folder of the results.", OUTPUT, "DIR", _OUT_DIR, show_default=True)]
OutDirOrUrl = Annotated[
    str,
    Option(
        "Folder of the results, of this machine, or s3:// or gs://BUCKET/FOLDER.", OUTPUT, "DIR", _OUT_DIR,
        parser=place_of, show_default=True,
    ),
]  # fmt: skip
Json = Annotated[bool, Option("Print one JSON line per image on stdout, and nothing else.", OUTPUT, flags=("--json",))]
WithScores = Annotated[bool, Option("YOLO lines with the score as a sixth column.", OUTPUT)]
SaveCrop = Annotated[bool, Option("Also save a crop of each box.", OUTPUT)]
Grid = Annotated[bool, Option("Save grid.jpg: the best and the doubtful images on one page.", OUTPUT)]
Palette = Annotated[str, Option("bright, okabe-ito, or red,#00ff00.", OUTPUT, "NAME")]
Overwrite = Annotated[bool, Option("Start over in a folder that holds another run.", HOW)]
Workers = Annotated[
    int | None,
    Option("Threads that read images (default: one per core), or ask --server (4).", HOW, "N", min=1, max=1000),
]
Quiet = Annotated[bool, Option("Print errors only.", HOW, flags=("--quiet", "-q"))]
Offline = Annotated[bool, Option("Never use the network.", HOW)]
Debug = Annotated[bool, Option("Show the traceback of an error.", HOW)]
Thresholds = Annotated[Path | None, Option("Thresholds of labels, from glip eval --calibrate.", KEEP, "FILE")]


# --- flags that go together


@dataclass(frozen=True)
class PromptFlags(PromptRequest):
    """The prompt: labels, or a sentence and which parts of it."""

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
class AnyModelFlags(ModelFlags):
    """Which model, in any form that it may have."""

    onnx: Onnx = None
    compile: Compile = False


@dataclass(frozen=True)
class ServerFlags:
    """A server of `glip serve` in the place of a model."""

    server: str | None = option(
        None, "Ask a running glip serve, such as http://127.0.0.1:8000.", MODEL, "URL", parser=text_of
    )
    token: str | None = option(None, "What that server's --token asks for.", MODEL, "TOKEN")


@dataclass(frozen=True)
class RunFlags:
    """How a run in a folder starts and resumes."""

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
