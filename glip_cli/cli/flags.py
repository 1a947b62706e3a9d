"""The flags that several commands share, each written once."""

from __future__ import annotations

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


Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT...", show_default=False,
                   help="Image, folder (recursive), glob, URL, @list.txt, or - for paths on stdin."),
]  # fmt: skip
Texts = Annotated[
    list[str] | None,
    typer.Option("--texts", "-t", metavar="LABELS", rich_help_panel=WHAT, show_default=False,
                 help='"cat . remote .", "cat, remote", @labels.txt or "$: coco"; repeated: one label each.'),
]  # fmt: skip
CustomEntities = Annotated[
    bool,
    typer.Option("--custom-entities", "-c", rich_help_panel=WHAT,
                 help="--texts are labels, also where they read like a caption."),
]  # fmt: skip
Caption = Annotated[
    str | None,
    typer.Option(metavar="SENTENCE", rich_help_panel=WHAT, show_default=False,
                 help=r"A sentence; its noun phrases, or its \[bracketed] words, are the labels."),
]  # fmt: skip
Phrases = Annotated[
    list[str] | None,
    typer.Option(metavar="WORDS", rich_help_panel=WHAT, show_default=False,
                 help="A part of the caption, by its words, as a label; repeatable."),
]  # fmt: skip
TokensPositive = Annotated[
    str | None,
    typer.Option("--tokens-positive", "-p", metavar="SPANS", rich_help_panel=WHAT, show_default=False,
                 help="Parts of the caption by characters: [[[0,5]],[[9,15]]]."),
]  # fmt: skip
Negative = Annotated[
    list[str] | None,
    typer.Option(metavar="LABELS", rich_help_panel=WHAT, show_default=False,
                 help="Labels that compete for boxes but are not reported."),
]  # fmt: skip
ChunkedSize = Annotated[
    int | None,
    typer.Option("--chunked-size", "-s", metavar="N", rich_help_panel=WHAT, show_default=False,
                 help="Labels per text; else as many as fit."),
]  # fmt: skip
Knowledge = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=WHAT, show_default=False,
                 help="What labels mean, json or toml: for glip-t-a."),
]  # fmt: skip
Explain = Annotated[bool, typer.Option("--explain", rich_help_panel=WHAT, help="Show how the model reads each label.")]

Threshold = Annotated[
    float,
    typer.Option(metavar="SCORE", rich_help_panel=KEEP, help="Keep detections that score higher."),
]  # fmt: skip
ClassThreshold = Annotated[
    list[str] | None,
    typer.Option(metavar="LABEL=SCORE", rich_help_panel=KEEP, show_default=False, help="For one label; repeatable."),
]
Thresholds = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=KEEP, show_default=False,
                 help="For each label, as glip eval --calibrate wrote it."),
]  # fmt: skip
TopK = Annotated[
    int | None,
    typer.Option(metavar="N", rich_help_panel=KEEP, show_default=False,
                 help="The best N of each image."),
]  # fmt: skip
NmsIou = Annotated[
    float,
    typer.Option(metavar="IOU", rich_help_panel=KEEP,
                 help="Of boxes overlapping more, keep the best."),
]  # fmt: skip
AgnosticNms = Annotated[
    bool, typer.Option("--agnostic-nms", rich_help_panel=KEEP, help="Also among boxes of different labels.")
]

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME", rich_help_panel=MODEL, show_default=False,
                 help="glip-t (default), glip-l, glip-mini (built in), ...: glip weights list."),
]  # fmt: skip
Weights = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=MODEL, show_default=False,
                 help="A checkpoint: safetensors, mmdet .pth or official .pth."),
]  # fmt: skip
Adapter = Annotated[
    Path | None,
    typer.Option(metavar="DIR", rich_help_panel=MODEL, show_default=False,
                 help="What glip finetune added to the model, as it left it."),
]  # fmt: skip
Bert = Annotated[
    Path | None,
    typer.Option(metavar="DIR", rich_help_panel=MODEL, show_default=False,
                 help="Folder with BERT's vocab.txt, for use offline."),
]  # fmt: skip
Onnx = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=MODEL, show_default=False,
                 help="A file of glip export, run by onnxruntime."),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option(metavar="DEVICE", rich_help_panel=MODEL, show_default=False, help="auto, cpu, cuda, cuda:1 or mps."),
]
Dtype = Annotated[
    str,
    typer.Option(
        metavar="DTYPE", rich_help_panel=MODEL, show_default=False, help="auto (float32), bfloat16 or float16."
    ),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", rich_help_panel=MODEL,
                 help="By torch.compile: minutes at first, for many images of few shapes."),
]  # fmt: skip
Size = Annotated[
    str | None,
    typer.Option(metavar="SHORT,LONG", rich_help_panel=MODEL, show_default=False,
                 help="Resize to these sides, not the model's."),
]  # fmt: skip
Tile = Annotated[
    int | None,
    typer.Option(metavar="N", rich_help_panel=MODEL, show_default=False,
                 help="Also ask in tiles of N x N pixels."),
]  # fmt: skip
Overlap = Annotated[
    float | None,
    typer.Option(metavar="SHARE", rich_help_panel=MODEL, show_default=False,
                 help="Shared by neighbouring tiles; else 0.2."),
]  # fmt: skip
Tta = Annotated[bool, typer.Option("--tta", rich_help_panel=MODEL, help="Ask at 12 scales, also mirrored: slow.")]
BatchSize = Annotated[
    int, typer.Option("--batch-size", "-b", metavar="N", rich_help_panel=MODEL, help="Images at once.")
]
AutoBatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", "-b", metavar="N", rich_help_panel=MODEL, show_default=False,
                 help="Images at once; else 1 on a CPU, 8 on a GPU. Halved where memory is short."),
]  # fmt: skip

