"""Raw output + the tokens of each label + image sizes -> boxes, scores and labels, as mmdet 3.3.0 makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from glip_cli.model.boxes import anchors as make_anchors
from glip_cli.model.boxes import decode, pairwise_iou
from glip_cli.model.head import RawOutput
from glip_cli.model.torchvision_ops import batched_nms, nms
from glip_cli.options import PRE_NMS_SCORE_THRESHOLD, DetectOptions
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.types import Detections


@dataclass(frozen=True)
class PostprocessOptions:
    """What is kept. The defaults are those of the published evaluation."""

    pre_nms_score_threshold: float = (
        PRE_NMS_SCORE_THRESHOLD  # a label's score at a location must exceed this, before centerness
    )
    pre_nms_top_k: int = 1000  # (location, label) pairs per level
    nms_iou: float = 0.6  # of two overlapping more than this, the better stays
    agnostic: bool = False  # let boxes of different labels suppress each other too
    max_per_image: int = 100


@dataclass(frozen=True)
class ImageMeta:
    """How an image went into the network.

    Attributes:
        resized: (width, height) of the image in the network's input, without padding.
        scale: (x, y), resized over original.
    """

    resized: tuple[int, int]
    scale: tuple[float, float]


@dataclass(frozen=True)
class RawDetections:
    """Detections of one image as tensors, best first.

    Attributes:
        boxes: float32 [n, 4], xyxy in pixels of the original image.
        scores: float32 [n].
        labels: int64 [n], columns of the label matrix.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __getitem__(self, index: Tensor | slice) -> RawDetections:
        return RawDetections(self.boxes[index], self.scores[index], self.labels[index])


def on_cpu(found: Sequence[RawDetections]) -> list[RawDetections]:
    """Several images' detections, copied together: each copy waits for the device."""
    whole = RawDetections(
        *(torch.cat([getattr(one, name) for one in found]).cpu() for name in ("boxes", "scores", "labels"))
    )
    ends = list(accumulate(len(one.scores) for one in found))
    return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True)
class LabelScores:
    """Probabilities of tokens -> scores of labels; made by `label_scores`.

    Attributes:
        matrix: float32 [T, K], whose column k averages label k's tokens (SCORE_AGG "MEAN"); or
        places: int64 [K, m], label k's tokens, of which the best counts (SCORE_AGG "MAX").
    """

    matrix: Tensor | None = None
    places: Tensor | None = None

    def __call__(self, probabilities: Tensor) -> Tensor:
        """[N, T] -> [N, K]."""
        if self.matrix is not None:
            return probabilities @ self.matrix
        assert self.places is not None
        return probabilities[:, self.places].amax(-1)


def label_scores(
    score_agg: str, label_tokens: Sequence[Sequence[int]], tokens: int, device: torch.device | str = "cpu"
) -> LabelScores:
    """How K labels of a text of T tokens score; `score_agg` as in `GlipConfig`."""
    if score_agg == "max":
        most = max(map(len, label_tokens))
        rows = [[*places, *places[:1] * (most - len(places))] for places in map(tuple, label_tokens)]
        return LabelScores(places=torch.tensor(rows, device=device))
    matrix = torch.zeros(tokens, len(label_tokens))
    for label, places in enumerate(label_tokens):
        matrix[list(places), label] = 1 / len(places)
    return LabelScores(matrix.to(device))


def postprocess(
    raw: RawOutput, labels: Sequence[LabelScores], images: Sequence[ImageMeta], limits: PostprocessOptions
) -> list[RawDetections]:
    """Detections of each of the B images of a batch; `labels` and `images` have one entry per image."""
    anchors = make_anchors(raw.sizes, raw.deltas.device)
    levels = [h * w for h, w in raw.sizes]
    centerness = [None] * len(images) if raw.centerness is None else raw.centerness.float().sigmoid()
    return [
        _one_image(scores(logits.float().sigmoid()), centred, decode(deltas.float(), anchors), levels, image, limits)
        for logits, centred, deltas, scores, image in zip(
            raw.logits, centerness, raw.deltas, labels, images, strict=True
        )
    ]


