from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import batched_nms as torchvisions_nms
from torchvision.ops import box_iou, generalized_box_iou

from glip_cli.model.boxes import anchors, decode, giou, pairwise_iou
from glip_cli.model.torchvision_ops import batched_nms


def random_boxes(seed: int, count: int) -> Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * 100
    return torch.cat((corners.amin(1), corners.amax(1) + 1), dim=1)


def test_anchors_are_squares_of_eight_strides_about_their_cells() -> None:
    boxes = anchors(((2, 3), (1, 2), (1, 1), (1, 1), (1, 1)))
    assert len(boxes) == 6 + 2 + 3
    assert boxes[0].tolist() == [-28, -28, 36, 36]
    assert boxes[1].tolist() == [-20, -28, 44, 36]  # x runs first
    assert boxes[-1].tolist() == [64 - 512, 64 - 512, 64 + 512, 64 + 512]


def test_no_delta_gives_the_anchor_in_the_plus_one_convention() -> None:
    box = decode(torch.zeros(1, 4), torch.tensor([[-28.0, -28, 36, 36]]))
    assert box.tolist() == [[-28, -28, 35, 35]]


def test_a_box_never_outgrows_its_anchor_by_more_than_62_times() -> None:
    anchor = torch.tensor([[0.0, 0, 64, 64]])
    box = decode(torch.tensor([[0.0, 0, 1e4, -1e4]]), anchor)
    width, height = (box[0, 2:] - box[0, :2] + 1).tolist()
    assert abs(width - 64 * 62.5) < 1e-2
    assert abs(height - 64 / 62.5) < 1e-4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.integers(1, 8))
def test_overlaps_agree_with_torchvision(seed: int, n: int, m: int) -> None:
    a, b = random_boxes(seed, n), random_boxes(seed + 1, m)
    assert_close(pairwise_iou(a, b), box_iou(a, b))
    assert_close(giou(a, b[:1].expand(n, 4)), generalized_box_iou(a, b[:1])[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 200, 1000, 1001])
def test_nms_per_label_is_torchvisions(n: int) -> None:
    """Also where labels take turns, beyond 1000 boxes."""
    boxes, scores = random_boxes(n, n), torch.rand(n, generator=torch.Generator().manual_seed(n))
    labels = torch.arange(n) % 7
    kept = batched_nms(boxes, scores, labels, 0.5)
    assert_close(kept, torchvisions_nms(boxes, scores, labels, 0.5), rtol=0, atol=0)
    assert n < 200 or 7 < len(kept) < n


def test_plus_one_counts_the_last_pixel() -> None:
    one_pixel = torch.tensor([[3.0, 3, 3, 3]])
    assert pairwise_iou(one_pixel, one_pixel, plus_one=1.0).item() == 1
    assert pairwise_iou(one_pixel, torch.tensor([[4.0, 3, 4, 3]]), plus_one=1.0).item() == 0