OutDir = Annotated[
    Path, typer.Option("--out-dir", "-o", metavar="DIR", rich_help_panel=OUTPUT, help="Where results go.")
]
Format = Annotated[
    list[str] | None,
    typer.Option(metavar="FORMAT", rich_help_panel=OUTPUT, show_default=False,
                 help="json (default), jsonl, coco, mmdet, yolo, voc, labelstudio, csv; repeatable."),
]  # fmt: skip
BatchFormat = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="FORMAT", rich_help_panel=OUTPUT, show_default=False,
                 help="Besides results.jsonl: coco, mmdet, yolo, voc, labelstudio, csv, json; repeatable."),
]  # fmt: skip
Json = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=OUTPUT,
                 help="One JSON line per image on stdout, nothing else there."),
]  # fmt: skip
NoSaveVis = Annotated[bool, typer.Option("--no-save-vis", rich_help_panel=OUTPUT, help="Save no pictures.")]
NoSavePred = Annotated[bool, typer.Option("--no-save-pred", rich_help_panel=OUTPUT, help="Save no result files.")]
SaveVis = Annotated[bool, typer.Option("--save-vis", rich_help_panel=OUTPUT, help="Save each image with its boxes.")]
SaveCrop = Annotated[bool, typer.Option("--save-crop", rich_help_panel=OUTPUT, help="Also save each box's content.")]
Show = Annotated[bool, typer.Option("--show", rich_help_panel=OUTPUT, help="Open each picture in a window.")]
Palette = Annotated[
    str,
    typer.Option(metavar="NAME", rich_help_panel=OUTPUT, show_default=False, help="bright, okabe-ito, or red,#00ff00."),
]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", rich_help_panel=HOW, help="Begin anew in a folder that holds another run.")
]
Resume = Annotated[bool, typer.Option("--resume", hidden=True, help="Accepted: an unfinished run always goes on.")]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, rich_help_panel=HOW, show_default=False,
                 help="Threads that read images; else one per core."),
]  # fmt: skip
Ray = Annotated[
    str | None,
    typer.Option("--ray", metavar="[=ADDRESS]", rich_help_panel=HOW, show_default=False,
                 help="Run on a Ray cluster: the one that is there, or --ray=ADDRESS."),
]  # fmt: skip
RayWorkers = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, rich_help_panel=HOW, show_default=False,
                 help="Models on the cluster; else one per GPU or machine."),
]  # fmt: skip

Quiet = Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=HOW, help="Say nothing but errors.")]
Offline = Annotated[bool, typer.Option("--offline", rich_help_panel=HOW, help="Never use the network.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", rich_help_panel=HOW, show_default=False,
                 help="TOML with any of these flags; GLIP_... variables beat it."),
]  # fmt: skip
Debug = Annotated[bool, typer.Option("--debug", rich_help_panel=HOW, help="Show the traceback of an error.")]
