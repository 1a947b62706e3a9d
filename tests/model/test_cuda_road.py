"""What only a GPU runs, as far as it can be held without one: devices, dtypes, torchvision's kernel, bringing home."""

from __future__ import annotations

import pytest
import torch
import torchvision  # noqa: F401  # the shapes of its operators' outputs, for fake tensors
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.testing import assert_close

from glip_cli.checkpoints.empty_init import init_empty
from glip_cli.inference.postprocess import RawDetections, on_cpu
from glip_cli.model.boxes import anchors
from glip_cli.model.config import GLIP_MINI
from glip_cli.model.deform import by_torchvision, deform_conv
from glip_cli.model.glip import Glip

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def move(model: nn.Module, dtype: torch.dtype) -> None:
    """To a GPU that need not be there: only shapes, dtypes and devices are kept."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            empty = torch.empty(weight.shape, dtype=dtype, device="cuda")
            module.register_parameter(name, nn.Parameter(empty, requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_of_the_network_is_left_on_the_cpu(dtype: torch.dtype) -> None:
    """Fake tensors refuse an operation on two devices, as a GPU would."""
    model = init_empty(lambda: Glip(GLIP_MINI)).eval()
    with FakeTensorMode(allow_non_fake_inputs=False), torch.inference_mode():
        move(model, dtype)
        maps = model.encode_image(torch.empty(2, 3, 96, 160, dtype=dtype, device="cuda"))
        ids = torch.zeros(1, 8, dtype=torch.long, device="cuda")
        hidden = model.encode_text(ids, ids == 0)
        raw = model.ground(maps, hidden.expand(2, -1, -1), (ids == 0).expand(2, -1))
        centres = anchors(raw.sizes, raw.deltas.device)
        with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
            raw.logits + torch.empty(1)
    assert {x.device.type for x in (*maps, hidden, raw.logits, raw.deltas, raw.centerness, centres)} == {"cuda"}
    assert {x.dtype for x in (*maps, hidden)} == {dtype}
    assert {x.dtype for x in (raw.logits, raw.deltas, raw.centerness)} == {torch.float32}


@pytest.mark.parametrize("stride", [1, 2])
def test_torchvisions_kernel_and_the_row_sums_agree(stride: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 8, 9, 14), torch.randn(6, 8, 3, 3), torch.randn(6)
    h, w = -(-9 // stride), -(-14 // stride)
    given = x, torch.randn(2, 18, h, w) * 2, torch.rand(2, 9, h, w), weight, bias, stride
    assert_close(by_torchvision(*given), deform_conv(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_a_far_pixel_is_still_found(dtype: torch.dtype) -> None:
    """On a row of 3000 pixels bfloat16 could name every 16th at the end, and float16 every second."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 1, 3000).to(dtype)
    weight = torch.zeros(1, 1, 3, 3, dtype=dtype)
    weight[0, 0, 1, 1] = 1
    still, all_of_it = torch.zeros(1, 18, 1, 3000, dtype=dtype), torch.ones(1, 9, 1, 3000, dtype=dtype)
    out = by_torchvision(x, still, all_of_it, weight, torch.zeros(1, dtype=dtype))
    assert out.dtype == dtype
    assert_close(out, x, rtol=0, atol=0)


def test_what_is_brought_home_together_is_what_was_found() -> None:
    found = [RawDetections(torch.rand(n, 4), torch.rand(n), torch.arange(n)) for n in (2, 0, 3)]
    home = on_cpu(found)
    assert [len(one.scores) for one in home] == [2, 0, 3]
    for before, after in zip(found, home, strict=True):
        assert_close(vars(after), vars(before), rtol=0, atol=0)
