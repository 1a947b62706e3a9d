"""`glip detect`: images in, annotated images and results out."""

from __future__ import annotations

from pathlib import Path

from glip_cli.cli import flags
from glip_cli.cli.command import command
from glip_cli.cli.console import Console, image_bar
from glip_cli.cli.exit import interruptible
from glip_cli.cli.model import choose_model
from glip_cli.cli.outputs import Files, Summary, read_formats
from glip_cli.cli.parse import (
    NO_VIDEO,
    check_inputs,
    print_explanation,
    read_frame_choice,
    read_options,
    read_prompt,
    read_tracker,
    threshold_notes,
)
from glip_cli.errors import UsageError
from glip_cli.utils.option import OUTPUT, WHAT, option

EPILOG = "Example: glip detect photo.jpg --texts 'cat . remote .' -m glip-t -o outputs"


@command
def detect(
    *,
    inputs: flags.Inputs = None,
    prompt_flags: flags.PromptFlags,
    prompt_options: flags.Beside,
    explain: bool = option(False, "Show how the model reads each label.", WHAT),
    filter_options: flags.Filters,
    thresholds: flags.Thresholds = None,
    model_flags: flags.AnyModelFlags,
    server_flags: flags.ServerFlags,
    size_options: flags.Resizing,
    frame_flags: flags.FrameFlags,
    batch: flags.BatchSize,
    out_dir: flags.OutDir = Path("outputs"),
    format: list[str] | None = option(None, f"json (default), jsonl, {flags.FORMATS}; repeatable.", OUTPUT, "FORMAT"),
    json_: flags.Json = False,
    with_scores: flags.WithScores = False,
    no_save_vis: bool = option(False, "Do not save annotated images.", OUTPUT),
    no_save_pred: bool = option(False, "Do not save result files.", OUTPUT),
    save_crop: flags.SaveCrop = False,
    overwrite: bool = option(False, "Remove earlier results from --out-dir first.", OUTPUT),
    show: bool = option(False, "Open each image in a window.", OUTPUT),
    grid: flags.Grid = False,
    palette: flags.Palette = "bright",
    common: flags.CommonFlags,
) -> None:
    """Detect what you name in images and videos."""
    from glip_cli.data.archives import is_archive
    from glip_cli.data.frame_inputs import is_video
    from glip_cli.data.image_files_below import VIDEO_ADVICE, Passed
    from glip_cli.data.sources import common_folder, expand
    from glip_cli.outputs.files import FileNames
    from glip_cli.outputs.formats import WITH_THUMBNAILS, WRITERS

    console, offline = Console(common.quiet), common.offline
    model = choose_model(model_flags, server_flags, console, offline=offline, **batch)
    prompt = read_prompt(prompt_flags, console, offline, None if prompt_flags.given else model.own_prompt())
    options = read_options(prompt_options | filter_options | size_options | batch, prompt.labels, thresholds)
    frames = read_frame_choice(frame_flags)
    several = frames.all or any(map(is_video, inputs or ()))
    tracker = read_tracker(frame_flags, options)
    formats = read_formats(format, "jsonl" if several else "json", WRITERS)
    formats = ([] if no_save_pred else formats) + ["grid"] * grid
    if explain and not inputs:
        explanation = model.explain(prompt, options)
        console.warn(*explanation.notes)
        return print_explanation(explanation)
    inputs = check_inputs(inputs)

    from glip_cli.outputs.earlier import check_earlier, clear_earlier, kept_images
    from glip_cli.outputs.images import AnnotatedImages
    from glip_cli.outputs.video import AnnotatedVideos

    annotated = AnnotatedImages(out_dir, not no_save_vis, save_crop, palette, not WITH_THUMBNAILS.isdisjoint(formats))
    passed = Passed(advice=VIDEO_ADVICE)
    sources = expand(inputs, offline=offline, own=annotated.folders, passed=passed, frames=frames)
    check_earlier(out_dir, [*formats, *annotated.kinds], prompt.labels, overwrite)
    if "jsonl" in formats and (out_dir / "run.json").exists():
        raise UsageError(f"{out_dir} holds a run of glip batch; choose another --out-dir")

    runner = model.runner(prompt, options)
    runner.keep_images = annotated.any or show
    console.warn(*runner.prompt_notes, *threshold_notes(thresholds, runner.model))
    if explain:
        print_explanation(runner.explain())
    root = common_folder(inputs)
    videos = AnnotatedVideos(out_dir, palette, FileNames(root))
    files = Files(out_dir, formats, annotated, FileNames(root), videos, tracker, with_scores)
    summary = Summary(console)
    if overwrite:
        clear_earlier(out_dir)
        console.warn(*kept_images(out_dir))
    plain = all(Path(text).is_file() and not is_archive(text) for text in inputs)
    total = len(inputs) if plain and not several else None
    with interruptible(), files, image_bar(console, total) as advance:
        for outcome in runner(sources):
            summary.add(outcome, files.save(outcome, runner.model), json_)
            if show and not files.show(outcome):
                show = False
                advice = f"look at {annotated.folders[0]}" if annotated.drawn else "leave out --no-save-vis"
                console.warn(f"--show: no window can be opened here (is DISPLAY set?); {advice}")
            advance()
    console.warn(*runner.notes, *passed.notes, *files.names.notes)
    if tracker and not tracker.has_video:
        console.warn(NO_VIDEO)
    summary.close(files)
