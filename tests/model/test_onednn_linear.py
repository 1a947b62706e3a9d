"""oneDNN's products are as exact as torch's own, change nothing else, and are left alone where they are no faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.inference import device
from glip_cli.model import onednn_linear
from glip_cli.model.config import GLIP_MINI
from glip_cli.model.glip import Glip
from glip_cli.model.onednn_linear import FEWEST, NARROWEST, batched_linear, lay_by_terms, linear, onednn_is_better, run

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
@pytest.mark.parametrize(
    ("rows", "terms", "columns"), [(256, 96, 288), (300, 384, 96), (256, 2304, 64), (512, 200, 32)]
)
def test_weights_that_lie_term_by_term_change_nothing_but_the_time(
    onednn: list[int], rows: int, terms: int, columns: int
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(rows, terms), torch.randn(columns, terms)
    laid = lay_by_terms(weight)
    assert torch.equal(laid, weight)
    assert laid.t().is_contiguous()
    assert lay_by_terms(laid) is laid
    torch.testing.assert_close(linear(x, laid), linear(x, weight), rtol=0, atol=1e-4)


def test_a_convolutions_weights_term_by_term_are_a_matrix_without_a_copy() -> None:
    weight = torch.randn(8, 4, 3, 3)
    laid = lay_by_terms(weight)
    matrix = laid.permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(matrix, weight.permute(0, 2, 3, 1).flatten(1))
    assert matrix.data_ptr() == laid.data_ptr()
    assert matrix.stride() == (1, 8)


@pytest.mark.parametrize("better", [True, False])
def test_for_inference_only_what_onednn_multiplies_by_is_laid_anew(
    monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    monkeypatch.setattr(device, "onednn_is_better", lambda: better)
    model = Glip(GLIP_MINI)
    laid = {name: one.stride(0) == 1 for name, one in model.named_parameters() if one.dim() > 1}
    assert not any(laid.values())
    ready = device.for_inference(model, torch.device("cpu"), torch.float32)
    by_terms = {name for name, one in ready.named_parameters() if one.dim() > 1 and one.stride(0) == 1}
    linears = {name for name, one in model.backbone.named_parameters(prefix="backbone")
               if one.dim() == 2 and "bias_table" not in name}  # fmt: skip
    convs = {name for name, _ in model.named_parameters() if ".convs." in name and name.endswith("weight")}
    assert by_terms == ((linears | convs) if better else set())
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in ready.state_dict().items())
    assert device.for_inference(ready, torch.device("cpu"), torch.float32) is ready


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


@needs_onednn
@pytest.mark.parametrize(("rows", "terms", "columns"), [(256, 96, 288), (2048, 192, 64), (1024, 2304, 256)])
def test_gradients_are_nearly_as_exact_as_torchs(onednn: list[int], rows: int, terms: int, columns: int) -> None:
    """Root mean square against float64: 1.1 to 2.3 times as large, as their sums are not cut."""
    torch.manual_seed(0)
    inputs = torch.randn(rows, terms), torch.randn(columns, terms), torch.randn(columns)
    towards = torch.randn(rows, columns)

    def gradients(product: Callable[..., Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        given = [one.to(dtype).requires_grad_() for one in inputs]
        return torch.autograd.grad(product(*given), given, towards.to(dtype))

    exact = gradients(F.linear, torch.float64)
    torchs, ours = (gradients(product, torch.float32) for product in (F.linear, linear))
    assert onednn == [rows]
    for one, other, goal in zip(ours, torchs, exact, strict=True):
        assert (one - goal).norm() < 3 * (other - goal).norm()


@needs_onednn
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1, 2)])
def test_gradients_of_some_of_images_in_a_batch_that_lie_in_pieces(onednn: list[int], wanted: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 200, FEWEST), torch.randn(2, 200, 33), torch.randn(2, 33)
    given = [x.transpose(1, 2), weight.transpose(1, 2), bias]
    leaves = [given[i].requires_grad_() for i in wanted]
    towards = torch.randn(1, 1, 33).expand(2, FEWEST, 33)
    ours = torch.autograd.grad(batched_linear(*given), leaves, towards)
    torchs = torch.autograd.grad(given[0] @ given[1].transpose(1, 2) + bias.unsqueeze(1), leaves, towards)
    assert len(onednn) == 2
    torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-4)


def test_products_of_few_rows_or_columns_or_another_number_format_are_torchs_own(onednn: list[int]) -> None:
    x, weight = torch.randn(FEWEST, 64), torch.randn(NARROWEST, 64)
    assert torch.equal(linear(weight, weight), F.linear(weight, weight))
    assert torch.equal(linear(x, weight[1:]), F.linear(x, weight[1:]))
    assert torch.equal(linear(x.double(), weight.double()), F.linear(x.double(), weight.double()))
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
def test_the_network_learns_the_same(onednn: list[int]) -> None:
    torch.manual_seed(0)
    model = Glip(GLIP_MINI).eval()
    pixels, ids = torch.randn(1, 3, 160, 160), torch.randint(5, 250, (1, 8))

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        raw = model(pixels, ids, ids > 0)
        sum(one.square().mean() for one in raw.tensors).backward()
        return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}

    mine, used = gradients(), len(onednn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onednn_linear, "onednn_is_better", lambda: False)
        torchs = gradients()
    assert len(onednn) == used > 0
    assert mine.keys() == torchs.keys()
    largest = max(gradient.norm() for gradient in torchs.values())
    for name, gradient in torchs.items():
        assert (mine[name] - gradient).norm() < 1e-5 * gradient.norm() + 1e-7 * largest, name


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
