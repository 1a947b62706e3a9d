"""The grounding loss: token focal loss + centerness-weighted GIoU + centerness (GLIP paper, section 3.1).

A head without centerness has the quality of its boxes in the scores of its tokens: their target is then the IoU that
the box has, not 1 (quality focal loss; Generalized Focal Loss, arXiv 2006.04388).

Semantics and normalisers are mmdetection 3.3.0's (atss_vlfusion_head.py), which differ from the official code's: an
image counts at least one positive, and images without boxes train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glip_cli.model.boxes import anchors as make_anchors
from glip_cli.model.boxes import decode, giou, iou
from glip_cli.model.head import RawOutput
from glip_cli.training.assign import Match

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
QUALITY_BETA = 2.0
BOX_WEIGHT = 2.0
EPS = torch.finfo(torch.float32).eps  # mmdet adds it to every normaliser


@dataclass(frozen=True)
class Target:
    """The annotations of one image.

    Attributes:
        boxes: float [M, 4] in pixels of the resized image, "sub-one": x2 and y2 are the last pixel, not one past it.
        tokens: bool [M, T], the tokens that name each box. A box without any trains no regression.
    """

    boxes: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Losses:
    """Scalars; `total` is their plain sum, as in the reference. `centerness` is None for a head that has none."""

    token: Tensor
    box: Tensor
    centerness: Tensor | None

    @property
    def parts(self) -> dict[str, Tensor]:
        """By their names, those that there are."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def total(self) -> Tensor:
        both = self.token + self.box
        return both if self.centerness is None else both + self.centerness


def normalisers(targets: Sequence[Target], matches: Sequence[Match]) -> Tensor:
    """float32 [2]: what the losses of images are divided by: positives, and the sum of the centerness targets.

    Positives are locations that have a box; an image counts at least one.
    """
    positives = float(sum(max(len(one.where), 1) for one in matches))
    centred = torch.cat([one.centerness for one in _named(targets, matches)]).sum()
    return torch.stack((centred.new_tensor(positives), centred))


def grounding_loss(
    raw: RawOutput,
    text_mask: Tensor,
    targets: Sequence[Target],
    matches: Sequence[Match],
    weights: Tensor | None = None,
) -> Losses:
    """Losses of a batch.

    Args:
        raw: the network's output for B images.
        text_mask: bool [B, T]: real tokens. [CLS], [SEP] and separators are trained as negatives, padding is not.
        targets: B of them.
        matches: of each, for locations as the network has them.
        weights: float [2], as `normalisers`, to divide by instead of the batch's own: where the batch is a part
            of a step, the whole step's; where processes average their gradients, the mean over processes (mmdet's
            `reduce_mean`). The parts' gradients then add up to those of one great batch.
    """
    positives, centred = (normalisers(targets, matches) if weights is None else weights).unbind()
    count, named = raw.deltas.shape[1], _named(targets, matches)
    where = torch.cat([one.where + i * count for i, one in enumerate(named)])
    boxes = torch.cat([target.boxes[one.box] for target, one in zip(targets, named, strict=True)])
    goal = torch.cat([one.centerness for one in named])
    anchors = make_anchors(raw.sizes, raw.deltas.device)[where % count]
    deltas = raw.deltas.flatten(0, 1)[where].float()
    decoded = decode(deltas, anchors)
    # of no positives every sum is 0 and so is its gradient, but it is there
    miss = 1 - giou(decoded, boxes)
    box = BOX_WEIGHT * (goal * miss).sum() / (1 + EPS) / centred.clamp(min=1)
    if raw.centerness is None:
        quality = iou(decoded.detach(), boxes, plus_one=1.0).split([len(one.where) for one in named])
        return Losses(_token_loss(raw.logits, text_mask, targets, named, quality) / (positives + EPS), box, None)
    logits = raw.centerness.flatten()[where].float()
    token = _token_loss(raw.logits, text_mask, targets, named)
    centerness = F.binary_cross_entropy_with_logits(logits, goal, reduction="sum")
    return Losses(token / (positives + EPS), box, centerness / (positives + EPS))


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss, element by element (arXiv 1708.02002); targets are 0 or 1."""
    p = logits.sigmoid()
    miss = (1 - p) * targets + p * (1 - targets)
    weight = (FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)) * miss.pow(FOCAL_GAMMA)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight


def quality_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid quality focal loss, element by element (arXiv 2006.04388, equation 5); targets are in [0, 1]."""
    weight = (targets - logits.sigmoid()).abs().pow(QUALITY_BETA)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weight


def _token_loss(
    logits: Tensor,
    text_mask: Tensor,
    targets: Sequence[Target],
    matches: Sequence[Match],
    quality: Sequence[Tensor] | None = None,
) -> Tensor:
    """Sum over all locations and real tokens; `quality` of each match [H], where the loss has a use for it."""
    goal = torch.zeros_like(logits, dtype=torch.float32)
    for i, (row, target, one) in enumerate(zip(goal, targets, matches, strict=True)):
        named = target.tokens[one.box].float()
        row[one.where, : target.tokens.shape[1]] = named if quality is None else named * quality[i].unsqueeze(1)
    loss = focal_loss if quality is None else quality_focal_loss
    return (loss(logits.float(), goal) * text_mask.unsqueeze(1)).sum()


def _named(targets: Sequence[Target], matches: Sequence[Match]) -> list[Match]:
    """Only the locations that train a box, since some token names it."""
    trained = (target.tokens.any(-1)[one.box] for target, one in zip(targets, matches, strict=True))
    return [Match(*(part[keep] for part in vars(one).values())) for one, keep in zip(matches, trained, strict=True)]


def add_to(sums: dict[str, float], more: Mapping[str, float]) -> None:
    """Name by name, in place."""
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
