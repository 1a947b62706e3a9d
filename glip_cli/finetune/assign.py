"""Which location is to find which box: ATSS (arXiv 1912.02424) in the +1 convention of the released models."""

from __future__ import annotations

import torch
from torch import Tensor

from glip_cli.boxes import pairwise_iou

CANDIDATES = 9  # nearest locations per level and box
INSIDE = 0.01  # pixels by which an anchor's centre must lie inside the box
BACKGROUND = -1


def assign(anchors: Tensor, level_sizes: list[int], boxes: Tensor) -> Tensor:
    """Give every anchor its box.

    Candidates of a box are the 9 anchors per level whose centres lie nearest. Positive is a candidate whose IoU
    reaches mean + standard deviation of all the box's candidates and whose centre lies inside the box. An anchor
    wanted by several boxes goes to the one that it overlaps most. A box may end without any anchor.

    Args:
        anchors: [N, 4], "sub-one" (x2 and y2 lessened by 1), level by level.
        level_sizes: anchors per level.
        boxes: [M, 4] ground truth, sub-one; M may be 0.

    Returns:
        int64 [N], an index into `boxes` or -1 for background.
    """
    if not len(boxes):
        return anchors.new_full((len(anchors),), BACKGROUND, dtype=torch.long)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    iou = pairwise_iou(anchors, boxes, plus_one=1.0)
    candidates = _nearest(centres, level_sizes, (boxes[:, :2] + boxes[:, 2:]) / 2)
    overlaps = iou.gather(0, candidates)
    threshold = overlaps.mean(0) + overlaps.std(0)
    positive = torch.zeros_like(iou, dtype=torch.bool).scatter_(0, candidates, overlaps >= threshold)
    positive &= _depth_inside(centres, boxes) > INSIDE
    best, index = iou.masked_fill(~positive, -1.0).max(dim=1)
    return index.masked_fill(best < 0, BACKGROUND)


def _nearest(centres: Tensor, level_sizes: list[int], targets: Tensor) -> Tensor:
    """The nearest anchors of each level for each box: int64 [candidates, M]. Of equals the first wins."""
    distance = (centres[:, None] - targets[None]).square().sum(-1).sqrt()
    chosen, first = [], 0
    for level in distance.split(level_sizes):
        order = level.argsort(dim=0, stable=True)[: min(CANDIDATES, len(level))]
        chosen.append(order + first)
        first += len(level)
    return torch.cat(chosen)


def _depth_inside(centres: Tensor, boxes: Tensor) -> Tensor:
    """Pixels from each centre to the nearest side of each box, negative outside: [N, M]."""
    low = centres[:, None] - boxes[None, :, :2]
    high = boxes[None, :, 2:] - centres[:, None]
    return torch.cat((low, high), dim=-1).amin(-1)
