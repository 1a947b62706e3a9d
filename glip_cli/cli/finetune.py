"""`glip finetune`: make a model one's own; killed at any moment, `--resume` goes on to the same weights."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from glip_cli.cli import finetune_flags as own
from glip_cli.cli import flags
from glip_cli.cli.console import LINE_SECONDS, DownloadBar, Notes, command
from glip_cli.cli.ending import stopping
from glip_cli.errors import UsageError
from glip_cli.interrupt import INTERRUPTED

if TYPE_CHECKING:
    import torch

    from glip_cli.finetune.data.check import Findings
    from glip_cli.finetune.job import Result
    from glip_cli.finetune.keep import Row as Compared
    from glip_cli.finetune.memory import Need

EPILOG = "Example: glip finetune --train train.json --val val.json --images photos -m glip-t -o cells"
MOST_WORKERS = 4


@command
def finetune(
    train: own.Train = None,
    images: own.TrainImages = None,
    share: own.Share = None,
    val: own.Val = None,
    val_images: own.ValImages = None,
    shots: own.Shots = None,
    shot_seed: own.ShotSeed = 3,
    keep_check: own.KeepCheck = None,
    keep_images: own.KeepImages = None,
    keep_limit: own.KeepLimit = None,
    model: flags.Model = None,
    weights: flags.Weights = None,
    init: own.Init = None,
    bert: flags.Bert = None,
    device: flags.Device = "auto",
    mode: own.Mode = "full",
    optimizer: own.Optimizer = None,
    lr: own.Lr = None,
    language_lr: own.LanguageLr = None,
    muon_lr: own.MuonLr = None,
    level_factor: own.LevelFactor = None,
    weight_decay: own.WeightDecay = None,
    freeze_backbone_at: own.FreezeBackboneAt = None,
    lora_rank: own.LoraRank = None,
    lora_alpha: own.LoraAlpha = None,
    epochs: own.Epochs = None,
    size: own.Sides = None,
    max_size: own.MaxSize = None,
    batch_size: own.TrainBatchSize = None,
    accumulation: own.Accumulation = None,
    warmup: own.Warmup = None,
    schedule: own.Schedule = None,
    steps: own.Steps = None,
    step_patience: own.StepPatience = None,
    patience: own.Patience = None,
    clip: own.Clip = None,
    bf16: own.Bf16 = None,
    ema: own.Ema = None,
    checkpointing: own.Checkpointing = False,
    seed: own.Seed = None,
    save_every: own.SaveEvery = None,
    out_dir: flags.OutDir = Path("tuned"),
    overwrite: flags.Overwrite = False,
    resume: own.GoOn = False,
    workers: own.Loaders = None,
    quiet: flags.Quiet = False,
    offline: flags.Offline = False,
    config: flags.Config = None,
    debug: flags.Debug = False,
) -> None:
    """Tune a model on your own boxes, or on captions with boxes."""
    if init and (weights or mode != "full"):
        raise UsageError(f"--init {init} trains a new network: it goes with --mode full and without --weights")

    from glip_cli.finetune.job import Job, Told
    from glip_cli.finetune.named import Data
    from glip_cli.finetune.processes import Processes
    from glip_cli.finetune.recipe import Recipe, parse_sides, parse_steps
    from glip_cli.finetune.start import load_start, random_start

    data = Data(
        train=tuple(train or ()),
        images=tuple(images or ()),
        shares=tuple(share or ()),
        val=val,
        val_images=val_images,
        shots=shots,
        shot_seed=shot_seed,
        keep=keep_check,
        keep_images=keep_images,
        keep_limit=keep_limit,
    )
    given: dict[str, Any] = {
        "optimizer": optimizer,
        "lr": lr,
        "language_lr": language_lr,
        "muon_lr": muon_lr,
        "level_factor": level_factor,
        "weight_decay": weight_decay,
        "freeze_backbone_at": -1 if init and freeze_backbone_at is None else freeze_backbone_at,
        "lora_rank": lora_rank,
        "lora_alpha": lora_alpha,
        "epochs": epochs,
        "size": parse_sides(size) if size else None,
        "max_size": max_size,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "warmup": warmup,
        "schedule": schedule,
        "steps": parse_steps(steps) if steps else None,
        "step_patience": step_patience,
        "patience": patience,
        "clip": clip,
        "ema": ema,
        "checkpointing": checkpointing,
        "seed": seed,
        "save_every": save_every,
    }
    recipe = Recipe.of(mode, watched=val is not None, **given)  # refuses what cannot be meant before anything is loaded
    processes = Processes.join(device)
    recipe = Recipe.of(mode, watched=val is not None, **given, bf16=has_bf16(processes.device, bf16))
    notes = Notes(quiet or not processes.first)
    load: dict[str, Any] = {"bert": bert, "offline": offline, "report": DownloadBar(notes)}
    if init:
        start = random_start(model, seed=recipe.seed, image_side=None if init == "random" else init, **load)
    else:
        start = load_start(model, weights=weights, **load)
    follower = Follower(notes)
    job = Job(
        start=start,
        data=data,
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
        finish(result, out_dir, mode, notes)


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