def _one_image(
    scores: Tensor,
    centerness: Tensor | None,
    boxes: Tensor,
    levels: list[int],
    image: ImageMeta,
    limits: PostprocessOptions,
) -> RawDetections:
    """Scores [N, K], centerness [N] and boxes [N, 4] in the network's pixels -> detections of one image."""
    location, label = _pre_nms(scores, levels, limits)
    ranked = scores[location, label]
    # quirk: ranked by the label's score alone, then weighed by centerness
    weighed = ranked if centerness is None else (ranked * centerness[location]).sqrt()
    found = RawDetections(_to_original(boxes[location], image), weighed, label)
    width, height = (found.boxes[:, 2:] - found.boxes[:, :2]).unbind(1)
    found = found[(width > 0) & (height > 0)]
    if limits.agnostic:
        keep = nms(found.boxes, found.scores, limits.nms_iou)
    else:
        keep = batched_nms(found.boxes, found.scores, found.labels, limits.nms_iou)
    kept = found[keep[: limits.max_per_image]]
    # quirk: the far corner moves by one pixel at the very end, so a box can pass the image's edge by less than 1 px
    return RawDetections(kept.boxes + kept.boxes.new_tensor([0.0, 0.0, 1.0, 1.0]), kept.scores, kept.labels)


def _pre_nms(scores: Tensor, levels: list[int], limits: PostprocessOptions) -> tuple[Tensor, Tensor]:
    """The best (location, label) pairs of each level: two int64 tensors."""
    chosen, first = [], 0
    for level in scores.split(levels):
        flat = level.flatten()
        above = (flat > limits.pre_nms_score_threshold).nonzero().squeeze(1)
        if len(above) > limits.pre_nms_top_k:
            above = above[flat[above].topk(limits.pre_nms_top_k).indices]
        chosen.append(above + first * scores.shape[1])
        first += len(level)
    pairs = torch.cat(chosen)
    return pairs // scores.shape[1], pairs % scores.shape[1]


def _to_original(boxes: Tensor, image: ImageMeta) -> Tensor:
    """Clip to the resized image, as wide as W - 1, and scale to the original."""
    limit = boxes.new_tensor(image.resized * 2) - 1
    return boxes.clamp(min=0).minimum(limit) / boxes.new_tensor(image.scale * 2)


# -------------------------------------------------------------------------------------------------------------- merge
# What the texts of a plan found in an image -> the `Detections` that are reported.


def postprocess_options(compiled: CompiledPrompt, options: DetectOptions) -> PostprocessOptions:
    per_image = max(options.per_text, options.top_k or 0)
    return PostprocessOptions(nms_iou=compiled.nms_iou, agnostic=options.agnostic_nms, max_per_image=per_image)


def merge(parts: list[RawDetections], compiled: CompiledPrompt, options: DetectOptions) -> RawDetections:
    """Bring the chunks of one image together, best first, and keep what was asked for."""
    found = RawDetections(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("boxes", "scores", "labels"))
    )
    found = found[found.scores.argsort(descending=True, stable=True)]
    if options.agnostic_nms and len(parts) > 1:
        found = found[nms(found.boxes, found.scores, compiled.nms_iou)]
    found = found[_wanted(found, len(compiled.labels), compiled.nms_iou)]
    thresholds = found.scores.new_tensor([options.class_thresholds.get(x, options.threshold) for x in compiled.labels])
    return found[found.scores > thresholds[found.labels]][: options.top_k]


def _wanted(found: RawDetections, labels: int, iou: float) -> Tensor:
    """Not a negative label, and no negative of a higher score on the same object: bool [n]."""
    negative = found.labels >= labels
    if not negative.any():
        return ~negative
    rival = pairwise_iou(found.boxes, found.boxes[negative]) > iou
    beaten = rival & (found.scores[negative] > found.scores.unsqueeze(1))
    return ~negative & ~beaten.any(1)


def is_capped(found: Detections, compiled: CompiledPrompt, options: DetectOptions) -> bool:
    """Whether an image, or a view of one, has as many boxes of one text above their thresholds as are kept.

    Where --top-k says how many, that is not asked.
    """
    if options.top_k is not None or len(found) < options.per_text:
        return False
    thresholds = np.array([options.class_thresholds.get(label, options.threshold) for label in compiled.labels])
    labels = found.label_ids[found.scores > thresholds[found.label_ids]]
    return any(np.isin(labels, part.label_ids).sum() >= options.per_text for part in compiled.chunks)


def to_raw(detections: Detections) -> RawDetections:
    return RawDetections(*map(torch.tensor, (detections.boxes, detections.scores, detections.label_ids)))


def to_detections(found: RawDetections, size: tuple[int, int], compiled: CompiledPrompt) -> Detections:
    return Detections(
        boxes=found.boxes.float().cpu().numpy(),
        scores=found.scores.float().cpu().numpy(),
        label_ids=found.labels.cpu().numpy(),
        labels=compiled.labels,
        spans=compiled.spans,
        text=compiled.text,
        size=size,
        places=compiled.chunks[0].prompt.spans if compiled.chunks[0].prompt.is_caption else (),
    )
