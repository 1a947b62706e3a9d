"""An exported file and torch's network, asked the same: what they answer may differ by rounding, and by no more."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from glip_cli.data.synthetic import COLOURS, SHAPES, draw_scene
from glip_cli.detector import Detector
from glip_cli.errors import GlipError
from glip_cli.inference.preprocess import DIVISOR, resized_size
from glip_cli.model.config import LabelConfig
from glip_cli.model.head import RawOutput
from glip_cli.onnx_export.card import Fixed
from glip_cli.onnx_export.pieces import OUTPUTS, output_names
from glip_cli.options import DetectOptions
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.prompts.concepts import ConceptTokenizer
from glip_cli.types import Detections
from glip_cli.utils.text_format import counted

RAW = 1e-3
"""How much raw numbers may differ.

A score's slope in its logit is 1/4 at most, so scores stay within 0.0003; a corner moves by delta x 0.1 x the anchor's
side, so by 0.1 pixels at the largest of 1024. Float32 in another order of summation makes 1e-5 to 1e-4.
"""
SCORE, PIXELS = 1e-3, 0.5
"""How much detections may differ: what RAW allows, with room for the centerness and for an image's scale."""
LEAST = 0.05  # detections that score less are not compared
SIZES = ((2, 96, 352), (1, 32, 32), (3, 160, 224))
"""Images, height, width: no multiple of a window (5, 7, 12 cells), the smallest, several in a batch."""
TOKENS = (3, 20, 97)  # of the texts that a free prompt is tried with
WARM_UPS = 2  # calls that are not counted: kernels are chosen and weights reordered in the first
RUNS = 5  # of which the time is the median
SCENES = 3


