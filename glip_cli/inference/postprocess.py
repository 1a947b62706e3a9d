"""Raw output + the tokens of each label + image sizes -> boxes, scores and labels, as mmdet 3.3.0 makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from glip_cli.inference.preprocess import PreprocessedImage
from glip_cli.model.boxes import anchors as make_anchors
from glip_cli.model.boxes import decode, pairwise_iou
from glip_cli.model.head import RawOutput
from glip_cli.model.torchvision_ops import batched_nms, nms
from glip_cli.options import PRE_NMS_SCORE_THRESHOLD, DetectOptions
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.types import Detections


@dataclass(frozen=True)
class PostprocessOptions:
    """The defaults are those of the published evaluation."""

    pre_nms_score_threshold: float = (
        PRE_NMS_SCORE_THRESHOLD  # a label's score at a location must exceed this, before centerness
    )
    pre_nms_top_k: int = 1000  # (location, label) pairs per level
    nms_iou: float = 0.6  # of two overlapping more than this, the better stays
    agnostic: bool = False  # let boxes of different labels suppress each other too
    max_per_image: int = 100


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


def on_cpu(detections: Sequence[RawDetections]) -> list[RawDetections]:
    """Detections of several images, copied together, because each copy waits for the device."""
    joined = RawDetections(
        *(torch.cat([getattr(image, name) for image in detections]).cpu() for name in ("boxes", "scores", "labels"))
    )
    ends = list(accumulate(len(image.scores) for image in detections))
    return [joined[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True)
class LabelScores:
    """Probabilities of tokens -> scores of labels; made by `label_scores`.

    Attributes:
        matrix: float32 [T, K], whose column k averages label k's tokens (SCORE_AGG "MEAN"); or
        token_ids: int64 [K, m], positions of label k's tokens, of which the best counts (SCORE_AGG "MAX").
    """

    matrix: Tensor | None = None
    token_ids: Tensor | None = None

    def __call__(self, probabilities: Tensor) -> Tensor:
        """[N, T] -> [N, K]."""
        if self.matrix is not None:
            return probabilities @ self.matrix
        assert self.token_ids is not None
        return probabilities[:, self.token_ids].amax(-1)


def label_scores(
    score_agg: str, label_tokens: Sequence[Sequence[int]], tokens: int, device: torch.device | str = "cpu"
) -> LabelScores:
    """The scores of K labels in a text of T tokens; `score_agg` as in `GlipConfig`."""
    if score_agg == "max":
        longest = max(map(len, label_tokens))
        rows = [
            [*tokens_of_label, *tokens_of_label[:1] * (longest - len(tokens_of_label))]
            for tokens_of_label in map(tuple, label_tokens)
        ]
        return LabelScores(token_ids=torch.tensor(rows, device=device))
    matrix = torch.zeros(tokens, len(label_tokens))
    for label, tokens_of_label in enumerate(label_tokens):
        matrix[list(tokens_of_label), label] = 1 / len(tokens_of_label)
    return LabelScores(matrix.to(device))


def postprocess(
    raw: RawOutput, labels: Sequence[LabelScores], images: Sequence[PreprocessedImage], limits: PostprocessOptions
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
    image: PreprocessedImage,
    limits: PostprocessOptions,
) -> RawDetections:
    """Scores [N, K], centerness [N] and boxes [N, 4] in the network's pixels -> detections of one image."""
    location, label = _pre_nms(scores, levels, limits)
    ranked = scores[location, label]
    # quirk: ranked by the label's score alone, then weighed by centerness
    weighed = ranked if centerness is None else (ranked * centerness[location]).sqrt()
    detections = RawDetections(_to_original(boxes[location], image), weighed, label)
    width, height = (detections.boxes[:, 2:] - detections.boxes[:, :2]).unbind(1)
    detections = detections[(width > 0) & (height > 0)]
    if limits.agnostic:
        keep = nms(detections.boxes, detections.scores, limits.nms_iou)
    else:
        keep = batched_nms(detections.boxes, detections.scores, detections.labels, limits.nms_iou)
    best = detections[keep[: limits.max_per_image]]
    # quirk: the far corner moves by one pixel at the very end, so a box can pass the image's edge by less than 1 px
    return RawDetections(best.boxes + best.boxes.new_tensor([0.0, 0.0, 1.0, 1.0]), best.scores, best.labels)


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


def _to_original(boxes: Tensor, image: PreprocessedImage) -> Tensor:
    """Clip to the resized image, as wide as W - 1, and scale to the original."""
    limit = boxes.new_tensor(image.resized * 2) - 1
    return boxes.clamp(min=0).minimum(limit) / boxes.new_tensor(image.scale * 2)


# -------------------------------------------------------------------------------------------------------------- merge
# The detections of a prompt's chunks in an image -> the `Detections` that are reported.


def postprocess_options(compiled: CompiledPrompt, options: DetectOptions) -> PostprocessOptions:
    per_image = max(options.per_text, options.top_k or 0)
    return PostprocessOptions(nms_iou=compiled.nms_iou, agnostic=options.agnostic_nms, max_per_image=per_image)


def merge(parts: list[RawDetections], compiled: CompiledPrompt, options: DetectOptions) -> RawDetections:
    """Merge the chunks of one image, best first; apply negatives, thresholds and `top_k`."""
    detections = RawDetections(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("boxes", "scores", "labels"))
    )
    detections = detections[detections.scores.argsort(descending=True, stable=True)]
    if options.agnostic_nms and len(parts) > 1:
        detections = detections[nms(detections.boxes, detections.scores, compiled.nms_iou)]
    detections = detections[_is_reported(detections, len(compiled.labels), compiled.nms_iou)]
    thresholds = detections.scores.new_tensor(
        [options.class_thresholds.get(x, options.threshold) for x in compiled.labels]
    )
    return detections[detections.scores > thresholds[detections.labels]][: options.top_k]


def _is_reported(detections: RawDetections, labels: int, iou: float) -> Tensor:
    """Not of a negative label, and not overlapped by a negative of a higher score: bool [n]."""
    negative = detections.labels >= labels
    if not negative.any():
        return ~negative
    overlaps = pairwise_iou(detections.boxes, detections.boxes[negative]) > iou
    beaten = overlaps & (detections.scores[negative] > detections.scores.unsqueeze(1))
    return ~negative & ~beaten.any(1)


def is_capped(detections: Detections, compiled: CompiledPrompt, options: DetectOptions) -> bool:
    """Whether the limit per text may have dropped detections above their thresholds. False where `top_k` is given."""
    if options.top_k is not None or len(detections) < options.per_text:
        return False
    thresholds = np.array([options.class_thresholds.get(label, options.threshold) for label in compiled.labels])
    labels = detections.label_ids[detections.scores > thresholds[detections.label_ids]]
    return any(np.isin(labels, part.label_ids).sum() >= options.per_text for part in compiled.chunks)


def to_raw(detections: Detections) -> RawDetections:
    return RawDetections(*map(torch.tensor, (detections.boxes, detections.scores, detections.label_ids)))


def to_detections(raw: RawDetections, size: tuple[int, int], compiled: CompiledPrompt) -> Detections:
    return Detections(
        boxes=raw.boxes.float().cpu().numpy(),
        scores=raw.scores.float().cpu().numpy(),
        label_ids=raw.labels.cpu().numpy(),
        labels=compiled.labels,
        spans=compiled.spans,
        text=compiled.text,
        size=size,
        all_spans=compiled.chunks[0].prompt.spans if compiled.chunks[0].prompt.is_caption else (),
    )
