"""The grounding loss: token focal loss + centerness-weighted GIoU + centerness (GLIP paper, section 3.1).

Semantics and normalisers are mmdetection 3.3.0's (atss_vlfusion_head.py), which differ from the official code's: an
image counts at least one positive, and images without boxes train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glip_cli.boxes import anchors as make_anchors
from glip_cli.boxes import decode, giou
from glip_cli.finetune.assign import BACKGROUND, assign
from glip_cli.model.head import RawOutput

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
BOX_WEIGHT = 2.0
EPS = torch.finfo(torch.float32).eps  # mmdet adds it to every normaliser


@dataclass(frozen=True)
class Target:
    """What is in one image.

    Attributes:
        boxes: float [M, 4] in pixels of the resized image, "sub-one": x2 and y2 are the last pixel, not one past it.
        tokens: bool [M, T], the tokens that name each box. A box without any trains no regression.
    """

    boxes: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Losses:
    """Scalars; `total` is their plain sum, as in the reference."""

    token: Tensor
    box: Tensor
    centerness: Tensor

    @property
    def total(self) -> Tensor:
        return self.token + self.box + self.centerness


@dataclass(frozen=True)
class Matches:
    """Which locations of a batch train what; P of them train a box.

    Attributes:
        assigned: per image, int64 [N]: the index of a location's box, or -1.
        where: int64 [P] into the batch's locations, all images one after another.
        boxes: float [P, 4], the box of each.
        centerness: float [P], what each should say.
        positives: locations that have a box; an image counts at least one.
    """

    assigned: list[Tensor]
    where: Tensor
    boxes: Tensor
    centerness: Tensor
    positives: int

    @property
    def weights(self) -> Tensor:
        """float32 [2]: what the losses are divided by: positives, and the sum of the centerness targets."""
        return torch.stack((self.centerness.new_tensor(float(self.positives)), self.centerness.sum()))


def match(sizes: Sequence[tuple[int, int]], targets: Sequence[Target], device: torch.device) -> Matches:
    """Assign the locations of levels of (h, w) to what is in each image; the network has no say in it."""
    anchors = _shrunk(make_anchors(tuple(sizes), device))
    levels = [h * w for h, w in sizes]
    assigned = [assign(anchors, levels, target.boxes) for target in targets]
    found = [_positives(index, target) for index, target in zip(assigned, targets, strict=True)]
    where = torch.cat([locations + i * len(anchors) for i, (locations, _) in enumerate(found)])
    boxes = torch.cat([target.boxes[index] for target, (_, index) in zip(targets, found, strict=True)])
    centres = ((anchors[:, :2] + anchors[:, 2:]) / 2)[where % len(anchors)]
    positives = sum(max(int((index != BACKGROUND).sum()), 1) for index in assigned)
    return Matches(assigned, where, boxes, centerness_target(centres, boxes), positives)


def grounding_loss(
    raw: RawOutput, text_mask: Tensor, targets: Sequence[Target], weights: Tensor | None = None
) -> Losses:
    """Losses of a batch.

    Args:
        raw: the network's output for B images.
        text_mask: bool [B, T]: real tokens. [CLS], [SEP] and separators are trained as negatives, padding is not.
        targets: B of them.
        weights: float [2], as `Matches.weights`, to divide by instead of the batch's own: where the batch is a part
            of a step, the whole step's; where processes average their gradients, the mean over processes (mmdet's
            `reduce_mean`). The parts' gradients then add up to those of one great batch.
    """
    matches = match(raw.sizes, targets, raw.deltas.device)
    positives, centred = (matches.weights if weights is None else weights).unbind()
    anchors = make_anchors(raw.sizes, raw.deltas.device)[matches.where % raw.deltas.shape[1]]
    deltas = raw.deltas.flatten(0, 1)[matches.where].float()
    logits = raw.centerness.flatten()[matches.where].float()
    goal = matches.centerness
    token = _token_loss(raw.logits, text_mask, targets, matches.assigned) / (positives + EPS)
    # of no positives every sum is 0 and so is its gradient, but it is there
    miss = 1 - giou(decode(deltas, anchors), matches.boxes)
    box = BOX_WEIGHT * (goal * miss).sum() / (1 + EPS) / centred.clamp(min=1)
    centerness = F.binary_cross_entropy_with_logits(logits, goal, reduction="sum") / (positives + EPS)
    return Losses(token=token, box=box, centerness=centerness)


def _shrunk(anchors: Tensor) -> Tensor:
    """[N, 4] with x2 and y2 lessened by 1: sub-one, as targets are."""
    return anchors - anchors.new_tensor([0.0, 0.0, 1.0, 1.0])


def centerness_target(centres: Tensor, boxes: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of points [n, 2] inside boxes [n, 4] (arXiv 1904.01355)."""
    low, high = centres - boxes[:, :2], boxes[:, 2:] - centres
    return (torch.minimum(low, high) / torch.maximum(low, high)).prod(-1).sqrt()


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss, element by element (arXiv 1708.02002); targets are 0 or 1."""
    p = logits.sigmoid()
    miss = (1 - p) * targets + p * (1 - targets)
    weight = (FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)) * miss.pow(FOCAL_GAMMA)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight


def _token_loss(logits: Tensor, text_mask: Tensor, targets: Sequence[Target], assigned: list[Tensor]) -> Tensor:
    """Sum over all locations and real tokens."""
    goal = torch.zeros_like(logits, dtype=torch.float32)
    for row, target, index in zip(goal, targets, assigned, strict=True):
        hit = index != BACKGROUND
        row[hit, : target.tokens.shape[1]] = target.tokens[index[hit]].float()
    return (focal_loss(logits.float(), goal) * text_mask.unsqueeze(1)).sum()


def _positives(index: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Locations that train a box, and the box of each: int64 [P], int64 [P]."""
    locations = (index != BACKGROUND).nonzero().squeeze(1)
    box = index[locations]
    named = target.tokens.any(-1)[box]
    return locations[named], box[named]
