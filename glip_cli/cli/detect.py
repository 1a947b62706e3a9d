"""`glip detect`: images in, annotated pictures and results out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glip_cli.cli import flags
from glip_cli.cli.console import DownloadBar, Notes, command, image_bar, interruptible
from glip_cli.cli.onnx import fixed_texts, open_onnx
from glip_cli.cli.request import class_thresholds, print_explanation, read_prompt
from glip_cli.cli.results import Files, Summary, check_formats
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions, parse_size

if TYPE_CHECKING:
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
    knowledge: flags.Knowledge = None,
    explain: flags.Explain = False,
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
    from glip_cli.knowledge import read_knowledge
    from glip_cli.prompt import parse_texts
    from glip_cli.sources import expand

    notes = Notes(quiet)
    served = open_onnx(onnx, device, dtype, model=model, weights=weights, adapter=adapter, bert=bert, compile=compile)
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
        batch_size=batch_size,
    )
    formats = check_formats(format or ["json"])
    if not inputs and not explain:
        raise UsageError("no INPUT: give an image, a folder, a glob, a URL, @list.txt or -")
    bar = DownloadBar(notes)
    if not inputs and served:
        print_explanation(served.plan(prompt, options).chunks)
        return
    if not inputs:
        explain_alone(prompt, options, model or (str(adapter) if adapter else None), bert, offline, bar)
        return

    from glip_cli.output.pictures import Pictures

    pictures = Pictures(out_dir, not no_save_vis, save_crop, palette)
    sources = expand(inputs, offline=offline, own=pictures.folders)

    from glip_cli.batch.runner import Runner
    from glip_cli.detector import Detector

    where: dict[str, Any] = {"bert": bert, "device": device, "dtype": dtype, "compile": compile, "offline": offline}
    detector = served or Detector.load(model, weights=weights, adapter=adapter, **where, report=bar)
    plan = detector.plan(prompt, options)
    notes.note(*plan.notes)
    if explain:
        print_explanation(plan.chunks)
    files = Files(out_dir, formats if not no_save_pred else [], pictures)
    summary = Summary(notes)
    total = len(inputs) if all(Path(text).is_file() for text in inputs) else None
    with interruptible(), files, image_bar(notes, total) as advance:
        for outcome in Runner(detector, plan, options, keep_images=True)(sources):
            summary.add(outcome, files.save(outcome, detector.name), json_)
            if show:
                files.show(outcome)
            advance()
    notes.note(*detector.remarks)
    summary.close(files)


def explain_alone(
    prompt: Prompt, options: DetectOptions, model: str | None, bert: Path | None, offline: bool, bar: DownloadBar
) -> None:
    """`--explain` without an image needs a tokenizer and no weights."""
    from glip_cli.knowledge import knowledge_chunks
    from glip_cli.prompt import chunk
    from glip_cli.tokenizer import Tokenizer
    from glip_cli.weights.parts import load_tokenizer_folder

    tokenizer = Tokenizer.from_dir(load_tokenizer_folder(model, bert=bert, offline=offline, report=bar))
    if options.knowledge is not None:
        print_explanation(knowledge_chunks(prompt, options.knowledge, tokenizer))
    else:
        print_explanation(chunk(prompt, tokenizer, size=options.chunked_size))
