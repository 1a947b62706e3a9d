"""Compare an exported file with torch: their answers may differ by rounding only."""

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
from glip_cli.onnx_export.metadata import Fixed
from glip_cli.onnx_export.pieces import OUTPUTS, output_names
from glip_cli.prompts.compile import PromptLike
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
MIN_SCORE = 0.05  # of detections that are compared
SIZES = ((2, 96, 352), (1, 32, 32), (3, 160, 224))
"""Images, height, width: no multiple of a window (5, 7, 12 cells), the smallest, several in a batch."""
TOKENS = (3, 20, 97)  # of the texts of a free prompt
WARM_UPS = 2  # calls that are not counted: kernels are chosen and weights reordered in the first
RUNS = 5  # of which the time is the median
SCENES = 3


@dataclass(frozen=True)
class Checked:
    """
    Attributes:
        difference: the largest of each raw output, over all cases.
        detections: how many were compared.
        torch_seconds, onnx_seconds: per image of the model's own size, without encoding the text.
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
def check(torch_detector: Detector, onnx_detector: Detector, fixed: Fixed | None) -> Checked:
    """Compare raw outputs over sizes, batches and texts, then detections in drawn scenes.

    Args:
        torch_detector: the model.
        onnx_detector: the same from the file.
        fixed: the prompt of the file, where it has one.

    Raises GlipError where they disagree, with what, where and by how much.
    """
    height, width = default_size(torch_detector)
    outputs = output_names(torch_detector.model.config)
    largest = dict.fromkeys(outputs, 0.0)
    for case in cases(torch_detector, fixed, (*SIZES, (1, height, width))):
        difference = compare(answer(torch_detector, case), answer(onnx_detector, case), case)
        largest = {name: max(largest[name], difference[name]) for name in outputs}
    prompt = onnx_detector.own_prompt if fixed else None
    count = compare_detections(torch_detector, onnx_detector, prompt or default_labels(torch_detector))
    last_case = cases(torch_detector, fixed, ((1, height, width),))[-1]
    return Checked(largest, count, *seconds(torch_detector, onnx_detector, last_case), (height, width))


def default_size(detector: Detector) -> tuple[int, int]:
    """The padded (height, width) of an image of 3 x 4."""
    width, height = resized_size((4, 3), *detector.image_size())
    return round_up(height), round_up(width)


def round_up(side: int) -> int:
    return -(-side // DIVISOR) * DIVISOR


def cases(detector: Detector, fixed: Fixed | None, sizes: Sequence[tuple[int, int, int]]) -> list[Case]:
    """Each size with a text of another length, the last of them padded."""
    random = torch.Generator().manual_seed(0)
    examples = []
    for number, (batch, height, width) in enumerate(sizes):
        pixels = torch.randn(batch, 3, height, width, generator=random)
        if fixed:
            ids = torch.tensor([fixed.ids])
        else:
            ids = random_ids(detector, TOKENS[number % len(TOKENS)], random)
        mask = torch.ones_like(ids, dtype=torch.bool)
        if not fixed and number % 2 == 0:
            mask[:, -1] = False
        examples.append(Case(pixels, ids, mask))
    return examples


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
    return run_image(detector, case, hidden)


def run_image(detector: Detector, case: Case, hidden: Tensor) -> RawOutput:
    batch = len(case.pixels)
    maps = detector.model.encode_image(case.pixels.to(memory_format=torch.channels_last))
    return detector.model.ground(maps, hidden.expand(batch, -1, -1), case.mask.expand(batch, -1))


def compare(torch_output: RawOutput, onnx_output: RawOutput, case: Case) -> dict[str, float]:
    """The largest difference of each output. Raises GlipError beyond `RAW`."""
    differences = {}
    for name, a, b in zip(OUTPUTS, torch_output.tensors, onnx_output.tensors, strict=False):
        if a.shape != b.shape:
            raise _mismatch(f"{name} have the shape {tuple(b.shape)} and not {tuple(a.shape)}", case)
        if name == "logits":  # columns of padding mean nothing
            a, b = a[..., case.mask[0]], b[..., case.mask[0]]
        differences[name] = float((a - b).abs().max())
        if not differences[name] <= RAW:  # a NaN is no agreement either
            raise _mismatch(f"{name} differ by {differences[name]:.2g}, and {RAW:g} is allowed", case)
    return differences


def compare_detections(torch_detector: Detector, onnx_detector: Detector, prompt: PromptLike) -> int:
    """In drawn scenes. Returns the number of detections compared."""
    count = 0
    for number in range(SCENES):
        image = draw_scene(np.random.default_rng(number), 200, 150).image
        a, b = (detector(image, prompt, threshold=MIN_SCORE) for detector in (torch_detector, onnx_detector))
        if missing := unmatched(a, b) + unmatched(b, a):
            are = counted(len(a), "detection in a drawn scene has", "detections in a drawn scene have")
            raise GlipError(
                f"the exported graph disagrees with torch: {missing} of {are} no counterpart; no file was written"
            )
        count += len(a)
    return count


def default_labels(detector: Detector) -> tuple[str, ...]:
    """Shapes; the names of a model that knows some names only, because it takes shapes for some of them."""
    if isinstance(detector.tokenizer, ConceptTokenizer):
        return detector.tokenizer.lexicon.names
    return (*SHAPES, *(f"{colour} {shape}" for colour, shape in zip(COLOURS, SHAPES, strict=True)))


def unmatched(some: Detections, others: Detections) -> int:
    """The number of detections without a counterpart, apart from those at the threshold itself."""
    missing = 0
    for box, score, label in zip(some.boxes, some.scores, some.label_ids, strict=True):
        near = np.abs(others.boxes - box).max(1, initial=0) <= PIXELS
        same = near & (np.abs(others.scores - score) <= SCORE) & (others.label_ids == label)
        missing += bool(score > MIN_SCORE + SCORE and not same.any())
    return missing


def seconds(torch_detector: Detector, onnx_detector: Detector, case: Case) -> tuple[float, float]:
    """Seconds of one call of each: medians of calls in turn, so that other load affects both alike."""
    calls = [
        partial(run_image, detector, case, detector.model.encode_text(case.ids, case.mask))
        for detector in (torch_detector, onnx_detector)
    ]
    times = [[timed(call) for call in calls] for _ in range(WARM_UPS + RUNS)][WARM_UPS:]
    torchs, onnxs = zip(*times, strict=True)
    return statistics.median(torchs), statistics.median(onnxs)


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _mismatch(what: str, case: Case) -> GlipError:
    return GlipError(f"the exported graph disagrees with torch at {case}: {what}; no file was written")
