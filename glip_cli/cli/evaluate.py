"""`glip eval`: how good a model is on a data set, in the field's numbers, with a report to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from glip_cli.cli import evaluate_flags as own
from glip_cli.cli import flags
from glip_cli.cli.command import Values, command
from glip_cli.cli.console import BatchBar, Console, DownloadBar
from glip_cli.cli.exit import SOME_FAILED, is_spared, leave_stopped, stopping
from glip_cli.cli.parse import note_dtype, read_batch_size, read_definitions
from glip_cli.errors import UsageError

if TYPE_CHECKING:
    from glip_cli.evaluation.session import Session

EPILOG = "Example: glip eval coco --gt instances_val2017.json --images val2017 -m glip-t -o eval"
BOXES, TRUTH = ("coco", "lvis", "scenes"), ("coco", "lvis")
ONLY = {
    "dt": TRUTH,
    "gt": BOXES,
    "images": (*BOXES, "flickr30k"),
    "data": ("odinw", "flickr30k"),
    "split": ("coco", "odinw", "flickr30k"),
    "skip_missing": (*TRUTH, "odinw"),
    "capped": ("lvis",),
    "packed": ("lvis",),
    "merged": ("flickr30k",),
    "compare": BOXES,
    "calibrate": BOXES,
    "evalai": ("odinw",),
}
"""Flags, and what the names of the data sets that they are for begin with."""
DATASETS = ("coco", "lvis-minival", "lvis-val", "odinw-13", "odinw-35", "flickr30k", "scenes")


@command
def evaluate(
    *,
    chosen: own.DatasetFlags,
    loading: flags.ModelFlags,
    compile: flags.Compile = False,
    resizing: flags.Resizing,
    knowledge: flags.Knowledge,
    batch_size: flags.AutoBatchSize = None,
    out_dir: flags.OutDir = Path("outputs"),
    report: own.ReportFlags,
    going: flags.RunFlags,
    manner: flags.CommonFlags,
) -> None:
    """Score a model on a data set, or a file of results."""
    check(chosen.dataset, resizing, knowledge)
    check_flags(chosen.dataset, {**vars(chosen), **vars(report)})

    from glip_cli.cli.evaluate_datasets import EvalRequest, boxes, flickr, odinw_benchmark, score_file
    from glip_cli.evaluation.session import Session
    from glip_cli.options import DetectOptions
    from glip_cli.runs.shards import Shard

    shard = Shard.of_environment()
    console = Console(manner.quiet or not shard.speaks)
    asked = EvalRequest(chosen, report, out_dir, console)
    if chosen.dt:
        score_file(asked, chosen.dt)
        return
    note_dtype(loading, console)
    noun = "sentence" if chosen.dataset == "flickr30k" else "image"
    session = Session(
        out=out_dir,
        load={**vars(loading), "compile": compile, "offline": manner.offline, "report": DownloadBar(console)},
        base=DetectOptions(
            batch_size=read_batch_size(batch_size, loading.device), **read_definitions(knowledge), **resizing
        ),
        follow=lambda total: BatchBar(console, lambda: total, noun),
        note=console.warn,
        shard=shard,
        overwrite=going.overwrite,
        retry_failed=going.retry_failed,
        workers=going.workers,
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


def check(dataset: str, resizing: Values, knowledge: Values) -> None:
    """Raises UsageError for what no data set is, and for what does not go with one."""
    if dataset not in DATASETS:
        raise UsageError(f"no data set {dataset!r}; there are {', '.join(DATASETS)}")
    if dataset == "flickr30k" and ("tile" in resizing or resizing["tta"]):
        raise UsageError("glip eval flickr30k asks each image once, for all its sentences: leave out --tile and --tta")
    if dataset == "flickr30k" and knowledge:
        raise UsageError("--knowledge defines labels, and flickr30k asks for phrases of sentences: leave it out")


def check_flags(dataset: str, flags: Mapping[str, object]) -> None:
    """Raises UsageError for flags that the data set has no use for."""
    for name, starts in ONLY.items():
        if flags[name] and not dataset.startswith(starts):
            *some, last = starts
            where = f"{', '.join(some)} and {last}" if some else last
            raise UsageError(f"--{name.replace('_', '-')} is for {where}, not for {dataset}: leave it out")
    if flags["dt"] and flags["skip_missing"]:
        raise UsageError("--skip-missing does not go with --dt, for which no image need be there: leave it out")


def finish(session: Session, console: Console) -> None:
    """Leave with 130 when stopped, 3 when images failed."""
    runs = session.progress.values()
    if any(not run.share_done for run in runs):
        leave_stopped(console)
    if any(run.counts.failed and not is_spared(run, session.shard) for run in runs):
        raise typer.Exit(SOME_FAILED)
