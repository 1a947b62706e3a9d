"""What the texts of a plan found in an image -> the `Detections` that are reported."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from glip_cli.inference.postprocess import PostprocessOptions, RawDetections
from glip_cli.model.boxes import pairwise_iou
from glip_cli.model.torchvision_ops import nms
from glip_cli.options import DetectOptions
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.types import Detections


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