@dataclass(frozen=True)
class Checked:
    """
    Attributes:
        difference: the largest of each raw output, over all cases.
        detections: how many were compared.
        torch_seconds, onnx_seconds: per image of the model's own size, the text being read already.
        pixels: height, width of that image.
    """

    difference: dict[str, float]
    detections: int
    torch_seconds: float
    onnx_seconds: float
    pixels: tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One input: pixels [B, 3, H, W], ids int64 [1, T], mask bool [1, T]."""

    pixels: Tensor
    ids: Tensor
    mask: Tensor

    def __str__(self) -> str:
        batch, _, height, width = self.pixels.shape
        return f"{batch} x {height} x {width} pixels, {counted(int(self.mask.sum()), 'token')}"


@torch.inference_mode()
def check(ours: Detector, theirs: Detector, fixed: Fixed | None) -> Checked:
    """Compare raw outputs over sizes, batches and texts, then detections in drawn scenes.

    Args:
        ours: torch's network.
        theirs: that of a file.
        fixed: the prompt of the file, where it has one.

    Raises GlipError where they disagree, with what, where and by how much.
    """
    height, width = usual_size(ours)
    outputs = output_names(ours.model.config)
    largest = dict.fromkeys(outputs, 0.0)
    for case in cases(ours, fixed, (*SIZES, (1, height, width))):
        difference = compare(answer(ours, case), answer(theirs, case), case)
        largest = {name: max(largest[name], difference[name]) for name in outputs}
    count = compare_detections(ours, theirs, fixed.labels if fixed else None)
    usual = cases(ours, fixed, ((1, height, width),))[-1]
    return Checked(largest, count, *seconds(ours, theirs, usual), (height, width))


def usual_size(detector: Detector) -> tuple[int, int]:
    """Of an image of 3 x 4 in the network: height, width."""
    width, height = resized_size((4, 3), *detector.image_size())
    return round_up(height), round_up(width)


def round_up(side: int) -> int:
    return -(-side // DIVISOR) * DIVISOR


def cases(detector: Detector, fixed: Fixed | None, sizes: Sequence[tuple[int, int, int]]) -> list[Case]:
    """Each size with a text of another length, the last of them padded."""
    random = torch.Generator().manual_seed(0)
    made = []
    for number, (batch, height, width) in enumerate(sizes):
        pixels = torch.randn(batch, 3, height, width, generator=random)
        if fixed:
            ids = torch.tensor([fixed.ids])
        else:
            ids = random_ids(detector, TOKENS[number % len(TOKENS)], random)
        mask = torch.ones_like(ids, dtype=torch.bool)
        if not fixed and number % 2 == 0:
            mask[:, -1] = False
        made.append(Case(pixels, ids, mask))
    return made


def random_ids(detector: Detector, count: int, random: torch.Generator) -> Tensor:
    """Tokens int64 [1, count]: any; of glip-nano, by turns, names and word pieces of them, with full stops between."""
    text = detector.model.config.text
    ids = torch.randint(detector.tokenizer.vocabulary_size, (1, count), generator=random)
    if isinstance(text, LabelConfig):
        ids[:, ::3] = torch.randint(text.pieces, text.vocab_size, ids[:, ::3].shape, generator=random)
        ids[:, 2::3] = text.stop
    return ids


def answer(detector: Detector, case: Case) -> RawOutput:
    hidden = detector.model.encode_text(case.ids, case.mask)
    return look(detector, case, hidden)


def look(detector: Detector, case: Case, hidden: Tensor) -> RawOutput:
    batch = len(case.pixels)
    maps = detector.model.encode_image(case.pixels.to(memory_format=torch.channels_last))
    return detector.model.ground(maps, hidden.expand(batch, -1, -1), case.mask.expand(batch, -1))


def compare(ours: RawOutput, theirs: RawOutput, case: Case) -> dict[str, float]:
    """The largest difference of each output. Raises GlipError beyond `RAW`."""
    found = {}
    for name, a, b in zip(OUTPUTS, ours.tensors, theirs.tensors, strict=False):
        if a.shape != b.shape:
            raise _disagreement(f"{name} have the shape {tuple(b.shape)} and not {tuple(a.shape)}", case)
        if name == "logits":  # columns of padding mean nothing
            a, b = a[..., case.mask[0]], b[..., case.mask[0]]
        found[name] = float((a - b).abs().max())
        if not found[name] <= RAW:  # a NaN is no agreement either
            raise _disagreement(f"{name} differ by {found[name]:.2g}, and {RAW:g} is allowed", case)
    return found


def compare_detections(ours: Detector, theirs: Detector, labels: tuple[str, ...] | None) -> int:
    """In drawn scenes, asked for the labels of a fixed prompt or for what may be found; how many were compared."""
    asked = labels or usual_labels(ours)
    options = DetectOptions(threshold=LEAST)
    ours_plan, theirs_plan = ours.compile_prompt(asked, options), theirs.compile_prompt(asked, options)
    count = 0
    for number in range(SCENES):
        image = draw_scene(np.random.default_rng(number), 200, 150).image
        a, b = one(ours, image, ours_plan, options), one(theirs, image, theirs_plan, options)
        if missing := unmatched(a, b) + unmatched(b, a):
            are = counted(len(a.scores), "detection in a drawn scene has", "detections in a drawn scene have")
            raise GlipError(
                f"the exported graph disagrees with torch: {missing} of {are} no counterpart; no file was written"
            )
        count += len(a.scores)
    return count


def usual_labels(detector: Detector) -> tuple[str, ...]:
    """Shapes; of a model that knows some names alone, these: it takes shapes for some of them."""
    if isinstance(detector.tokenizer, ConceptTokenizer):
        return detector.tokenizer.lexicon.names
    return (*SHAPES, *(f"{colour} {shape}" for colour, shape in zip(COLOURS, SHAPES, strict=True)))


def one(detector: Detector, image: object, compiled: CompiledPrompt, options: DetectOptions) -> Detections:
    return next(detector.stream([image], compiled, options))  # type: ignore[list-item]


def unmatched(some: Detections, others: Detections) -> int:
    """How many of some detections, but for those at the threshold itself, the others do not have."""
    missing = 0
    for box, score, label in zip(some.boxes, some.scores, some.label_ids, strict=True):
        near = np.abs(others.boxes - box).max(1, initial=0) <= PIXELS
        same = near & (np.abs(others.scores - score) <= SCORE) & (others.label_ids == label)
        missing += bool(score > LEAST + SCORE and not same.any())
    return missing


def seconds(ours: Detector, theirs: Detector, case: Case) -> tuple[float, float]:
    """Of one call of each: medians of calls that take turns, so that both are warm and share what else is going on."""
    hidden = [detector.model.encode_text(case.ids, case.mask) for detector in (ours, theirs)]
    calls = [partial(look, detector, case, text) for detector, text in zip((ours, theirs), hidden, strict=True)]
    rounds = [[timed(call) for call in calls] for _ in range(WARM_UPS + RUNS)][WARM_UPS:]
    torchs, onnxs = zip(*rounds, strict=True)
    return statistics.median(torchs), statistics.median(onnxs)


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _disagreement(what: str, case: Case) -> GlipError:
    return GlipError(f"the exported graph disagrees with torch at {case}: {what}; no file was written")
