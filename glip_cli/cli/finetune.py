"""`glip finetune`: make a model one's own; killed at any moment, `--resume` goes on to the same weights."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from glip_cli.cli import finetune_flags as own
from glip_cli.cli import flags
from glip_cli.cli.command import command
from glip_cli.cli.console import LINE_SECONDS, DownloadBar, Notes
from glip_cli.cli.ending import stopping
from glip_cli.errors import UsageError
from glip_cli.interrupt import INTERRUPTED

if TYPE_CHECKING:
    import torch

    from glip_cli.data.issues import Findings
    from glip_cli.finetune.job import Result
    from glip_cli.finetune.keep import Row as Compared
    from glip_cli.finetune.memory import Need

EPILOG = "Example: glip finetune --train train.json --val val.json --images photos -m glip-t -o cells"
MOST_WORKERS = 4


@command
def finetune(
    *,
    data: own.DataFlags,
    model: flags.Model = None,
    weights: flags.Weights = None,
    init: own.Init = None,
    bert: flags.Bert = None,
    device: flags.Device = "auto",
    tuning: own.TuningFlags,
    out_dir: flags.OutDir = Path("tuned"),
    overwrite: flags.Overwrite = False,
    resume: own.GoOn = False,
    workers: own.Loaders = None,
    manner: flags.Manner,
) -> None:
    """Tune a model on your own boxes, or on captions with boxes."""
    if init and (weights or tuning.mode != "full"):
        raise UsageError(f"--init {init} trains a new network: it goes with --mode full and without --weights")
    if init and tuning.freeze_backbone_at is None:
        tuning = replace(tuning, freeze_backbone_at=-1)

    from glip_cli.device import half_notes
    from glip_cli.finetune.job import Job, Told
    from glip_cli.finetune.processes import Processes
    from glip_cli.finetune.recipe import Recipe
    from glip_cli.finetune.start import load_start, random_start

    sets = data.read()
    recipe = Recipe.of(watched=data.val is not None, **tuning.read())  # refuses what cannot be meant before it loads
    processes = Processes.join(device)
    recipe = replace(recipe, bf16=has_bf16(processes.device, tuning.bf16))
    notes = Notes(manner.quiet or not processes.first)
    if recipe.bf16:
        notes.note(*half_notes("--bf16", processes.device))
    load: dict[str, Any] = {"bert": bert, "offline": manner.offline, "report": DownloadBar(notes)}
    if init:
        start = random_start(model, seed=recipe.seed, image_side=None if init == "random" else init, **load)
    else:
        start = load_start(model, weights=weights, **load)
    follower = Follower(notes)
    job = Job(
        start=start,
        data=sets,
        recipe=recipe,
        out=out_dir,
        processes=processes,
        told=Told(
            note=notes.say,
            findings=lambda found: show_findings(found, notes),
            row=follower.row,
            need=lambda need, device: say_need(need, device, notes),
        ),
        workers=default_workers() if workers is None else workers,
        resume=resume,
        overwrite=overwrite,
    )
    with stopping(job.stop):
        result = job.run()
    if processes.first:
        finish(result, out_dir, tuning.mode, notes)


def has_bf16(device: torch.device, asked: bool | None) -> bool:
    """Officially training is in half precision; a CPU and older GPUs are slow at it, so there it must be asked for."""
    import torch

    return asked if asked is not None else device.type == "cuda" and torch.cuda.is_bf16_supported(False)


def default_workers() -> int:
    return min(MOST_WORKERS, max((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1, 0))


class Follower:
    """Says how a training goes: every validation, and the losses from time to time."""

    def __init__(self, notes: Notes):
        self._notes = notes
        self._said = 0.0

    def row(self, row: dict[str, Any], total: int) -> None:
        place = f"step {row['step']} of {total}, epoch {row['epoch']:.3g}"
        if "AP" in row:
            best = ", the best so far" if row["best"] else ""
            self._notes.say(f"{place}: AP {row['AP'] * 100:.1f}, AP50 {row['AP50'] * 100:.1f}{best}")
        elif time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            losses = ", ".join(f"{name} {row[name]:.3g}" for name in ("token", "box", "centerness"))
            left = row["seconds"] * (total - row["step"]) / 60
            self._notes.say(f"{place}: loss {row['loss']:.3g} ({losses}), {row['seconds']:.2g} s/step, "
                            f"at most {left:.0f} min left")  # fmt: skip


def show_findings(found: Findings, notes: Notes) -> None:
    """What is in a training set, and what was wrong with it."""
    notes.say(f"{found.name}: {found.images} images, {found.boxes} boxes")
    if notes.quiet or not found.rows:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column, justify in (("found", "left"), ("count", "right"), ("is", "left"), ("first", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in found.rows:
        table.add_row(row.what, str(row.count), row.action, row.example)
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(table)


def say_need(need: Need, device: torch.device, notes: Notes) -> None:
    from glip_cli.finetune.memory import available, gigabytes

    free = available(device)
    notes.say(f"memory: {need}" + (f"; {gigabytes(free)} free on {device}" if free is not None else ""))
    if free is not None and need.total > free:
        notes.say("that may not fit: batches are halved then; --checkpointing, or a smaller --batch-size, needs less")


def finish(result: Result, out_dir: Path, mode: str, notes: Notes) -> None:
    """Say how it ended and where things are; leave with 130 when stopped."""
    ending = result.ending
    if not ending.complete:
        notes.say(f"stopped after step {ending.step}; --resume goes on from there")
        raise typer.Exit(INTERRUPTED)
    why = ": AP has fallen for too long" if ending.early else ""
    best = f"; best at step {ending.best_step}" if ending.best_step else ""
    notes.say(f"ended after step {ending.step}{why}{best}")
    show_table(result.table)
    flag = "--model" if mode == "full" else "--adapter"
    notes.say(f"saved in {out_dir}; to use it: glip detect photo.jpg {flag} {out_dir}")


def show_table(rows: list[Compared]) -> None:
    """Before and after on stdout, in percent."""
    from glip_cli.finetune.keep import cells

    if not rows:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, column in enumerate(("data", "metric", "before", "after", "change")):
        table.add_column(column, justify="right" if i > 1 else "left")
    for row in rows:
        table.add_row(*cells(row))
    Console(soft_wrap=True, highlight=False, markup=False).print(table)
