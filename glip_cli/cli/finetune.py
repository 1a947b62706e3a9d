"""`glip finetune`: train on your own data; killed at any moment, `--resume` leads to the same weights."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glip_cli.cli import flags
from glip_cli.cli.command import Fields, Values, command
from glip_cli.cli.console import LINE_SECONDS, Console, DownloadBar, print_rows
from glip_cli.cli.exit import interruptible, stopping
from glip_cli.training.config import TrainConfig
from glip_cli.utils.option import HOW, MODEL, TRAIN, option
from glip_cli.utils.startup import INTERRUPTED
from glip_cli.utils.text_format import counted, one_line, percent

if TYPE_CHECKING:
    from glip_cli.data.issues import Findings
    from glip_cli.training.job import Result
    from glip_cli.training.metrics_log import Row
    from glip_cli.training.optim import Left
    from glip_cli.training.report import ValidationRow


EPILOG = "Example: glip finetune --train train.json --val val.json --images photos -m glip-t -o cells"
MOST_WORKERS = 4
SAME_AP = 5e-4  # half of what is shown of it


@dataclass(frozen=True)
class DataFlags:
    """The data to train and to validate on."""

    train: list[Path] | None = option(
        None, "COCO or grounding json, a folder of YOLO, VOC, labelme ..., or scenes:N; repeatable.", TRAIN, "PATH"
    )
    images: list[Path] | None = option(
        None, "Folder of the images, for all --train or one for each (default: beside them).", TRAIN, "DIR"
    )
    share: list[float] | None = option(None, "Passes through each --train per epoch, one for each.", TRAIN, "X")
    val: Path | None = option(None, "Validate on it after each epoch; keep the best, stop early.", TRAIN, "PATH")
    val_images: Path | None = option(None, "Folder of its images (default: that of --images).", TRAIN, "DIR")
    shots: int | None = option(None, "Few-shot: train on N images per class.", TRAIN, "N", min=1)
    shot_seed: int | None = option(None, "Seed of the few-shot choice: 3; 30 and 300 are usual too.", TRAIN, "N", min=0)
    keep_check: str | None = option(
        None, "COCO json that shows what is forgotten; or scenes (drawn, for glip-mini).", TRAIN, "FILE|scenes"
    )
    keep_images: Path | None = option(None, "Folder of its images (default: beside it).", TRAIN, "DIR")
    keep_limit: int | None = option(None, "Use its first N images only.", TRAIN, "N", min=1)
    words: Path | None = option(
        None, 'Ask for classes in other words: {"container": "shipping container"}, JSON or TOML.', TRAIN, "FILE"
    )


Tuning = Annotated[Values, Fields(TrainConfig, given=True)]


def given(**flags: object) -> dict[str, object]:
    """The values that were given."""
    return {name: value for name, value in flags.items() if value is not None and value != []}


@command
def finetune(
    *,
    data: DataFlags,
    model: flags.Model = None,
    weights: flags.Weights = None,
    init: str | None = option(
        None,
        "Start from random weights; from ImageNet's Swin and BERT; or from the image side of FILE.",
        MODEL,
        "random|pretrained|FILE",
    ),
    bert: flags.Bert = None,
    device: flags.Device = "auto",
    tuning: Tuning,
    out_dir: flags.OutDir = Path("tuned"),
    overwrite: flags.Overwrite = False,
    resume: bool = option(False, "Resume the training in --out-dir; --epochs N may extend it.", HOW),
    workers: int | None = option(None, "Processes that load batches; 0: the main process.", HOW, "N", min=0),
    common: flags.CommonFlags,
) -> None:
    """Tune a model on your own boxes, or on captions with boxes."""
    from glip_cli.training.distributed import Distributed
    from glip_cli.training.job import Callbacks
    from glip_cli.training.run import prepare

    processes = Distributed.join(device)
    console = Console(common.quiet or not processes.first)
    job = prepare(
        out_dir,
        given(model=model, weights=weights, init=init, bert=bert, **vars(data)) | tuning,
        processes=processes,
        callbacks=Callbacks(console.info, lambda found: show_findings(found, console), ProgressPrinter(console).row),
        workers=default_workers() if workers is None else workers,
        resume=resume,
        overwrite=overwrite,
        offline=common.offline,
        report=DownloadBar(console),
        stopping=stopping,
    )
    with interruptible():
        result = job.run()
    if processes.first:
        again = command_to_go_on(out_dir, processes.world, given(device=device, workers=workers))
        finish(result, out_dir, job.recipe.mode, again, console)


def default_workers() -> int:
    return min(MOST_WORKERS, max((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1, 0))


class ProgressPrinter:
    """Prints every validation, and the losses from time to time."""

    def __init__(self, console: Console):
        self._console = console
        self._said = 0.0

    def row(self, row: Row, total: int, left: Left) -> None:
        when = f"step {row['step']} of {total}, epoch {row['epoch']:.3g}"
        if "AP" in row:
            shares = ", ".join(f"{name} {percent(row[name])}" for name in ("AP", "AP50", "F1"))
            loss = f", val loss {row['val_loss']:.3g}" if "val_loss" in row else ""
            self._console.info(f"{when}: {shares}{loss}{', best' * row['best']}")
        elif time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            losses = ", ".join(f"{name} {row[name]:.3g}" for name in ("token", "box", "centerness") if name in row)
            memory = f", {row['memory'] / 1e9:.1f} GB" if "memory" in row else ""
            waiting = row["data_time"] / max(row["seconds"], 1e-9)
            pace = f"{row['seconds']:.2g} s/step ({waiting:.0%} waiting for images)"
            self._console.info(f"{when}: loss {row['loss']:.3g} ({losses}), {pace}{memory}; {said(left)}")


def said(left: Left) -> str:
    """As in "this epoch ends in 12 s, the training in 3 min at the earliest, 65 min at the latest"."""
    ends = duration(left.most)
    if left.least < left.most:
        ends = f"{duration(left.least)} at the earliest, {ends} at the latest"
    return f"this epoch ends in {duration(left.epoch)}, the training in {ends}"


def duration(seconds: float) -> str:
    """ "12 s", "3 min" or "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def show_findings(found: Findings, console: Console) -> None:
    """Print the statistics and issues of a training set."""
    console.info(f"{found.name}: {counted(found.images, 'image')}, {counted(found.boxes, 'box', 'boxes')}")
    if console.quiet or not found.rows:
        return
    rows = ((row.what, str(row.count), row.action, one_line(row.example)) for row in found.rows)
    print_rows(("found", "count", "is", "first"), rows, text=(0, 2, 3), error=True)


