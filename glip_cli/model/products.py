"""Matrix products on a CPU: by oneDNN in the place of MKL, which runs at less than half speed on processors of AMD.

torch has no public switch for it. The operator is the one that torch's own compiler puts in the place of a Linear;
where it is missing, or does not take the inputs, torch's product is used. They round differently, and neither better.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None

_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[..., K], [N, K], [N] -> [..., N], as `F.linear`; differentiable once."""
    if not _serves(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _Linear.apply(x, weight, bias)
    return _product(x, weight, bias)


def batched_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[B, P, K], [B, N, K], [B, N] -> [B, P, N]: `linear`, image by image."""
    if not _serves(x, weight):
        product = x @ weight.transpose(1, 2)
        return product if bias is None else product + bias.unsqueeze(1)
    biases = [None] * len(x) if bias is None else bias
    return torch.stack([linear(*image) for image in zip(x, weight, biases, strict=True)])


def _serves(x: Tensor, weight: Tensor) -> bool:
    return (
        _ONEDNN is not None
        and x.is_cpu
        and x.dtype == weight.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not _memory_is_limited()
    )


def _memory_is_limited() -> bool:
    """Under `ulimit -v` memory can end in the midst of a product: torch's then raises, but oneDNN's crashes."""
    return resource is not None and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """The operator has no derivative of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = gradients[0].flatten(0, -2)
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            _product(rows, weight.t()).view_as(x) if wants_x else None,
            _product(rows.t(), x.flatten(0, -2).t()) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


class Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def adopt(network: nn.Module) -> None:
    """Give the Linear layers that timm and transformers made this product."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
