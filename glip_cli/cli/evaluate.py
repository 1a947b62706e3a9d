"""`glip eval`: score a model on a data set, in the numbers of the field, with a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glip_cli.cli import flags
from glip_cli.cli.command import Fields, Values, command
from glip_cli.cli.console import BatchBar, Console
from glip_cli.cli.exit import SOME_FAILED, is_spared, leave_stopped, stopping
from glip_cli.cli.model import local_model
from glip_cli.cli.parse import read_batch_size, read_definitions
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions
from glip_cli.utils.option import KEEP, OUTPUT, flag_of, option

if TYPE_CHECKING:
    from glip_cli.evaluation.session import Session


DATA = "Data"


@dataclass(frozen=True)
class DatasetFlags:
    """The data, how much of it, and the protocol."""

    dataset: Annotated[
        str,
        typer.Argument(metavar="DATASET", show_default=False,
                       help="coco (any boxes), lvis-minival, lvis-val, odinw-13, odinw-35, flickr30k or scenes."),
    ]  # fmt: skip
    gt: Path | None = option(
        None, "Annotations: COCO json, or a folder of YOLO, Pascal VOC, labelme, imagefolder.", DATA, "FILE"
    )
    images: Path | None = option(None, "Folder of the images (default: beside the annotations).", DATA, "DIR")
    dt: Path | None = option(None, "Score this file of results; no model is loaded.", DATA, "FILE")
    data: Path | None = option(None, "Folder of ODinW or Flickr30k.", DATA, "DIR")
    split: str | None = option(
        None, "test, val or minival; else test of Flickr30k, the published one of ODinW, val of a folder.", DATA, "NAME"
    )
    limit: int | None = option(None, "Only the first N images.", DATA, "N", min=1)
    skip_missing: bool = option(False, "Leave out images that do not exist.", DATA)
    words: Path | None = option(
        None, 'Ask for classes in other words: {"container": "shipping container"}, JSON or TOML.', DATA, "FILE"
    )
    capped: bool = option(False, "LVIS: 300 boxes per image instead of Fixed AP.", DATA)
    packed: bool = option(False, "LVIS: as many names in a prompt as fit, instead of 40; faster.", DATA)
    merged: bool = option(False, "Flickr30k: merged boxes instead of any box.", DATA)


@dataclass(frozen=True)
class ReportFlags:
    """Reports, comparison and calibration."""

    compare: Path | None = option(None, "--out-dir of an earlier eval: show what changed.", OUTPUT, "DIR")
    calibrate: Path | None = option(None, "Write the best threshold of each label, for --thresholds.", OUTPUT, "FILE")
    evalai: bool = option(False, "ODinW: also write evalai.json.", OUTPUT)
    no_report: bool = option(False, "Do not write report.html.", OUTPUT)
    save_vis: bool = option(False, "Also save each image with its ground truth beside what was found, in vis/.", OUTPUT)


Detecting = Annotated[Values, Fields(DetectOptions, ("chunked_size", "nms_iou"))]

EPILOG = "Example: glip eval coco --gt instances_val2017.json --images val2017 -m glip-t -o eval"
BOXES, TRUTH = ("coco", "lvis", "scenes"), ("coco", "lvis")
ONLY = {
    "dt": TRUTH,
    "gt": BOXES,
    "images": (*BOXES, "flickr30k"),
    "data": ("odinw", "flickr30k"),
    "split": ("coco", "odinw", "flickr30k"),
    "skip_missing": (*TRUTH, "odinw"),
    "words": TRUTH,
    "capped": ("lvis",),
    "packed": ("lvis",),
    "merged": ("flickr30k",),
    "compare": BOXES,
    "calibrate": BOXES,
    "evalai": ("odinw",),
    "save_vis": (*BOXES, "odinw"),
    "chunked_size": BOXES,
    "nms_iou": (*BOXES, "odinw"),
    "top_k": (*BOXES, "odinw"),
}
"""Flags, and what the names of the data sets that they are for begin with."""
OF_MODEL = ("words", "chunked_size", "nms_iou", "top_k", "onnx")
"""Flags that say how a model is asked."""
DATASETS = ("coco", "lvis-minival", "lvis-val", "odinw-13", "odinw-35", "flickr30k", "scenes")


@command
def evaluate(
    *,
    chosen: DatasetFlags,
    detecting: Detecting,
    top_k: int | None = option(
        None,
        "Keep the best N boxes of each image (default: the protocol's, 100 for COCO). "
        "COCO's AP counts no more than 100 per image and class, whatever N.",
        KEEP,
        "N",
        flags=("--max-det", "--top-k"),
        min=1,
    ),
    model_flags: flags.AnyModelFlags,
    size_options: flags.Resizing,
    knowledge: flags.Knowledge,
    batch_size: flags.AutoBatchSize = None,
    out_dir: flags.OutDir = Path("outputs"),
    report: ReportFlags,
    run_flags: flags.RunFlags,
    common: flags.CommonFlags,
) -> None:
    """Score a model on a data set, or a file of results."""
    changes = detecting | ({"top_k": top_k} if top_k else {})
    given = {**vars(chosen), **vars(report), **size_options, **knowledge, **changes, "onnx": model_flags.onnx}
    check_flags(chosen.dataset, given)

    from glip_cli.cli.evaluate_datasets import EvalRequest, boxes, flickr, odinw_benchmark, score_file
    from glip_cli.evaluation.session import Session
    from glip_cli.runs.shards import Shard

    shard = Shard.chosen(run_flags.shard)
    console = Console(common.quiet or not shard.speaks)
    base = DetectOptions(
        batch_size=read_batch_size(batch_size, model_flags.device),
        **read_definitions(knowledge),
        **size_options,
        **changes,
    )
    asked = EvalRequest(chosen, report, out_dir, console, changes)
    if chosen.dt:
        score_file(asked, chosen.dt)
        return
    model = local_model(model_flags, console, offline=common.offline)
    noun = "sentence" if chosen.dataset == "flickr30k" else "image"
    session = Session(
        out=out_dir,
        load=model.detector,
        dtype=model_flags.dtype,
        base=base,
        follow=lambda total: BatchBar(console, lambda: total, noun),
        note=console.warn,
        shard=shard,
        overwrite=run_flags.overwrite,
        retry_failed=run_flags.retry_failed,
        workers=run_flags.workers,
    )
    with stopping(session.stop):
        if chosen.dataset.startswith("odinw"):
            odinw_benchmark(asked, session, int(chosen.dataset.removeprefix("odinw-")))
        elif chosen.dataset == "flickr30k":
            flickr(asked, session)
        else:
            boxes(asked, session)
    console.warn(*session.detector.notes)
    finish(session, console)


def check_flags(dataset: str, flags: Mapping[str, object]) -> None:
    """Raises UsageError for what no data set is, and for flags that do not go with it or with --dt."""
    if dataset not in DATASETS:
        raise UsageError(f"no data set {dataset!r}; there are {', '.join(DATASETS)}")
    given = {name for name, value in flags.items() if value is not None and value is not False}
    for name, starts in ONLY.items():
        if name in given and not dataset.startswith(starts):
            where = " and ".join(filter(None, (", ".join(starts[:-1]), starts[-1])))
            raise UsageError(f"{_flag(name)} is for {where}, not for {dataset}: leave it out")
    if dataset == "flickr30k" and given & {"tile", "tta"}:
        raise UsageError("glip eval flickr30k asks each image once, for all its sentences: leave out --tile and --tta")
    if dataset == "flickr30k" and "knowledge" in given:
        raise UsageError("--knowledge defines labels, and flickr30k asks for phrases of sentences: leave it out")
    if {"dt", "skip_missing"} <= given:
        raise UsageError("--skip-missing does not go with --dt, for which no image need be there: leave it out")
    if "dt" in given and (of_model := [name for name in OF_MODEL if name in given]):
        raise UsageError(f"{_flag(of_model[0])} does not go with --dt, for which no model is asked: leave it out")


def _flag(name: str) -> str:
    return "--max-det" if name == "top_k" else flag_of(name)


def finish(session: Session, console: Console) -> None:
    """Leave with 130 when stopped, 3 when images failed."""
    runs = session.progress.values()
    if any(not run.share_done for run in runs):
        leave_stopped(console)
    if any(run.counts.failed and not is_spared(run, session.shard) for run in runs):
        raise typer.Exit(SOME_FAILED)
