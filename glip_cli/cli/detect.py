"""`glip detect`: images in, annotated pictures and results out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from glip_cli.cli import flags
from glip_cli.cli.console import DownloadBar, Notes, command, image_bar, stderr
from glip_cli.cli.results import Files, Summary, check_formats
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions, parse_class_thresholds, parse_size

if TYPE_CHECKING:
    from glip_cli.prompt import Chunk
    from glip_cli.types import Prompt

EPILOG = "Example: glip detect photo.jpg --texts 'cat . remote .' -m glip-t -o outputs"


@command
def detect(
    inputs: flags.Inputs = None,
    texts: flags.Texts = None,
    caption: flags.Caption = None,
    phrases: flags.Phrases = None,
    tokens_positive: flags.TokensPositive = None,
    negative: flags.Negative = None,
    chunked_size: flags.ChunkedSize = None,
    explain: flags.Explain = False,
    custom_entities: flags.CustomEntities = False,
    threshold: flags.Threshold = 0.3,
    class_threshold: flags.ClassThreshold = None,
    top_k: flags.TopK = None,
    nms_iou: flags.NmsIou = 0.6,
    agnostic_nms: flags.AgnosticNms = False,
    model: flags.Model = None,
    weights: flags.Weights = None,
    bert: flags.Bert = None,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    size: flags.Size = None,
    batch_size: flags.BatchSize = 1,
    out_dir: flags.OutDir = Path("outputs"),
    format: flags.Format = None,
    json_: flags.Json = False,
    no_save_vis: flags.NoSaveVis = False,
    no_save_pred: flags.NoSavePred = False,
    save_crop: flags.SaveCrop = False,
    show: flags.Show = False,
    palette: flags.Palette = "bright",
    quiet: flags.Quiet = False,
    offline: flags.Offline = False,
    config: flags.Config = None,
    debug: flags.Debug = False,
) -> None:
    """Find what you name in pictures."""
    from glip_cli.prompt import parse_texts
    from glip_cli.sources import expand

    notes = Notes(quiet)
    options = DetectOptions(
        threshold=threshold,
        class_thresholds=parse_class_thresholds(class_threshold or []),
        negatives=parse_texts(negative) if negative else (),
        chunked_size=chunked_size,
        top_k=top_k,
        nms_iou=nms_iou,
        agnostic_nms=agnostic_nms,
        size=parse_size(size) if size else None,
        batch_size=batch_size,
    )
    prompt = read_prompt(texts or [], caption, phrases or [], tokens_positive, notes)
    formats = check_formats(format or ["json"])
    if not inputs and not explain:
        raise UsageError("no INPUT: give an image, a folder, a glob, a URL, @list.txt or -")
    bar = DownloadBar(notes)
    if not inputs:
        explain_alone(prompt, options, model, bert, offline, bar)
        return
    sources = expand(inputs, offline=offline)

    from glip_cli.detector import Detector
    from glip_cli.road import detect_all

    detector = Detector.load(model, weights=weights, bert=bert, device=device, dtype=dtype, offline=offline, report=bar)
    plan = detector.plan(prompt, options)
    for note in plan.notes:
        notes.say(f"note: {note}")
    if explain:
        print_explanation(plan.chunks)
    files = Files(out_dir, formats if not no_save_pred else [], not no_save_vis, save_crop, palette)
    summary = Summary(notes)
    total = len(inputs) if all(Path(text).is_file() for text in inputs) else None
    with files, image_bar(notes, total) as advance:
        for outcome in detect_all(detector, sources, plan, options):
            summary.add(outcome, files.save(outcome, detector.name), json_)
            if show:
                files.show(outcome)
            advance()
    summary.close(files)


def read_prompt(
    texts: Sequence[str], caption: str | None, phrases: Sequence[str], tokens_positive: str | None, notes: Notes
) -> Prompt:
    """The prompt that the flags describe; which kind it is goes to stderr. Raises UsageError."""
    from glip_cli.prompt import caption_prompt, label_prompt, parse_texts, parse_tokens_positive

    if bool(texts) == (caption is not None):
        raise UsageError("say what to find with --texts 'cat . remote .', or with --caption and --phrases")
    if caption is None:
        if phrases or tokens_positive:
            raise UsageError("--phrases and --tokens-positive name parts of a --caption, not of --texts")
        labels = parse_texts(texts)
        notes.say(f"labels: {', '.join(labels[:12])}{f' ... ({len(labels)})' if len(labels) > 12 else ''}")
        return label_prompt(labels)
    spans = parse_tokens_positive(tokens_positive) if tokens_positive else None
    prompt = caption_prompt(caption, spans=spans, phrases=phrases or None)
    notes.say(f"parts of the caption: {', '.join(prompt.labels)}")
    return prompt


def explain_alone(
    prompt: Prompt, options: DetectOptions, model: str | None, bert: Path | None, offline: bool, bar: DownloadBar
) -> None:
    """`--explain` without an image needs a tokenizer and no weights."""
    from glip_cli.prompt import chunk
    from glip_cli.tokenizer import Tokenizer
    from glip_cli.weights.parts import load_tokenizer_folder

    folder = load_tokenizer_folder(model, bert=bert, offline=offline, report=bar)
    print_explanation(chunk(prompt, Tokenizer.from_dir(folder), size=options.chunked_size))


def print_explanation(chunks: Sequence[Chunk]) -> None:
    """Label -> text -> tokens, as a table on stderr: stdout is for results."""
    from glip_cli.prompt import explain

    table = Table("label", "text", "span", "token: place and piece", title=None, header_style="bold")
    for row in explain(tuple(chunks)):
        spans = " ".join(f"{begin}-{end}" for begin, end in row.spans)
        tokens = " ".join(f"{place}:{piece}" for place, piece in row.tokens)
        table.add_row(row.label, str(row.chunk), spans, tokens)
    stderr.print(table)
    for number, chunk in enumerate(chunks):
        used = len(chunk.tokens.ids)
        stderr.print(f"text {number}: {len(chunk.label_ids)} labels, {used} tokens", markup=False)