def command_to_go_on(out_dir: Path, processes: int, given: Mapping[str, object]) -> str:
    """Resume a training; all but these flags is read from its folder."""
    program = "glip" if processes == 1 else f"torchrun --nproc-per-node {processes} -m glip_cli"
    options = "".join(f" --{name} {value}" for name, value in given.items() if value != "auto")
    return f"{program} finetune --resume -o {shlex.quote(str(out_dir))}{options}"


def finish(result: Result, out_dir: Path, mode: str, again: str, console: Console) -> None:
    """Say how it ended and where things are; leave with 130 when stopped."""
    ending = result.ending
    when = f"after step {ending.step}, epoch {ending.epoch:.3g}"
    best = f"; best AP {percent(ending.best)} at step {ending.best_step}" if ending.best_step else ""
    if not ending.complete:
        show_table(result.table, "at the best")
        console.info(f"stopped {when}{best}; to go on: {again}")
        raise typer.Exit(INTERRUPTED)
    why = ": AP has fallen for too long" if ending.early else ""
    console.info(f"ended {when}{why}{best}")
    if ending.unread:
        first, missed = next(iter(ending.unread)), counted(len(ending.unread), "image")
        console.info(f"{missed} could not be read in training, all listed in metrics.jsonl; first {first}")
    show_table(result.table, "after")
    console.warn(*below_the_start(result.table))
    flag = "--model" if mode == "full" else "--adapter"
    console.info(f"saved in {out_dir}; to use it: glip detect photo.jpg {flag} {shlex.quote(str(out_dir))}")


def below_the_start(rows: list[ValidationRow]) -> list[str]:
    """A note where the best AP on --val is lower than before the training."""
    from glip_cli.training.report import NEW

    ap = next((row for row in rows if (row.check, row.metric) == (NEW, "AP")), None)
    if ap is None or ap.before is None or ap.after is None or ap.after >= ap.before - SAME_AP:
        return []
    return [
        f"AP {percent(ap.after)} at the best is below the {percent(ap.before)} before the training, so the model that "
        "it began with detects better there: try a lower --lr"
    ]


def show_table(rows: list[ValidationRow], last: str) -> None:
    """Before and after on stdout, in percent."""
    from glip_cli.training.report import cells

    if rows:
        print_rows(
            ("data", "metric", "before", last, "change"), ([*map(one_line, cells(row))] for row in rows), text=(0, 1)
        )
