"""`glip eval`: how good a model is on a data set, in the field's numbers, with a report to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from glip_cli.cli import evaluate_flags as own
from glip_cli.cli import flags
from glip_cli.cli.batch import default_batch_size
from glip_cli.cli.console import BatchBar, DownloadBar, Notes, command
from glip_cli.cli.ending import SOME_FAILED, stopping
from glip_cli.errors import UsageError
from glip_cli.interrupt import INTERRUPTED
from glip_cli.options import DetectOptions, parse_size

if TYPE_CHECKING:
    from glip_cli.evaluation.session import Session

EPILOG = "Example: glip eval coco --gt instances_val2017.json --images val2017 -m glip-t -o eval"
DATASETS = ("coco", "lvis-minival", "lvis-val", "odinw-13", "odinw-35", "flickr30k", "scenes")


@command
def evaluate(
    dataset: own.Dataset,
    gt: own.GroundTruth = None,
    images: own.Images = None,
    dt: own.Results = None,
    data: own.DataFolder = None,
    split: own.Split = None,
    limit: own.Limit = None,
    skip_missing: own.SkipMissing = False,
    capped: own.Capped = False,
    packed: own.Packed = False,
    merged: own.Merged = False,
    model: flags.Model = None,
    weights: flags.Weights = None,
    adapter: flags.Adapter = None,
    bert: flags.Bert = None,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    compile: flags.Compile = False,
    size: flags.Size = None,
    tile: flags.Tile = None,
    overlap: flags.Overlap = None,
    tta: flags.Tta = False,
    knowledge: flags.Knowledge = None,
    batch_size: flags.AutoBatchSize = None,
    out_dir: flags.OutDir = Path("outputs"),
    compare: own.Compare = None,
    calibrate: own.Calibrate = None,
    evalai: own.EvalAi = False,
    no_report: own.NoReport = False,
    overwrite: flags.Overwrite = False,
    resume: flags.Resume = False,
    workers: flags.Workers = None,
    quiet: flags.Quiet = False,
    offline: flags.Offline = False,
    config: flags.Config = None,
    debug: flags.Debug = False,
) -> None:
    """Score a model on a data set, or a file of results."""
    if dataset not in DATASETS:
        raise UsageError(f"no data set {dataset!r}; there are {', '.join(DATASETS)}")
    if dataset == "flickr30k" and (tile or tta):
        raise UsageError("glip eval flickr30k asks each image once, for all its sentences: leave out --tile and --tta")
    if dataset == "flickr30k" and knowledge:
        raise UsageError("--knowledge defines labels, and flickr30k asks for phrases of sentences: leave it out")

    from glip_cli.batch.folder import Shard
    from glip_cli.cli.datasets import Asked, boxes, flickr, odinw_benchmark, score_file
    from glip_cli.evaluation.run import Wanted
    from glip_cli.knowledge import read_knowledge

    shard = Shard.of_environment()
    asked = Asked(
        dataset=dataset,
        gt=gt,
        images=images,
        data=data,
        split=split or ("official" if dataset.startswith("odinw") else "test"),
        limit=limit,
        skip_missing=skip_missing,
        capped=capped,
        packed=packed,
        merged=merged,
        calibrate=calibrate,
        evalai=evalai,
        wanted=Wanted(out_dir, not no_report, compare),
        notes=Notes(quiet or shard.rank > 0),
    )
    if dt:
        score_file(asked, dt)
        return

    from glip_cli.evaluation.session import Session

    load: dict[str, Any] = {"model": model, "weights": weights, "adapter": adapter, "bert": bert, "device": device}
    session = Session(
        out=out_dir,
        load=load | {"dtype": dtype, "compile": compile, "offline": offline, "report": DownloadBar(asked.notes)},
        base=DetectOptions(
            size=parse_size(size) if size else None,
            tile=tile,
            overlap=overlap,
            tta=tta,
            knowledge=read_knowledge(knowledge) if knowledge else None,
            batch_size=batch_size or default_batch_size(device),
        ),
        follow=lambda total: BatchBar(asked.notes, lambda: total),
        shard=shard,
        overwrite=overwrite,
        workers=workers,
    )
    with stopping(session.stop):
        if dataset.startswith("odinw"):
            odinw_benchmark(asked, session, int(dataset.removeprefix("odinw-")))
        elif dataset == "flickr30k":
            flickr(asked, session)
        else:
            boxes(asked, session)
    asked.notes.note(*session.detector.remarks)
    finish(session)


def finish(session: Session) -> None:
    """Leave with 130 when stopped, 3 when images failed."""
    runs = session.progress.values()
    if any(not run.share_done for run in runs):
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED)
    if any(run.counts.failed for run in runs):
        raise typer.Exit(SOME_FAILED)
