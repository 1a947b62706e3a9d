"""`glip batch`: thousands of images in, records in order out; killed at any moment, the same command goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glip_cli.cli import flags
from glip_cli.cli.console import BatchBar, DownloadBar, Notes, command
from glip_cli.cli.ending import end_run, stopping
from glip_cli.cli.onnx import fixed_texts, open_onnx
from glip_cli.cli.request import class_thresholds, read_prompt
from glip_cli.cli.results import check_formats
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions, parse_size
from glip_cli.readable import counted

if TYPE_CHECKING:
    from glip_cli.batch.folder import Progress
    from glip_cli.batch.items import Engine
    from glip_cli.batch.runner import Runner

EPILOG = "Example: glip batch photos/ --texts 'cat . remote .' -m glip-t -o run --format coco --save-vis"


@command
def batch(
    inputs: flags.Inputs = None,
    texts: flags.Texts = None,
    caption: flags.Caption = None,
    phrases: flags.Phrases = None,
    tokens_positive: flags.TokensPositive = None,
    negative: flags.Negative = None,
    chunked_size: flags.ChunkedSize = None,
    knowledge: flags.Knowledge = None,
    custom_entities: flags.CustomEntities = False,
    threshold: flags.Threshold = 0.3,
    class_threshold: flags.ClassThreshold = None,
    thresholds: flags.Thresholds = None,
    top_k: flags.TopK = None,
    nms_iou: flags.NmsIou = 0.6,
    agnostic_nms: flags.AgnosticNms = False,
    model: flags.Model = None,
    weights: flags.Weights = None,
    adapter: flags.Adapter = None,
    bert: flags.Bert = None,
    onnx: flags.Onnx = None,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    compile: flags.Compile = False,
    size: flags.Size = None,
    tile: flags.Tile = None,
    overlap: flags.Overlap = None,
    tta: flags.Tta = False,
    batch_size: flags.AutoBatchSize = None,
    out_dir: flags.OutDir = Path("outputs"),
    format: flags.BatchFormat = None,
    save_vis: flags.SaveVis = False,
    save_crop: flags.SaveCrop = False,
    palette: flags.Palette = "bright",
    overwrite: flags.Overwrite = False,
    resume: flags.Resume = False,
    workers: flags.Workers = None,
    ray: flags.Ray = None,
    ray_workers: flags.RayWorkers = None,
    quiet: flags.Quiet = False,
    offline: flags.Offline = False,
    config: flags.Config = None,
    debug: flags.Debug = False,
) -> None:
    """Find what you name in many pictures; killed, the same command goes on."""
    from glip_cli.batch.folder import RunFolder, Shard, settings_of
    from glip_cli.batch.items import name_items
    from glip_cli.knowledge import read_knowledge
    from glip_cli.output.pictures import Pictures
    from glip_cli.prompt import parse_texts
    from glip_cli.sources import expand

    if not inputs:
        raise UsageError("no INPUT: give an image, a folder, a glob, a URL, @list.txt or -")
    shard = Shard.of_environment()
    if ray and shard.world > 1:
        raise UsageError("--ray and torchrun each spread the work; take one of them")
    notes = Notes(quiet or shard.rank > 0)
    formats = check_formats(format or ["jsonl"])
    pictures = Pictures(out_dir, save_vis, save_crop, palette)
    served = open_onnx(
        onnx, device, dtype, model=model, weights=weights, adapter=adapter, bert=bert, ray=ray, compile=compile
    )
    if caption is None and not texts and (known := fixed_texts(served)):
        texts, custom_entities = known, True
    prompt = read_prompt(
        texts or [], caption, phrases or [], tokens_positive, notes, custom_entities=custom_entities, offline=offline
    )
    options = DetectOptions(
        threshold=threshold,
        class_thresholds=class_thresholds(class_threshold, thresholds, prompt),
        negatives=parse_texts(negative) if negative else (),
        chunked_size=chunked_size,
        top_k=top_k,
        nms_iou=nms_iou,
        agnostic_nms=agnostic_nms,
        size=parse_size(size) if size else None,
        tile=tile,
        overlap=overlap,
        tta=tta,
        knowledge=read_knowledge(knowledge) if knowledge else None,
        batch_size=default_batch_size(device) if batch_size is None else batch_size,
    )
    # refuses what names no picture, before the model is loaded
    sources = expand(inputs, offline=offline, own=pictures.folders)

    from glip_cli.batch.local import LocalEngine
    from glip_cli.batch.runner import Runner
    from glip_cli.detector import Detector

    load: dict[str, Any] = {
        "model": model,
        "weights": weights,
        "adapter": adapter,
        "bert": bert,
        "device": device,
        "dtype": dtype,
        "compile": compile,
        "offline": offline,
    }
    detector = served or Detector.load(**(load | {"device": "cpu"} if ray else load), report=DownloadBar(notes))
    plan = detector.plan(prompt, options)
    notes.note(*plan.notes)
    settings = settings_of(detector.name, prompt, options)
    settings |= {"inputs": inputs, "dtype": dtype, "save-vis": save_vis, "save-crop": save_crop}
    runner = Runner(detector, plan, options, workers)
    engine: Engine = LocalEngine(runner, pictures)
    if ray:
        from glip_cli.batch.ray import Job, RayEngine

        engine = RayEngine(Job(load, prompt, options, pictures), ray, ray_workers, runner.stop)
    with RunFolder(out_dir, settings, shard, overwrite) as folder:
        count = None if "-" in inputs else lambda: shard.part_of(sum(1 for _ in expand(inputs, own=pictures.folders)))
        bar = BatchBar(notes, count)
        with bar, stopping(runner.stop):
            progress = folder.run(name_items(sources, pictures.any), engine, bar.started, bar.add)
        if progress.complete and progress.speaks:
            folder.write_formats(formats)
    notes.note(*detector.remarks)
    finish(progress, bar, runner, out_dir, Notes(quiet or not progress.speaks))


def default_batch_size(device: str) -> int:
    """One at a time on a CPU, which several keep no busier."""
    from glip_cli.device import pick_device

    return 1 if pick_device(device).type == "cpu" else 8


def finish(progress: Progress, bar: BatchBar, runner: Runner, out_dir: Path, notes: Notes) -> None:
    """Say how it went and where things are; leave with 130 when stopped, 1 when all images failed, 3 when some did."""
    counts, new = progress.counts, bar.done
    notes.say(f"{counted(counts.images, 'image')}{f' ({new} now)' if progress.before else ''}, "
              f"{counts.detections} found{f', {counts.failed} failed' if counts.failed else ''}")  # fmt: skip
    if new:
        waited = f"; the model waited for images {runner.clock.waited_share:.0%} of the time"
        notes.say(f"{bar.seconds:.1f} s, {new / bar.seconds:.1f} images/s{waited if runner.clock.model else ''}")
    if runner.halved_to:
        notes.say(f"memory allowed {counted(runner.halved_to, 'image')} at once: --batch-size {runner.halved_to}")
    end_run(progress, out_dir, notes)
