"""Assignment and losses agree with mmdetection 3.3.0's, from the raw outputs that the goldens store."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from glip_cli.model.boxes import anchors
from glip_cli.model.head import RawOutput
from glip_cli.training.assign import BACKGROUND, CANDIDATES, Match, _nearest, assign, match
from glip_cli.training.loss import Target, focal_loss, grounding_loss
from tests.shared import golden

CASES = [f"{model}-{case}" for model in "ab"
         for case in ("main", "oneempty", "allempty", "clamp", "oneclass", "ties", "twotexts")]  # fmt: skip
SIZES = ((32, 40), (16, 20), (8, 10), (4, 5), (2, 3))  # of a 256 x 320 input
Arrays = Any


def load(case: str) -> Arrays:
    return np.load(golden(f"losses/loss-golden-{case}.npz"))


def shrunk_anchors(sizes: tuple[tuple[int, int], ...]) -> Tensor:
    return anchors(sizes) - torch.tensor([0.0, 0.0, 1.0, 1.0])


def targets(stored: Arrays) -> list[Target]:
    tokens = stored["cls_logits"].shape[2]
    return [
        Target(
            boxes=torch.tensor(stored[f"gt_boxes{i}"], dtype=torch.float32).reshape(-1, 4),
            tokens=torch.tensor(stored[f"positive_map{i}"]).bool().reshape(-1, 256)[:, :tokens],
        )
        for i in range(2)
    ]


def matches(of: list[Target]) -> list[Match]:
    return [match(SIZES, target.boxes) for target in of]


def raw_output(stored: Arrays) -> RawOutput:
    logits, deltas, centerness = (
        torch.tensor(stored[key]).requires_grad_() for key in ("cls_logits", "bbox_pred", "centerness")
    )
    return RawOutput(logits, deltas, centerness, SIZES)


def text_mask(stored: Arrays) -> Tensor:
    lengths = torch.tensor([[len(stored["input_ids0"])], [len(stored["input_ids1"])]])
    return torch.arange(stored["cls_logits"].shape[2]) < lengths


@pytest.mark.parametrize("case", CASES)
def test_losses_and_their_gradients(case: str) -> None:
    """1e-6 relative is a few units in the last place of float32."""
    stored = load(case)
    raw = raw_output(stored)
    losses = grounding_loss(raw, text_mask(stored), targets(stored), matches(targets(stored)))
    losses.total.backward()
    for key, mine in (("cls", losses.token), ("bbox", losses.box), ("centerness", losses.centerness)):
        assert mine.item() == pytest.approx(float(stored[f"loss_{key}"]), rel=1e-6, abs=1e-9)
    for key, tensor in (("cls_logits", raw.logits), ("bbox_pred", raw.deltas), ("centerness", raw.centerness)):
        assert tensor.grad is not None
        norm = float(stored[f"grad_norm_wrt_{key}"])
        assert tensor.grad.double().norm().item() == pytest.approx(norm, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_every_anchor_gets_the_same_box(case: str) -> None:
    stored = load(case)
    for image, target in enumerate(targets(stored)):
        expected = np.concatenate([stored[f"assigned_level{level}"][image] for level in range(5)])
        mine = assign(shrunk_anchors(SIZES), [h * w for h, w in SIZES], target.boxes)
        assert (mine.numpy() == expected).all()


@pytest.mark.parametrize("number", range(24))
def test_assignment_alone(number: int) -> None:
    """Sets made so that each plausible mistake (no +1, biased deviation, ...) shows: parity/losses/README.md."""
    stored = np.load(golden("losses/assign-golden.npz"))
    height, width = (int(side) for side in stored[f"{number}_hw"])
    sizes = [(-(-height // 8), -(-width // 8))]
    for _ in range(4):
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    boxes = torch.tensor(stored[f"{number}_boxes"]).float()
    mine = assign(shrunk_anchors(tuple(sizes)), [h * w for h, w in sizes], boxes)
    assert (mine.numpy() == stored[f"{number}_assigned"].ravel()).all()


def test_of_equally_near_anchors_the_first_are_taken() -> None:
    """Boxes on corners and centres of cells, where most distances occur several times: as a stable sort has them."""
    centres = (lambda boxes: (boxes[:, :2] + boxes[:, 2:]) / 2)(shrunk_anchors(SIZES))
    points = torch.tensor([[x, y] for x in (3.5, 7.5, 159.5) for y in (3.5, 63.5, 127.5)])
    levels = [h * w for h, w in SIZES]
    chosen = _nearest(centres, levels, points).split([min(CANDIDATES, level) for level in levels])
    first = 0
    for level, mine in zip(centres.split(levels), chosen, strict=True):
        distance = (level[:, None] - points[None]).square().sum(-1).sqrt()
        order = np.argsort(distance.numpy(), axis=0, kind="stable")[:CANDIDATES] + first
        assert (mine.numpy() == order).all()
        first += len(level)


def test_no_boxes_is_all_background() -> None:
    mine = assign(shrunk_anchors(SIZES), [h * w for h, w in SIZES], torch.zeros(0, 4))
    assert (mine == BACKGROUND).all()


def test_focal_loss_is_the_formula() -> None:
    logits = torch.linspace(-6, 6, 13, dtype=torch.float64)
    p = logits.sigmoid()
    ones, zeros = torch.ones_like(p), torch.zeros_like(p)
    torch.testing.assert_close(focal_loss(logits, ones), -0.25 * (1 - p) ** 2 * p.log())
    torch.testing.assert_close(focal_loss(logits, zeros), -0.75 * p**2 * (1 - p).log())


def test_padding_of_the_text_is_not_in_the_loss() -> None:
    stored = load("a-oneclass")
    raw = raw_output(stored)
    wide = RawOutput(torch.nn.functional.pad(raw.logits, (0, 5), value=3.0), raw.deltas, raw.centerness, SIZES)
    mask = torch.nn.functional.pad(text_mask(stored), (0, 5))
    given = targets(stored), matches(targets(stored))
    alone = grounding_loss(raw, text_mask(stored), *given)
    assert grounding_loss(wide, mask, *given).total.item() == pytest.approx(alone.total.item(), rel=1e-6)


def test_a_box_without_tokens_counts_but_trains_no_box() -> None:
    """As in mmdetection, where a class that is cut off behind 256 tokens has an empty row."""
    stored = load("a-oneclass")
    named = targets(stored)
    unnamed = [Target(t.boxes, torch.zeros_like(t.tokens)) for t in named]
    losses = grounding_loss(raw_output(stored), text_mask(stored), unnamed, matches(named))
    assert losses.box.item() == 0
    assert losses.centerness.item() == 0
    assert losses.token.item() > 0
