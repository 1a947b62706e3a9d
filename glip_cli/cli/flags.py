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

WHAT, DATA, KEEP = "What to find", "Data", "What to keep"
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
    bool, typer.Option("--custom-entities", "-c", hidden=True, help="Accepted for mmdet's sake: --texts is labels.")
]
Caption = Annotated[
    str | None,
    typer.Option(metavar="SENTENCE", rich_help_panel=WHAT, show_default=False,
                 help="A sentence, parts of which are the labels."),
]  # fmt: skip
Phrases = Annotated[
    list[str] | None,
    typer.Option(metavar="WORDS", rich_help_panel=WHAT, show_default=False,
                 help="A part of the caption, by its words; repeatable."),
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
Size = Annotated[
    str | None,
    typer.Option(metavar="SHORT,LONG", rich_help_panel=MODEL, show_default=False,
                 help="Resize to these sides, not the model's."),
]  # fmt: skip
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
                 help="json (default), jsonl, coco or mmdet; repeatable."),
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

TRAIN, TUNING = "Training data", "Tuning"

Train = Annotated[
    list[Path] | None,
    typer.Option("--train", metavar="PATH", rich_help_panel=TRAIN, show_default=False,
                 help="COCO or grounding json, or a folder of YOLO or Pascal VOC; repeatable."),
]  # fmt: skip
TrainImages = Annotated[
    list[Path] | None,
    typer.Option("--images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                 help="The folder of the images, for all --train or for each; else beside them."),
]  # fmt: skip
Share = Annotated[
    list[float] | None,
    typer.Option("--share", metavar="X", rich_help_panel=TRAIN, show_default=False,
                 help="How often an epoch goes through a --train: one for each."),
]  # fmt: skip
Val = Annotated[
    Path | None,
    typer.Option("--val", metavar="PATH", rich_help_panel=TRAIN, show_default=False,
                 help="Validate on it after each epoch: keep the best, end when it falls."),
]  # fmt: skip
ValImages = Annotated[
    Path | None,
    typer.Option("--val-images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                 help="The folder of its images; else that of --images."),
]  # fmt: skip
Shots = Annotated[
    int | None,
    typer.Option("--shots", metavar="N", min=1, rich_help_panel=TRAIN, show_default=False,
                 help="Train on N images per class."),
]  # fmt: skip
ShotSeed = Annotated[
    int, typer.Option("--shot-seed", metavar="N", min=0, rich_help_panel=TRAIN, help="Which of them: 3, 30 or 300.")
]
KeepCheck = Annotated[
    str | None,
    typer.Option("--keep-check", metavar="FILE", rich_help_panel=TRAIN, show_default=False,
                 help="COCO json that shows what is forgotten; else drawn scenes, for glip-mini; or none."),
]  # fmt: skip
KeepImages = Annotated[
    Path | None,
    typer.Option("--keep-images", metavar="DIR", rich_help_panel=TRAIN, show_default=False,
                 help="The folder of its images; else beside it."),
]  # fmt: skip
KeepLimit = Annotated[
    int | None,
    typer.Option("--keep-limit", metavar="N", min=1, rich_help_panel=TRAIN, show_default=False,
                 help="Only its first N images."),
]  # fmt: skip
Init = Annotated[
    str | None,
    typer.Option("--init", metavar="random", rich_help_panel=MODEL, show_default=False,
                 help="Begin with random weights instead of the model's."),
]  # fmt: skip

Mode = Annotated[
    str,
    typer.Option("--mode", metavar="MODE", rich_help_panel=TUNING,
                 help="What trains: full, head, prompt (an offset to the text) or lora."),
]  # fmt: skip
Lr = Annotated[
    float | None,
    typer.Option("--lr", metavar="RATE", rich_help_panel=TUNING, show_default=False,
                 help="Learning rate: 1e-4; prompt 0.05, lora 1e-3."),
]  # fmt: skip
LanguageLr = Annotated[
    float | None,
    typer.Option("--language-lr", metavar="RATE", rich_help_panel=TUNING, show_default=False,
                 help="Of BERT: 1e-5; lora 1e-4."),
]  # fmt: skip
WeightDecay = Annotated[
    float | None,
    typer.Option("--weight-decay", metavar="X", rich_help_panel=TUNING, show_default=False,
                 help="0.05; prompt 0.25. Biases have none."),
]  # fmt: skip
FreezeBackboneAt = Annotated[
    int | None,
    typer.Option("--freeze-backbone-at", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="Full: 2 keeps the patches and the first stage, 5 all stages, -1 none."),
]  # fmt: skip
LoraRank = Annotated[
    int | None,
    typer.Option("--lora-rank", metavar="N", rich_help_panel=TUNING, show_default=False, help="4 by itself."),
]
LoraAlpha = Annotated[
    float | None,
    typer.Option("--lora-alpha", metavar="X", rich_help_panel=TUNING, show_default=False, help="Twice the rank."),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="At most 200 with --val, 12 without."),
]  # fmt: skip
TrainBatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", "-b", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="Images at once, 4; halved where memory is short."),
]  # fmt: skip
Accumulation = Annotated[
    int | None,
    typer.Option("--accumulation", metavar="N", rich_help_panel=TUNING, show_default=False, help="Batches per step."),
]
Warmup = Annotated[
    int | None,
    typer.Option("--warmup", metavar="STEPS", rich_help_panel=TUNING, show_default=False,
                 help="Steps in which the rates rise."),
]  # fmt: skip
Schedule = Annotated[
    str | None,
    typer.Option("--schedule", metavar="NAME", rich_help_panel=TUNING, show_default=False,
                 help="auto: rates fall when AP stands still; steps; constant."),
]  # fmt: skip
Steps = Annotated[
    str | None,
    typer.Option("--steps", metavar="X,Y", rich_help_panel=TUNING, show_default=False,
                 help="Shares of the training at which rates fall: 0.67,0.89."),
]  # fmt: skip
StepPatience = Annotated[
    int | None,
    typer.Option("--step-patience", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="Epochs without a better AP before rates fall: 3."),
]  # fmt: skip
Patience = Annotated[
    int | None,
    typer.Option("--patience", metavar="N", rich_help_panel=TUNING, show_default=False,
                 help="Epochs below the best AP before the end: 8."),
]  # fmt: skip
Clip = Annotated[
    float | None,
    typer.Option("--clip", metavar="X", rich_help_panel=TUNING, show_default=False,
                 help="Largest norm of the gradients: 1."),
]  # fmt: skip
Bf16 = Annotated[
    bool | None,
    typer.Option("--bf16/--no-bf16", rich_help_panel=TUNING, show_default=False,
                 help="bfloat16 where it suffices; on by itself on GPUs that have it."),
]  # fmt: skip
Ema = Annotated[
    float | None,
    typer.Option("--ema", metavar="DECAY", rich_help_panel=TUNING, show_default=False,
                 help="Keep a moving average of the weights, as 0.999."),
]  # fmt: skip
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", rich_help_panel=TUNING, help="Compute activations twice: far less memory.")
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", rich_help_panel=TUNING, show_default=False, help="Of all that is random: 10."),
]
SaveEvery = Annotated[
    int | None,
    typer.Option("--save-every", metavar="STEPS", rich_help_panel=HOW, show_default=False,
                 help="Steps between states to resume from: 500, and each epoch's end."),
]  # fmt: skip
GoOn = Annotated[bool, typer.Option("--resume", rich_help_panel=HOW, help="Go on with the training in --out-dir.")]
Loaders = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=0, rich_help_panel=HOW, show_default=False,
                 help="Processes that prepare batches; 0: none but this."),
]  # fmt: skip
