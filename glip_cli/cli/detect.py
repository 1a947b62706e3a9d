"""`glip detect`: images in, annotated pictures and results out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from glip_cli.cli import flags
from glip_cli.cli.console import DownloadBar, Notes, command, image_bar, stderr
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions, parse_class_thresholds, parse_size

if TYPE_CHECKING:
    from glip_cli.output.formats import FileNames, Writer
    from glip_cli.prompt import Chunk
    from glip_cli.road import Outcome
    from glip_cli.types import Prompt

EPILOG = "Example: glip detect photo.jpg --texts 'cat . remote .' -m glip-t -o outputs"
SOME_FAILED = 3


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


def check_formats(names: Sequence[str]) -> list[str]:
    """Raises UsageError for an unknown one, and for two that would write the same files."""
    from glip_cli.output.formats import WRITERS

    for name in names:
        if name not in WRITERS:
            raise UsageError(f"--format {name}: there are {', '.join(WRITERS)}")
    if {"json", "mmdet"} <= set(names):
        raise UsageError("--format json and mmdet both write preds/NAME.json; take jsonl and mmdet")
    return list(dict.fromkeys(names))


@dataclass
class Files:
    """What is written for each image, under names of their own."""

    folder: Path
    formats: Sequence[str]
    pictures: bool
    crops: bool
    palette: str
    _open: ExitStack = field(default_factory=ExitStack)
    _writers: list[Writer] = field(default_factory=list)

    def __enter__(self) -> Files:
        from glip_cli.output.draw import palette_colours
        from glip_cli.output.formats import WRITERS, FileNames

        palette_colours(self.palette, 1)  # a wrong one is refused before the work
        try:
            self._writers = [self._open.enter_context(closing(WRITERS[name](self.folder))) for name in self.formats]
        except OSError as error:
            raise _cannot_write(self.folder, error) from None
        self._names: FileNames = FileNames()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def save(self, outcome: Outcome, model: str) -> dict[str, object]:
        """Write everything of one image; return its record. Raises UsageError where the folder cannot be written."""
        from glip_cli.output.records import error_record, record

        name = outcome.source.name
        made = (
            record(name, outcome.detections, model)
            if outcome.detections
            else error_record(name, str(outcome.error), model)
        )
        try:
            for writer in self._writers:
                writer.add(made)
            self._save_pictures(outcome)
        except OSError as error:
            raise _cannot_write(self.folder, error) from None
        return dict(made)

    def _save_pictures(self, outcome: Outcome) -> None:
        from glip_cli.output.draw import annotate, save_crops
        from glip_cli.output.formats import written

        name = self._names.of(outcome.source.name)
        if outcome.image is None or outcome.detections is None:
            return
        if self.pictures:
            with written(self.folder / "vis" / f"{name}.jpg") as stream:
                annotate(outcome.image, outcome.detections, self.palette).save(stream, "JPEG", quality=92)
        if self.crops:
            save_crops(outcome.image, outcome.detections, self.folder / "crops", name)

    def show(self, outcome: Outcome) -> None:
        from glip_cli.output.draw import annotate

        if outcome.image is not None and outcome.detections is not None:
            annotate(outcome.image, outcome.detections, self.palette).show(outcome.source.name)


def _cannot_write(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write to {folder}: {error.strerror or error}; choose another --out-dir")


@dataclass
class Summary:
    """Says what was found, counts, and owns the exit code."""

    notes: Notes
    images: int = 0
    detections: int = 0
    failed: int = 0

    def add(self, outcome: Outcome, record: dict[str, object], as_json: bool) -> None:
        self.images += 1
        if outcome.error:
            self.failed += 1
            print(f"glip: error: {outcome.error}", file=sys.stderr)
        elif outcome.detections:
            self.detections += len(outcome.detections)
        if as_json:
            print(json.dumps(record, ensure_ascii=False), flush=True)
        elif outcome.detections is not None and not self.notes.quiet:
            self._list(outcome)

    def _list(self, outcome: Outcome) -> None:
        found = outcome.detections
        assert found is not None
        width, height = found.size
        print(f"{outcome.source.name}  {width}x{height}  {len(found) or 'nothing'} found")
        longest = max(map(len, found.names), default=0)
        for name, score, box in zip(found.names, found.scores, found.boxes, strict=True):
            x1, y1, x2, y2 = (f"{corner:7.1f}" for corner in box)
            print(f"  {name:<{longest}}  {score:.2f}  {x1} {y1} {x2} {y2}")

    def close(self, files: Files) -> None:
        """Say where things are; leave with 1 when every image failed, 3 when some did."""
        place = f"; saved in {files.folder}" if files.pictures or files.formats or files.crops else ""
        failed = f", {self.failed} failed" if self.failed else ""
        many = "" if self.images == 1 else "s"
        self.notes.say(f"{self.images} image{many}, {self.detections} found{failed}{place}")
        if self.failed:
            raise typer.Exit(SOME_FAILED if self.failed < self.images else 1)


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
