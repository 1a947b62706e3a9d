"""`glip detect`: images in, annotated images and results out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glip_cli.cli import flags
from glip_cli.cli.command import command
from glip_cli.cli.console import Console, DownloadBar, image_bar
from glip_cli.cli.exit import interruptible
from glip_cli.cli.onnx import open_onnx
from glip_cli.cli.outputs import Files, Summary, read_formats
from glip_cli.cli.parse import (
    check_inputs,
    note_dtype,
    own_labels,
    print_explanation,
    read_options,
    read_prompt,
    threshold_notes,
)
from glip_cli.errors import UsageError

if TYPE_CHECKING:
    from glip_cli.options import DetectOptions
    from glip_cli.types import Prompt

EPILOG = "Example: glip detect photo.jpg --texts 'cat . remote .' -m glip-t -o outputs"

Explain = Annotated[
    bool, typer.Option("--explain", rich_help_panel=flags.WHAT, help="Show how the model reads each label.")
]
Format = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="FORMAT", rich_help_panel=flags.OUTPUT, show_default=False,
                 help="json (default), jsonl, coco, mmdet, yolo, voc, labelstudio, csv; repeatable."),
]  # fmt: skip
NoSaveVis = Annotated[
    bool, typer.Option("--no-save-vis", rich_help_panel=flags.OUTPUT, help="Do not save annotated images.")
]
NoSavePred = Annotated[
    bool, typer.Option("--no-save-pred", rich_help_panel=flags.OUTPUT, help="Do not save result files.")
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", rich_help_panel=flags.OUTPUT, help="Remove earlier results from --out-dir first."),
]
Show = Annotated[bool, typer.Option("--show", rich_help_panel=flags.OUTPUT, help="Open each image in a window.")]


@command
def detect(
    *,
    inputs: flags.Inputs = None,
    asked: flags.PromptFlags,
    beside: flags.Beside,
    explain: Explain = False,
    filters: flags.Filters,
    thresholds: flags.Thresholds = None,
    loading: flags.ModelFlags,
    onnx: flags.Onnx = None,
    compile: flags.Compile = False,
    resizing: flags.Resizing,
    batch: flags.BatchSize,
    out_dir: flags.OutDir = Path("outputs"),
    format: Format = None,
    json_: flags.Json = False,
    no_save_vis: NoSaveVis = False,
    no_save_pred: NoSavePred = False,
    save_crop: flags.SaveCrop = False,
    overwrite: Overwrite = False,
    show: Show = False,
    palette: flags.Palette = "bright",
    manner: flags.CommonFlags,
) -> None:
    """Detect what you name in images."""
    from glip_cli.data.image_files_below import Passed
    from glip_cli.data.sources import common_folder, expand
    from glip_cli.outputs.files import FileNames
    from glip_cli.outputs.formats import WRITERS

    console, offline = Console(manner.quiet), manner.offline
    bar = DownloadBar(console)
    served = open_onnx(onnx, **vars(loading), compile=compile)
    prompt = read_prompt(asked, console, offline, own_labels(asked, loading, served))
    options = read_options(beside | filters | resizing | batch, prompt, thresholds)
    formats = read_formats(format, "json", WRITERS)
    formats = [] if no_save_pred else formats
    if explain and not inputs and served:
        print_explanation(served.compile_prompt(prompt, options).chunks)
        return
    if explain and not inputs:
        explain_alone(prompt, options, loading, console)
        return

    inputs = check_inputs(inputs)

    from glip_cli.outputs.earlier import check_earlier, clear_earlier
    from glip_cli.outputs.images import AnnotatedImages

    annotated = AnnotatedImages(out_dir, not no_save_vis, save_crop, palette)
    passed = Passed()
    sources = expand(inputs, offline=offline, own=annotated.folders, passed=passed)
    check_earlier(out_dir, formats, prompt.labels, overwrite)
    if "jsonl" in formats and (out_dir / "run.json").exists():
        raise UsageError(f"{out_dir} holds a run of glip batch; choose another --out-dir")

    from glip_cli.detector import Detector
    from glip_cli.runs.runner import Runner

    note_dtype(loading, console)
    detector = served or Detector.load(**vars(loading), compile=compile, offline=offline, report=bar)
    compiled = detector.compile_prompt(prompt, options)
    console.warn(*compiled.notes, *threshold_notes(thresholds, detector.name))
    if explain:
        print_explanation(compiled.chunks)
    runner = Runner(detector, compiled, options, keep_images=True)
    files = Files(out_dir, formats, annotated, FileNames(common_folder(inputs)))
    summary = Summary(console)
    if overwrite:
        clear_earlier(out_dir)
    total = len(inputs) if all(Path(text).is_file() for text in inputs) else None
    with interruptible(), files, image_bar(console, total) as advance:
        for outcome in runner(sources):
            summary.add(outcome, files.save(outcome, detector.name), json_)
            if show and not files.show(outcome):
                show = False
                place = f"look at {annotated.folders[0]}" if annotated.drawn else "leave out --no-save-vis"
                console.warn(f"--show: no window can be opened here (is DISPLAY set?); {place}")
            advance()
    console.warn(*detector.notes, *runner.notes, *passed.notes, *files.names.notes)
    summary.close(files)


def explain_alone(prompt: Prompt, options: DetectOptions, loading: flags.ModelFlags, console: Console) -> None:
    """`--explain` without an image needs a tokenizer, and no weights of a named model."""
    from glip_cli.checkpoints import registry
    from glip_cli.checkpoints.parts import load_tokenizer_folder, tuned_labels
    from glip_cli.prompts.chunking import chunk, vocabulary_notes
    from glip_cli.prompts.definitions import knowledge_chunks
    from glip_cli.prompts.tokenizer import Tokenizer

    folder = load_tokenizer_folder(loading.model, weights=loading.weights, bert=loading.bert, adapter=loading.adapter)
    tokenizer = Tokenizer.from_dir(folder)
    tuned = tuned_labels(loading.model, weights=loading.weights, adapter=loading.adapter)
    console.warn(*prompt.notes, *vocabulary_notes(prompt, tokenizer, tuned))
    if options.knowledge is not None:
        use_cls = registry.uses_cls(loading.model)
        print_explanation(knowledge_chunks(prompt, options.knowledge, tokenizer, use_cls=use_cls))
    else:
        print_explanation(chunk(prompt, tokenizer, tokenizer.window, options.chunked_size))
