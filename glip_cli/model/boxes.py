"""Anchors, box coding and overlaps: pure tensors.

Boxes are (x1, y1, x2, y2) in pixels. The released models were trained with the old "+1" convention, in which a box
from x1 to x2 is x2 - x1 + 1 wide; where it matters a docstring says so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glip_cli.model.config import ANCHOR_SCALE, DELTA_SCALE, STRIDES

MAX_LOG_RATIO = math.log(1000 / 16)  # a box is at most 62.5 times its anchor, and at least 1/62.5


def anchors(sizes: tuple[tuple[int, int], ...], device: torch.device | str = "cpu") -> Tensor:
    """One square anchor per location, level by level, row by row: float32 [N, 4].

    Its side is 8 strides and its centre that of the cell, (i + 0.5) * stride (no +1).
    """
    levels = []
    for (height, width), stride in zip(sizes, STRIDES, strict=False):
        y = (torch.arange(height, device=device) + 0.5) * stride
        x = (torch.arange(width, device=device) + 0.5) * stride
        cy, cx = (grid.flatten() for grid in torch.meshgrid(y, x, indexing="ij"))
        half = ANCHOR_SCALE * stride / 2
        levels.append(torch.stack((cx - half, cy - half, cx + half, cy + half), dim=-1))
    return torch.cat(levels)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Box deltas [..., 4] on anchors [..., 4] -> boxes [..., 4] in the +1 convention, not clipped.

    Quirk: the centre is (x1 + x2 - 1) / 2 while the width is x2 - x1 (mmdet's DeltaXYWHBBoxCoderForGLIP).
    """
    scale = deltas.new_tensor(DELTA_SCALE)
    shift, log_ratio = (deltas * scale).split(2, dim=-1)
    log_ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    low, high = anchors.split(2, dim=-1)
    size = high - low
    centre = shift * size + (low + high - 1) / 2
    half = (size * log_ratio.exp() - 1) / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def area(boxes: Tensor, plus_one: float = 0.0) -> Tensor:
    """[..., 4] -> [...], square pixels."""
    return (boxes[..., 2] - boxes[..., 0] + plus_one) * (boxes[..., 3] - boxes[..., 1] + plus_one)


def intersection(a: Tensor, b: Tensor, plus_one: float = 0.0) -> Tensor:
    """The area that pairs share: [..., 4], [..., 4] -> [...], square pixels."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    return (high - low + plus_one).clamp(min=0).prod(-1)


def iou(a: Tensor, b: Tensor, plus_one: float = 0.0) -> Tensor:
    """IoU of pairs: [..., 4], [..., 4] -> [...]. `plus_one` = 1: in the +1 convention."""
    overlap = intersection(a, b, plus_one)
    union = area(a, plus_one) + area(b, plus_one) - overlap
    return overlap / union.clamp(min=1e-6)


def pairwise_iou(a: Tensor, b: Tensor, plus_one: float = 0.0) -> Tensor:
    """IoU of all pairs: [n, 4], [m, 4] -> [n, m]."""
    return iou(a[:, None], b[None, :], plus_one)


def giou(a: Tensor, b: Tensor, eps: float = 1e-6) -> Tensor:
    """Generalised IoU (arXiv 1902.09630) of pairs, no +1: [n, 4], [n, 4] -> [n]."""
    overlap = intersection(a, b)
    union = (area(a) + area(b) - overlap).clamp(min=eps)
    hull_low, hull_high = torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])
    hull = (hull_high - hull_low).clamp(min=0).prod(-1).clamp(min=eps)
    return overlap / union - (hull - union) / hull
