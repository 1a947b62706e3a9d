"""Properties of the whole network, on glip-mini's architecture with random weights."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from glip_cli.model.boxes import anchors
from glip_cli.model.config import ARCHITECTURES, GLIP_MINI
from glip_cli.model.glip import Glip
from glip_cli.model.head import flatten, unflatten


@pytest.fixture(scope="module")
def model() -> Glip:
    torch.manual_seed(0)
    model = Glip(GLIP_MINI).double().eval()
    for name, parameter in model.named_parameters():  # away from the quiet initial values
        if "offset" in name or "centerness" in name or "box" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def image(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(count, 3, height, width, dtype=torch.float64)


def text(*lengths: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    return torch.randint(5, 140, mask.shape) * mask, mask


@torch.inference_mode()
def test_shapes_and_the_order_of_locations(model: Glip) -> None:
    raw = model(image(2, 96, 160), *text(5, 8, width=8))
    assert raw.sizes == ((12, 20), (6, 10), (3, 5), (2, 3), (1, 2))
    count = len(anchors(raw.sizes))
    assert raw.logits.shape == (2, count, 8)
    assert raw.deltas.shape == (2, count, 4)
    assert raw.centerness.shape == (2, count)


@torch.inference_mode()
def test_a_batch_gives_what_its_images_give_alone(model: Glip) -> None:
    pixels, (ids, mask) = image(3, 64, 96), text(4, 9, 6, width=16)
    together = model(pixels, ids, mask)
    for i in range(3):
        alone = model(pixels[i : i + 1], ids[i : i + 1], mask[i : i + 1])
        length = int(mask[i].sum())
        assert_close(alone.logits[0, :, :length], together.logits[i, :, :length], rtol=1e-9, atol=1e-9)
        assert_close(alone.deltas[0], together.deltas[i], rtol=1e-9, atol=1e-9)


@torch.inference_mode()
def test_text_padding_changes_nothing(model: Glip) -> None:
    """Running with the real tokens is running with 256 of them, the rest masked."""
    pixels, (ids, mask) = image(1, 64, 64), text(7, width=7)
    short = model(pixels, ids, mask)
    wide = model(pixels, torch.nn.functional.pad(ids, (0, 249)), torch.nn.functional.pad(mask, (0, 249)))
    assert_close(short.logits, wide.logits[:, :, :7], rtol=1e-9, atol=1e-9)
    assert_close(short.deltas, wide.deltas, rtol=1e-9, atol=1e-9)


def test_every_parameter_learns(model: Glip) -> None:
    raw = model(image(1, 64, 64), *text(6, width=8))
    (raw.logits.square().mean() + raw.deltas.square().mean() + raw.centerness.square().mean()).backward()
    idle = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    model.zero_grad()
    assert not idle


def test_from_scratch_a_padded_batch_has_finite_gradients() -> None:
    torch.manual_seed(0)
    fresh = Glip(GLIP_MINI).train()
    pixels = torch.randn(2, 3, 160, 160)
    pixels[1, :, :, 96:] = 0
    raw = fresh(pixels, torch.randint(5, 50, (2, 8)), torch.ones(2, 8, dtype=torch.bool))
    (raw.logits.float().square().mean() + raw.deltas.square().mean() + raw.centerness.square().mean()).backward()
    norm = torch.stack([p.grad.norm() for p in fresh.parameters() if p.grad is not None]).norm()
    assert 0 < norm < 1e4


def test_rows_and_maps_are_one() -> None:
    maps = [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 2, 3)]
    assert_close(unflatten(flatten(maps), ((4, 5), (2, 3))), maps, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "millions"), [("glip-t-a", 151.410), ("glip-t", 231.760), ("glip-l", 430.402), ("glip-mini", 2.872)]
)
def test_number_of_parameters(name: str, millions: float) -> None:
    """A and T as counted in the reference (parity/losses/README.md); the others as a guard."""
    with torch.device("meta"):
        model = Glip(ARCHITECTURES[name])
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
