"""oneDNN's products are as exact as torch's own, change nothing else, and are left alone where they are no faster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model import onednn_linear
from glip_cli.model.config import GLIP_MINI
from glip_cli.model.glip import Glip
from glip_cli.model.onednn_linear import FEWEST, NARROWEST, batched_linear, linear, onednn_is_better, run

needs_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="this torch has no oneDNN",
)


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """As on an AMD processor with AVX-512; a list that grows by the rows of each product of oneDNN."""
    seen: list[int] = []
    product = onednn_linear._product

    def counted(x: Tensor, *more: Tensor | None) -> Tensor:
        seen.append(x.numel() // x.shape[-1])
        return product(x, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(onednn_linear, "onednn_is_better", lambda: True)
    monkeypatch.setattr(onednn_linear, "_memory_is_limited", lambda: False)
    monkeypatch.setattr(onednn_linear, "_product", counted)
    return seen


@needs_onednn
@pytest.mark.parametrize(("rows", "terms", "columns"), [(256, 96, 288), (300, 384, 96), (256, 768, 96), (256, 2304, 64),
                                                        (256, 3072, 96), (512, 200, 32)])  # fmt: skip
def test_it_is_as_exact_as_torch(onednn: list[int], rows: int, terms: int, columns: int) -> None:
    """Root mean square against float64, whatever the processor; the whole sum in one go errs twice as much at 3072."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, terms), torch.randn(columns, terms), torch.randn(columns)
    exact = F.linear(x.double(), weight.double(), bias.double())

    def error(product: Tensor) -> float:
        return (product.double() - exact).square().mean().sqrt().item()

    assert error(linear(x, weight, bias)) < 1.1 * error(F.linear(x, weight, bias))
    assert onednn == [rows]


@needs_onednn
def test_shapes_and_images_in_a_batch(onednn: list[int]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, FEWEST, 200), torch.randn(2, 33, 200), torch.randn(2, 33)
    for given in (bias, None):
        torchs = torch.stack([F.linear(x[i], weight[i], None if given is None else given[i]) for i in range(2)])
        torch.testing.assert_close(batched_linear(x, weight, given), torchs, rtol=0, atol=1e-4)
    strided = x.transpose(0, 1)
    torch.testing.assert_close(linear(strided, weight[0]), F.linear(strided, weight[0]), rtol=0, atol=1e-4)
    assert len(onednn) == 5


def test_products_whose_gradient_is_wanted_are_torchs_own(onednn: list[int]) -> None:
    """So are those of few rows or columns, and those in another number format."""
    x, weight = torch.randn(FEWEST, 64, requires_grad=True), torch.randn(NARROWEST, 64)
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    assert torch.equal(linear(weight, weight), F.linear(weight, weight))
    assert torch.equal(linear(x.detach(), weight[1:]), F.linear(x.detach(), weight[1:]))
    assert torch.equal(linear(x.detach().double(), weight.double()), F.linear(x.detach().double(), weight.double()))
    assert not onednn


@needs_onednn
def test_the_network_says_the_same_and_its_layers_stay_plain(onednn: list[int]) -> None:
    torch.manual_seed(0)
    model = Glip(GLIP_MINI).eval()
    pixels, ids = torch.randn(1, 3, 160, 160), torch.randint(5, 250, (1, 8))
    with torch.inference_mode():
        mine = model(pixels, ids, ids > 0)
        assert onednn
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(onednn_linear, "onednn_is_better", lambda: False)
            torchs = model(pixels, ids, ids > 0)
    torch.testing.assert_close((mine.logits, mine.deltas), (torchs.logits, torchs.deltas), rtol=1e-4, atol=1e-5)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert {type(layer) for layer in layers} == {nn.Linear}


@needs_onednn
def test_layers_that_are_watched_or_replaced_are_called(onednn: list[int]) -> None:
    layer, x = nn.Linear(64, 32).requires_grad_(False), torch.randn(FEWEST, 64)
    run(layer, x)
    assert len(onednn) == 1
    called: list[nn.Module] = []
    layer.register_forward_hook(lambda module, *_: called.append(module))
    assert torch.equal(run(layer, x), layer(x))
    assert called == [layer, layer]

    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    other = Doubled(64, 32).requires_grad_(False)
    assert torch.equal(run(other, x), 2 * F.linear(x, other.weight, other.bias))
    assert len(onednn) == 1


@pytest.mark.parametrize(
    ("capability", "processor", "better"),
    [("AVX512", "vendor_id : AuthenticAMD\n", True), ("AVX2", "vendor_id : AuthenticAMD\n", False),
     ("AVX512", "vendor_id : GenuineIntel\n", False), ("AVX512", "AMD64 Family 26, AuthenticAMD", True),
     ("NO AVX", "aarch64", False)],
)  # fmt: skip
def test_the_processor_alone_decides(
    monkeypatch: pytest.MonkeyPatch, capability: str, processor: str, better: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(onednn_linear, "_processor", lambda: processor)
    assert onednn_is_better.__wrapped__() is better
