"""Which location is to find which box: ATSS (arXiv 1912.02424) in the +1 convention of the released models.

It depends on the boxes and on the size of the batch alone, so the processes that load batches do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glip_cli.model.boxes import anchors as make_anchors
from glip_cli.model.boxes import iou

CANDIDATES = 9  # nearest locations per level and box
INSIDE = 0.01  # pixels by which an anchor's centre must lie inside the box
BACKGROUND = -1


@dataclass(frozen=True)
class Match:
    """The locations of one image that are to find a box: H of them.

    Attributes:
        where: int64 [H], locations, rising.
        box: int64 [H], the index of the box of each.
        centerness: float32 [H], what each should say.
    """

    where: Tensor
    box: Tensor
    centerness: Tensor

    def to(self, device: torch.device) -> Match:
        return Match(*(part.to(device) for part in vars(self).values()))


def match(sizes: Sequence[tuple[int, int]], boxes: Tensor) -> Match:
    """Assign the locations of levels of (h, w) to the boxes [M, 4] (sub-one) of an image."""
    anchors = make_anchors(tuple(sizes), boxes.device)
    anchors = anchors - anchors.new_tensor([0.0, 0.0, 1.0, 1.0])  # sub-one, as boxes are
    assigned = assign(anchors, [h * w for h, w in sizes], boxes)
    where = (assigned != BACKGROUND).nonzero().squeeze(1)
    box = assigned[where]
    return Match(where, box, centerness_target(_centres(anchors[where]), boxes[box]))


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
    candidates = _nearest(_centres(anchors), level_sizes, _centres(boxes))
    chosen = anchors[candidates]
    overlaps = iou(chosen, boxes, plus_one=1.0)
    positive = (overlaps >= overlaps.mean(0) + overlaps.std(0)) & (_depth_inside(_centres(chosen), boxes) > INSIDE)
    wanted = overlaps.new_full((len(anchors), len(boxes)), -1.0)
    wanted.scatter_(0, candidates, overlaps.masked_fill(~positive, -1.0))
    best, index = wanted.max(dim=1)
    return index.masked_fill(best < 0, BACKGROUND)


def centerness_target(centres: Tensor, boxes: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of points [n, 2] inside boxes [n, 4] (arXiv 1904.01355)."""
    low, high = centres - boxes[:, :2], boxes[:, 2:] - centres
    return (torch.minimum(low, high) / torch.maximum(low, high)).prod(-1).sqrt()


def _centres(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _nearest(centres: Tensor, level_sizes: list[int], targets: Tensor) -> Tensor:
    """The nearest anchors of each level for each box, the nearest first: int64 [candidates, M].

    Of equals the first wins, which `topk` does not promise: so it is given distance and place in one number. The bits
    of floats that are not negative rise as they do.
    """
    chosen, first = [], 0
    for level in centres.split(level_sizes):
        distance = (level[:, 0] - targets[:, :1]).square().add_((level[:, 1] - targets[:, 1:]).square()).sqrt_()
        keys = (distance.view(torch.int32).long() << 32) + torch.arange(len(level), device=level.device)
        nearest = keys.topk(min(CANDIDATES, len(level)), largest=False).values
        chosen.append((nearest & 0xFFFFFFFF) + first)
        first += len(level)
    return torch.cat(chosen, dim=1).T.contiguous()


def _depth_inside(centres: Tensor, boxes: Tensor) -> Tensor:
    """Pixels from each centre [..., 2] to the nearest side of its box [..., 4], negative outside: [...]."""
    return torch.cat((centres - boxes[..., :2], boxes[..., 2:] - centres), dim=-1).amin(-1)
