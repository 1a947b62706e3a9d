"""The flags that several commands share, each written once; those that go together are the fields of a dataclass.

A command takes such a dataclass as one argument (`glip_cli.cli.command`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo

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


def flag(
    panel: str, help: str, names: str, metavar: str | None = None, *,
    show_default: bool = False, min: int | None = None, max: int | None = None,
    parse: Callable[[str], object] | None = None,
) -> OptionInfo:  # fmt: skip
    """A flag under a heading of the help, by its names; `min` and `max` are of its number, `parse` makes its value."""
    found: OptionInfo = typer.Option(*names.split(), metavar=metavar, rich_help_panel=panel, help=help,
                                     show_default=show_default, min=min, max=max, parser=parse)  # fmt: skip
    return found


def _named(folder: str | Path) -> str:
    """Raises BadParameter for "", of which a path is the current folder: a variable of a shell that is not set."""
    if not str(folder):
        raise typer.BadParameter("it is empty; name a folder, or . for this one")
    return str(folder)


def _folder(folder: str | Path) -> Path:
    return Path(_named(folder))


Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT...", show_default=False,
                   help="Image, video, folder (recursive), glob, URL (https, s3, gs, hf), @list.txt, - for stdin."),
]  # fmt: skip
Model = Annotated[
    str | None,
    flag(MODEL, "glip-t (default), glip-l, glip-nano (built in), ...: glip weights list.", "--model -m", "NAME"),
]
Weights = Annotated[
    Path | None, flag(MODEL, "A checkpoint: safetensors, mmdet .pth or official .pth.", "--weights", "FILE")
]
Adapter = Annotated[Path | None, flag(MODEL, "Folder that glip finetune wrote for the model.", "--adapter", "DIR")]
Bert = Annotated[Path | None, flag(MODEL, "Folder with another vocab.txt or tokenizer.json.", "--bert", "DIR")]
Onnx = Annotated[Path | None, flag(MODEL, "A file of glip export, run by onnxruntime.", "--onnx", "FILE")]
Device = Annotated[str, flag(MODEL, "auto, cpu, cuda, cuda:1 or mps.", "--device", "DEVICE")]
Compile = Annotated[bool, flag(MODEL, "Use torch.compile: slow start, for many images of few shapes.", "--compile")]
AutoBatchSize = Annotated[
    int | None,
    flag(MODEL, "Images at once: 1 on a CPU, 8 on a GPU; halved when memory is short.", "--batch-size -b", "N"),
]
OutDir = Annotated[
    Path, flag(OUTPUT, "Folder of the results.", "--out-dir -o", "DIR", show_default=True, parse=_folder)
]
OutDirOrUrl = Annotated[
    str,
    flag(
        OUTPUT,
        "Folder of the results, of this machine, or s3:// or gs://BUCKET/FOLDER.",
        "--out-dir -o",
        "DIR",
        show_default=True,
        parse=_named,
    ),
]
Json = Annotated[bool, flag(OUTPUT, "Print one JSON line per image on stdout, and nothing else.", "--json")]
WithScores = Annotated[bool, flag(OUTPUT, "YOLO lines with the score as a sixth column.", "--with-scores")]
SaveCrop = Annotated[bool, flag(OUTPUT, "Also save a crop of each box.", "--save-crop")]
Grid = Annotated[bool, flag(OUTPUT, "Save grid.jpg: the best and the doubtful images on one page.", "--grid")]
Palette = Annotated[str, flag(OUTPUT, "bright, okabe-ito, or red,#00ff00.", "--palette", "NAME")]
Overwrite = Annotated[bool, flag(HOW, "Start over in a folder that holds another run.", "--overwrite")]
Workers = Annotated[
    int | None,
    flag(
        HOW, "Threads that read images (default: one per core), or ask --server (4).", "--workers", "N", min=1, max=1000
    ),
]
Quiet = Annotated[bool, flag(HOW, "Print errors only.", "--quiet -q")]
Offline = Annotated[bool, flag(HOW, "Never use the network.", "--offline")]
Debug = Annotated[bool, flag(HOW, "Show the traceback of an error.", "--debug")]


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
    Path | None, flag(KEEP, "Thresholds of labels, from glip eval --calibrate.", "--thresholds", "FILE")
]


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
