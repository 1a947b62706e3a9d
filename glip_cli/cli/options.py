"""The flags that several commands share, each written once; those that go together are the fields of a dataclass.

A command takes such a dataclass as one argument (`glip_cli.cli.command`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

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
"""Names that people know from mmdetection, GroundingDINO and ultralytics. Accepted, and kept out of the help."""

OPTIONAL_VALUES = {"--ray": "auto"}
"""Flags that may stand alone, and what they mean then; a value of theirs needs the equals sign."""

WHAT, KEEP = "What to find", "What to keep"
MODEL, OUTPUT, HOW = "Model", "Output", "How to run"


# --- flags that a command takes by themselves


Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT...", show_default=False,
                   help="Image, folder (recursive), glob, URL, @list.txt, or - for paths on stdin."),
]  # fmt: skip
Knowledge = Annotated[
    Path | None,
    typer.Option("--knowledge", metavar="FILE", rich_help_panel=WHAT, show_default=False,
                 help="What labels mean, json or toml: for glip-t-a."),
]  # fmt: skip
NmsIou = Annotated[
    float | None,
    typer.Option("--nms-iou", metavar="IOU", rich_help_panel=KEEP, show_default=False,
                 help="Of boxes overlapping more, keep the best: 0.6; glip-nano 0.45."),
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
                 help="What glip finetune added to the model, as it left it."),
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
                 help="By torch.compile: minutes at first, for many images of few shapes."),
]  # fmt: skip
Size = Annotated[
    str | None,
    typer.Option("--size", metavar="SHORT,LONG", rich_help_panel=MODEL, show_default=False,
                 help="Resize to these sides, not the model's."),
]  # fmt: skip
AutoBatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", "-b", metavar="N", rich_help_panel=MODEL, show_default=False,
                 help="Images at once; else 1 on a CPU, 8 on a GPU. Halved where memory is short."),
]  # fmt: skip
OutDir = Annotated[
    Path, typer.Option("--out-dir", "-o", metavar="DIR", rich_help_panel=OUTPUT, help="Where results go.")
]
Json = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=OUTPUT,
                 help="One JSON line per image on stdout, nothing else there."),
]  # fmt: skip
SaveCrop = Annotated[bool, typer.Option("--save-crop", rich_help_panel=OUTPUT, help="Also save each box's content.")]
Palette = Annotated[
    str,
    typer.Option("--palette", metavar="NAME", rich_help_panel=OUTPUT, show_default=False,
                 help="bright, okabe-ito, or red,#00ff00."),
]  # fmt: skip
Overwrite = Annotated[
    bool, typer.Option("--overwrite", rich_help_panel=HOW, help="Begin anew in a folder that holds another run.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, rich_help_panel=HOW, show_default=False,
                 help="Threads that read images; else one per core."),
]  # fmt: skip
Quiet = Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=HOW, help="Say nothing but errors.")]
Offline = Annotated[bool, typer.Option("--offline", rich_help_panel=HOW, help="Never use the network.")]
Debug = Annotated[bool, typer.Option("--debug", rich_help_panel=HOW, help="Show the traceback of an error.")]


# --- flags that go together


@dataclass(frozen=True)
class PromptFlags:
    """What to find: labels, or a sentence and which parts of it."""

    texts: Annotated[
        list[str] | None,
        typer.Option("--texts", "-t", metavar="LABELS", rich_help_panel=WHAT, show_default=False,
                     help='"cat . remote .", "cat, remote", @labels.txt or "$: coco"; repeated: one label each.'),
    ] = None  # fmt: skip
    custom_entities: Annotated[
        bool,
        typer.Option("--custom-entities", "-c", rich_help_panel=WHAT,
                     help="--texts are labels, also where they read like a caption."),
    ] = False  # fmt: skip
    caption: Annotated[
        str | None,
        typer.Option("--caption", metavar="SENTENCE", rich_help_panel=WHAT, show_default=False,
                     help=r"A sentence; its noun phrases, or its \[bracketed] words, are the labels."),
    ] = None  # fmt: skip
    phrases: Annotated[
        list[str] | None,
        typer.Option("--phrases", metavar="WORDS", rich_help_panel=WHAT, show_default=False,
                     help="A part of the caption, by its words, as a label; repeatable."),
    ] = None  # fmt: skip
    tokens_positive: Annotated[
        str | None,
        typer.Option("--tokens-positive", "-p", metavar="SPANS", rich_help_panel=WHAT, show_default=False,
                     help="Parts of the caption by characters: [[[0,5]],[[9,15]]]."),
    ] = None  # fmt: skip

    @property
    def given(self) -> bool:
        return bool(self.texts or self.caption is not None or self.phrases or self.tokens_positive)


@dataclass(frozen=True)
class DetectPromptFlags(PromptFlags):
    """What to find, beside what, and how it is put to the model."""

    negative: Annotated[
        list[str] | None,
        typer.Option("--negative", metavar="LABELS", rich_help_panel=WHAT, show_default=False,
                     help="Labels that compete for boxes but are not reported."),
    ] = None  # fmt: skip
    chunked_size: Annotated[
        int | None,
        typer.Option("--chunked-size", "-s", metavar="N", rich_help_panel=WHAT, show_default=False,
                     help="Labels per text; else as many as fit."),
    ] = None  # fmt: skip
    knowledge: Knowledge = None


@dataclass(frozen=True)
class FilterFlags:
    """Which of the boxes that were found are reported."""

    threshold: Annotated[
        float, typer.Option("--threshold", metavar="SCORE", rich_help_panel=KEEP,
                            help="Keep detections that score higher."),
    ] = 0.3  # fmt: skip
    class_threshold: Annotated[
        list[str] | None,
        typer.Option("--class-threshold", metavar="LABEL=SCORE", rich_help_panel=KEEP, show_default=False,
                     help="For one label; repeatable."),
    ] = None  # fmt: skip
    thresholds: Annotated[
        Path | None,
        typer.Option("--thresholds", metavar="FILE", rich_help_panel=KEEP, show_default=False,
                     help="For each label, as glip eval --calibrate wrote it."),
    ] = None  # fmt: skip
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", metavar="N", rich_help_panel=KEEP, show_default=False,
                     help="The best N of each image."),
    ] = None  # fmt: skip
    nms_iou: NmsIou = None
    agnostic_nms: Annotated[
        bool, typer.Option("--agnostic-nms", rich_help_panel=KEEP, help="Also among boxes of different labels.")
    ] = False


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
    dtype: Annotated[
        str,
        typer.Option("--dtype", metavar="DTYPE", rich_help_panel=MODEL, show_default=False,
                     help="auto (float32), bfloat16 or float16."),
    ] = "auto"  # fmt: skip


@dataclass(frozen=True)
class ResizeFlags:
    """At which sizes, and in which parts, the model sees an image."""

    size: Size = None
    tile: Annotated[
        int | None,
        typer.Option("--tile", metavar="N", rich_help_panel=MODEL, show_default=False,
                     help="Also ask in tiles of N x N pixels."),
    ] = None  # fmt: skip
    overlap: Annotated[
        float | None,
        typer.Option("--overlap", metavar="SHARE", rich_help_panel=MODEL, show_default=False,
                     help="Shared by neighbouring tiles; else 0.2."),
    ] = None  # fmt: skip
    tta: Annotated[
        bool, typer.Option("--tta", rich_help_panel=MODEL, help="Ask at 12 scales (glip-nano: 3), also mirrored: slow.")
    ] = False


@dataclass(frozen=True)
class RunFlags:
    """How a run that is kept in a folder goes on."""

    overwrite: Overwrite = False
    resume: Annotated[
        bool, typer.Option("--resume", hidden=True, help="Accepted: an unfinished run always goes on.")
    ] = False
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", rich_help_panel=HOW, help="Try images again whose record is an error.")
    ] = False
    workers: Workers = None


@dataclass(frozen=True)
class CommonFlags:
    """What every command that works with a model can be told of how it behaves."""

    quiet: Quiet = False
    offline: Offline = False
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", rich_help_panel=HOW, show_default=False,
                     help="TOML with any of these flags; GLIP_... variables beat it."),
    ] = None  # fmt: skip
    debug: Debug = False
