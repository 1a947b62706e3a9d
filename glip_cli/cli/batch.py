"""`glip batch`: thousands of images in, records in order out; resumes after a kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from glip_cli.cli import flags
from glip_cli.cli.batch_inputs import InputReader
from glip_cli.cli.command import command
from glip_cli.cli.console import BatchBar, Console, print_line, say_error
from glip_cli.cli.exit import SOME_FAILED, end_run, interruptible, shards, stopping
from glip_cli.cli.model import LocalModel, choose_model
from glip_cli.cli.outputs import read_formats
from glip_cli.cli.parse import NO_VIDEO, read_frame_choice, read_tracker, threshold_notes
from glip_cli.errors import UsageError
from glip_cli.utils.option import HOW, OUTPUT, WHAT, option
from glip_cli.utils.text_format import counted, shown_url

if TYPE_CHECKING:
    from glip_cli.data.frame_inputs import FrameChoice
    from glip_cli.data.sources import ImageInput
    from glip_cli.outputs.files import FileNames
    from glip_cli.runs.items import Engine
    from glip_cli.runs.local import ImageRunner
    from glip_cli.runs.run_dir import Progress
    from glip_cli.runs.shards import Shard
    from glip_cli.runs.stored_run import StoredRun

EPILOG = "Example: glip batch photos/ --texts 'cat . remote .' -m glip-t -o run --format coco --save-vis"


@command
def batch(
    *,
    inputs: flags.Inputs = None,
    prompt_flags: flags.PromptFlags,
    prompts: Path | None = option(None, "A prompt for each image: csv or jsonl of image and prompt.", WHAT, "FILE"),
    prompt_options: flags.Beside,
    filter_options: flags.Filters,
    thresholds: flags.Thresholds = None,
    model_flags: flags.AnyModelFlags,
    server_flags: flags.ServerFlags,
    size_options: flags.Resizing,
    frame_flags: flags.FrameFlags,
    batch_size: flags.AutoBatchSize = None,
    out_dir: flags.OutDirOrUrl = "outputs",
    format: list[str] | None = option(
        None, f"Besides results.jsonl: json, {flags.FORMATS}; repeatable.", OUTPUT, "FORMAT"
    ),
    with_scores: flags.WithScores = False,
    save_vis: bool = option(False, "Save each image with its boxes.", OUTPUT),
    save_crop: flags.SaveCrop = False,
    grid: flags.Grid = False,
    palette: flags.Palette = "bright",
    run_flags: flags.RunFlags,
    ray: str | None = option(None, "Run on a Ray cluster: a local one, or --ray=ADDRESS.", HOW, "[=ADDRESS]"),
    ray_workers: int | None = option(None, "Models on the cluster (default: one per GPU or machine).", HOW, "N", min=1),
    status: bool = option(False, "Show how far the run in --out-dir is, and exit.", HOW),
    merge: bool = option(False, "Merge the shards in --out-dir, make --format, and exit.", HOW),
    common: flags.CommonFlags,
) -> None:
    """Detect in many images and videos. Run it again to resume."""
    if status:
        return say_status(out_dir, common.offline)
    from glip_cli.outputs.formats import WITH_THUMBNAILS, WRITERS

    formats = read_formats(format, "jsonl", WRITERS) + ["grid"] * grid
    if merge:
        if inputs or prompts:
            raise UsageError("--merge takes --out-dir, a run's folder, and --format: leave out INPUT and --prompts")
        return merge_shards(out_dir, formats, with_scores, palette, Console(common.quiet), common.offline)
    from glip_cli.outputs.earlier import check_earlier, kept_images
    from glip_cli.outputs.files import FileNames
    from glip_cli.outputs.images import AnnotatedImages
    from glip_cli.runs.items import name_items
    from glip_cli.runs.run_dir import RunFolder
    from glip_cli.runs.settings import settings_of
    from glip_cli.runs.shards import Shard
    from glip_cli.runs.videos import track_videos

    shard = Shard.chosen(run_flags.shard)
    if (ray or server_flags.server) and shard.world > 1:
        spread, shards = "ray" if ray else "server", "--shard" if run_flags.shard else "torchrun"
        raise UsageError(f"--{spread} and {shards} each spread the work; take one of them")
    stored = open_stored_run(out_dir, run_flags, shard, formats, common.offline)
    run, shown_out = (stored.path, stored.url) if stored else (Path(out_dir), str(Path(out_dir)))
    console, offline = Console(common.quiet or not shard.speaks), common.offline
    frames = read_frame_choice(frame_flags)
    annotated = AnnotatedImages(run, save_vis, save_crop, palette, not WITH_THUMBNAILS.isdisjoint(formats))
    model = choose_model(model_flags, server_flags, console, offline=offline, ray=ray, batch_size=batch_size)
    values, size = prompt_options | filter_options | size_options, model.batch_size(batch_size)
    reader = InputReader(
        prompt_flags,
        model,
        values,
        thresholds,
        size,
        console,
        offline,
        stored.own if stored else annotated.folders,
        frames,
    )
    given = reader.read(inputs, prompts)
    tracker = read_tracker(frame_flags, given.options)
    check_earlier(run, [*formats, *annotated.kinds], given.prompts.labels, run_flags.overwrite)
    names, drawn = FileNames(given.root), FileNames(given.root) if annotated.any else None

    runner: ImageRunner | None = None
    engine: Engine
    if ray:
        from glip_cli.runs.ray import RayEngine, RayJob

        assert isinstance(model, LocalModel)
        notes = model.check(given.prompt, given.options) if given.prompt else ()
        job = RayJob(model.load, given.prompt, given.options, annotated, stored.store.url if stored else "")
        engine = RayEngine(job, model.prompt_compiler.name, ray, ray_workers, say=console.warn)
    else:
        from glip_cli.runs.local import LocalEngine

        runner = model.runner(given.prompt, given.options, run_flags.workers)
        notes = runner.prompt_notes
        engine = LocalEngine(runner, annotated)
    kept = stored.notes if stored else kept_images(run) if run_flags.overwrite else ()
    console.warn(*notes, *threshold_notes(thresholds, engine.model), *kept)
    settings = settings_of(engine.model, given.prompts, given.options)
    settings |= {"inputs": given.named, "dtype": model.dtype, "save-vis": save_vis, "save-crop": save_crop}
    settings |= {name: value for name, value in vars(frame_flags).items() if value}
    theirs = stored.shards if stored else None
    with (
        stored.named() if stored else nullcontext(),
        RunFolder(run, settings, shard, run_flags.overwrite, run_flags.retry_failed, theirs) as folder,
    ):
        bar = BatchBar(console, partial(share, given.count, shard) if given.count else None)
        uploading = stored.uploading(engine.stop, run_flags.retry_failed) if stored else nullcontext()
        with stopping(engine.stop), uploading, bar:  # Ctrl-C also waits for what is put at the end
            progress = folder.run(name_items(given.sources, drawn), engine, bar.started, bar.add)
        if progress.complete and progress.speaks:
            if tracker:
                track_videos(folder.results, tracker)
                console.warn(*() if tracker.has_video else (NO_VIDEO,))
            labels = () if given.prompt else given.prompts.labels
            folder.write_formats(formats, names, with_scores=with_scores, labels=labels, palette=palette)
            if save_vis:
                draw(given.videos, run, shown_out, frames, palette, FileNames(given.root), console)
        if stored:
            stored.finish(progress.complete)
    met = given.passed() if progress.share_done else ()
    console.warn(*(runner.notes if runner else ()), *met, *(drawn or names).notes)
    finish(progress, bar, runner, shown_out, Console(common.quiet or not progress.speaks), shard)


def share(count: Callable[[], int | None], shard: Shard) -> int | None:
    """The number of images of a process; None if it is unknown."""
    images = count()
    return None if images is None else shard.part_of(images)


def draw(
    videos: Sequence[ImageInput], run: Path, shown_out: str, frames: FrameChoice, palette: str, names: FileNames,
    console: Console,
) -> None:  # fmt: skip
    """The annotated videos of a run, whose folder is called `shown_out`. Raises OutputError, KeyboardInterrupt."""
    from glip_cli.runs.videos import draw_videos

    with interruptible():
        draw_videos(videos, run / "results.jsonl", frames, palette, names,
                    lambda path: console.info(f"drawing {shown_out}/{path.relative_to(run).as_posix()}"))  # fmt: skip


def finish(
    progress: Progress, bar: BatchBar, runner: ImageRunner | None, shown_out: str, console: Console, shard: Shard
) -> None:
    """Say how it went and where things are; leave with 130 when stopped, 1 when all images failed, 3 when some did."""
    counts, new = progress.counts, bar.done
    console.info(f"{counted(counts.images, 'image')}{f' ({new} now)' if progress.before else ''}, "
              f"{counts.detections} found{f', {counts.failed} failed' if counts.failed else ''}")  # fmt: skip
    if new:
        clock = runner.clock if runner else None
        waited = f"; the model waited for images {clock.waited_share:.0%} of the time" if clock and clock.model else ""
        console.info(f"{bar.seconds:.1f} s, {new / bar.seconds:.1f} images/s{waited}")
    if runner and runner.effective_batch_size:
        size = runner.effective_batch_size
        console.info(f"memory allowed {counted(size, 'image')} at once: --batch-size {size}")
    if counts.unavailable:
        console.info(f"--retry-failed tries {counts.unavailable} again that may only have been out of reach")
    if counts.several:
        console.info(f"{counted(counts.several, 'file')} of many images could not be opened; --retry-failed cannot add "
                     "what is in it: later use another --out-dir, or --overwrite")  # fmt: skip
    end_run(progress, shown_out, console, shard)


def merge_shards(
    out_dir: str, formats: Sequence[str], with_scores: bool, palette: str, console: Console, offline: bool
) -> None:
    """Say what came of it; leave with 3 where a shard is not done."""
    from glip_cli.runs.merge import merge
    from glip_cli.runs.shards import PARTIAL

    stored = stored_at(out_dir, formats, offline)
    run, shown_out = (stored.path, stored.url) if stored else (Path(out_dir), str(Path(out_dir)))
    with stored.named() if stored else nullcontext():
        if stored:
            stored.fetch_all()
        merged = merge(run, formats, with_scores=with_scores, palette=palette)
        if stored:
            stored.finish(not merged.left)
    if merged.left:
        say_status(out_dir, offline)
        say_error(f"{shards(merged.left, merged.world)} not done yet; {shown_out}/{PARTIAL} holds "
                  f"{counted(merged.records, 'record')} so far")  # fmt: skip
        raise typer.Exit(SOME_FAILED)
    console.info(f"saved in {shown_out}")


def say_status(out_dir: str, offline: bool) -> None:
    from glip_cli.runs.status import describe

    stored = stored_at(out_dir, (), offline)
    if stored:
        with stored.named():
            stored.fetch_all()
            lines = [*describe(stored.path, stored.own, "not complete: records come at most every 30 s")]
    else:
        lines = [*describe(Path(out_dir))]
    for line in lines:
        print_line(line)


def open_stored_run(
    out_dir: str, run_flags: flags.RunFlags, shard: Shard, formats: Sequence[str], offline: bool
) -> StoredRun | None:
    """The run in a store that --out-dir names; None for a folder. Raises UsageError, GlipError."""
    stored = stored_at(out_dir, formats, offline, shard)
    if stored and run_flags.overwrite:
        if shard.world > 1:
            raise UsageError(f"--overwrite in {stored.url} takes one process, since it would remove what others put; "
                             "choose another --out-dir")  # fmt: skip
        stored.begin_again()
    elif stored:
        stored.fetch()
    return stored


def stored_at(out_dir: str, formats: Sequence[str], offline: bool, shard: Shard | None = None) -> StoredRun | None:
    """The run of an --out-dir in a store; None for a folder. Raises UsageError for options that a store cannot have."""
    from glip_cli.data.stores import is_stored

    if not is_stored(out_dir):
        return None
    from glip_cli.outputs.formats import WITH_THUMBNAILS
    from glip_cli.runs.stored_run import StoredRun

    url = shown_url(out_dir)
    if offline:
        raise UsageError(f"--out-dir {url}: --offline forbids it; name a folder of this machine")
    if pages := [name for name in formats if name in WITH_THUMBNAILS]:
        named = "--grid" if pages == ["grid"] else f"--format {pages[0]}"
        raise UsageError(f"{named} needs a folder of this machine: copy the run there once it is complete, and give "
                         "the same command with that --out-dir")  # fmt: skip
    return StoredRun(out_dir, shard) if shard else StoredRun(out_dir)
