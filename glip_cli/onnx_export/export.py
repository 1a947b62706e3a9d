"""A model -> an ONNX file, which is written only if onnxruntime gives the same answers as torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from glip_cli.checkpoints import cache
from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.checkpoints.parts import DetectorParts, load_detector_parts
from glip_cli.detector import Detector
from glip_cli.errors import OptionError, OutputError, PromptError, UsageError
from glip_cli.model.config import ARCHITECTURES
from glip_cli.onnx_export.check import Checked, check
from glip_cli.onnx_export.metadata import Fixed, OnnxMetadata, to_metadata, tokenizer_of
from glip_cli.onnx_export.pieces import FixedText, Piece, pieces
from glip_cli.onnx_export.session import load_onnx, needed
from glip_cli.outputs.files import writing
from glip_cli.prompts.chunking import chunk, gather_notes, vocabulary_notes
from glip_cli.prompts.compile import PromptLike, to_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import other_words

if TYPE_CHECKING:
    import onnx_ir

OPSETS = range(19, 23)
"""DeformConv came with 19; what 23 makes of attention onnxruntime 1.31 cannot run on a CPU."""
OPSET = 20
LARGEST = 2**31 - 1  # bytes of a protobuf message; of the released models GLIP-L comes nearest, with 1.7e9
PACKAGES = ("onnx_ir", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    path: Path
    bytes: int
    metadata: OnnxMetadata
    checked: Checked


def export(
    model: str | None = None,
    out: str | Path | None = None,
    *,
    labels: PromptLike | None = None,
    opset: int = OPSET,
    weights: str | Path | None = None,
    adapter: str | Path | None = None,
    bert: str | Path | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Write a model as ONNX, checked against torch in onnxruntime, as `glip export` does.

    Args:
        model, weights, adapter, bert, offline, report: as for `Detector.load`.
        out: the file, which ends in .onnx; MODEL.onnx by default.
        labels: a prompt that becomes part of the file, as `Detector` takes one; None for a file that takes any.
        opset: version of ONNX's operators.
        say: called with a line for each step.

    Raises OptionError, UsageError, PromptError, WeightsError, OutputError; GlipError where file and torch disagree.
    """
    if out is not None and Path(out).suffix != ".onnx":
        raise OptionError("out", out, "name a file that ends in .onnx")
    if opset not in OPSETS:
        raise UsageError(f"--opset {opset}: give one of {OPSETS.start} .. {OPSETS.stop - 1}")
    for package in PACKAGES:
        needed(package)
    parts = load_detector_parts(model, weights=weights, bert=bert, adapter=adapter, offline=offline, report=report)
    path = Path(out or f"{parts.name.split('@')[0]}.onnx")
    return export_parts(parts, path, labels, opset, say)


def export_parts(
    parts: DetectorParts,
    out: Path,
    labels: PromptLike | None = None,
    opset: int = OPSET,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Write a model as ONNX.

    Args:
        parts: what `glip_cli.checkpoints.parts.load_detector_parts` gives.
        out: the file; it is written whole or not at all.
        labels: as for `export`.
        opset: version of ONNX's operators.
        say: called with a line for each step.

    Raises UsageError, PromptError, OutputError; GlipError where the file and torch disagree.
    """
    metadata = make_metadata(parts, labels, say)
    graph = make_graph(parts, metadata, opset, say)
    out = cache.expanded(out)
    with writing(out, "choose another place with -o"), cache.atomic(out) as temporary:
        save(graph, temporary)
        del graph
        say("checking it against torch in onnxruntime")
        torchs = Detector(parts.model, metadata.load_tokenizer(), parts.name, "cpu", "float32")
        checked = check(torchs, load_onnx(temporary), metadata.fixed)
        return Exported(out, temporary.stat().st_size, metadata, checked)


def make_metadata(
    parts: DetectorParts, labels: PromptLike | None, say: Callable[[str], None] = lambda line: None
) -> OnnxMetadata:
    """Notes on the labels go to `say`. Raises PromptError for labels that do not fit one text."""
    config = parts.model.config
    architecture = next(name for name, known in ARCHITECTURES.items() if known == config)
    fixed, words = None, parts.words
    if labels is not None:
        prompt = to_prompt(labels)
        words = other_words(prompt.labels, dict(zip(prompt.labels, prompt.words, strict=True)))
        reader = Tokenizer.from_dir(parts.tokenizer)
        texts = chunk(prompt, reader, config.text.window)
        for note in (*gather_notes(prompt, texts), *vocabulary_notes(prompt, reader)):
            say(f"note: {note}")
        if len(texts) > 1:
            raise PromptError(
                f"--texts: the labels take {len(texts)} texts, and a file holds one: "
                "name fewer, or export without --texts for any prompt"
            )
        fixed = Fixed(prompt.labels, texts[0].tokens.ids, texts[0].tokens.label_tokens)
    tokenizer, vocabulary = tokenizer_of(parts.tokenizer)
    return OnnxMetadata(
        architecture,
        parts.name,
        parts.prompt_tuned_labels,
        tokenizer,
        vocabulary,
        fixed,
        parts.labels,
        parts.use_cls,
        words,
    )


def make_graph(parts: DetectorParts, metadata: OnnxMetadata, opset: int, say: Callable[[str], None]) -> onnx_ir.Model:
    from glip_cli.onnx_export.graph import join  # imports onnx_ir

    text = None
    inputs: tuple[str, ...] = ("pixels", "ids", "mask")
    if metadata.fixed:
        ids = torch.tensor([metadata.fixed.ids])
        with torch.inference_mode():
            text = FixedText(parts.model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool)).clone())
        inputs = ("pixels",)
    parts_of_it = list(pieces(parts.model, text))
    graph = join(announced(parts_of_it, say), inputs, opset)
    graph.metadata_props.update(to_metadata(metadata))
    return graph


def announced(items: list[Piece], say: Callable[[str], None]) -> Iterator[Piece]:
    """The same items; `say` is called before each."""
    for number, item in enumerate(items, 1):
        say(f"translating part {number} of {len(items)}")
        yield item


def save(graph: onnx_ir.Model, path: Path) -> None:
    """Raises OutputError for more than one file can hold, and OSError."""
    tensors = (value.const_value for value in graph.graph.initializers.values())
    size = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if size > LARGEST:
        raise OutputError(
            f"{size / 1e9:.1f} GB of weights do not fit an ONNX file, which ends at {LARGEST / 1e9:.1f}: "
            "with --texts BERT is left out, or export a smaller model"
        )
    data = needed("onnx_ir").to_proto(graph).SerializeToString()
    path.write_bytes(data)
