"""Matrix products on a CPU: torch's own, or oneDNN's where that is faster and as exact.

torch multiplies float32 matrices by MKL. What was measured (GFLOP/s of one core; a [2048, 2304] x [2304, 256] product):

- An AMD processor with AVX-512 (Zen 5): MKL takes its AVX2 code there, 107; oneDNN 237. oneDNN is used.
- Intel's, with AVX2, AVX-512 or AMX: MKL is as fast or faster (110 to 140 against 60 to 135). It is not used.
- Any processor held to AVX2: both are equally fast (66 to 81 against 62 to 76). It is not used.

oneDNN adds up all K terms of a sum one after the other, MKL at most 192 to 384 at a time, so that oneDNN's error (root
mean square, against float64) is up to twice as large for K = 3072. Therefore a long sum is cut into equal sums of at
most LONGEST terms, which are then added: its error is MKL's. Weights that are used again and again lie term by term in
memory (`lay_by_terms`), so that the pieces of a sum need no copies. With few rows or columns MKL is more exact still,
so those are left to it. The two products of a gradient are oneDNN's too, their sums in one go, since a gradient that is
off by 6e-7 of itself trains as well as one that is off by 3e-7.

The choice is by the processor alone. A choice by timing would differ from run to run, and so would the last digits of
the answers: a batch or a training that is resumed must go on digit for digit.

torch has no public switch for it. The operator is the one that torch's own compiler replaces a Linear with.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None

LONGEST = 192  # terms of a sum, at most
FEWEST, NARROWEST = 256, 32  # rows, and columns of the result
AMD = ("AuthenticAMD", "HygonGenuine")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[..., K], [N, K], [N] -> [..., N], as `F.linear`."""
    if not _serves(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in (x, weight, bias)):
        output: Tensor = _Linear.apply(x, weight, bias)
        return output
    return _product(x, weight, bias)


def linear_gradients(
    towards: Tensor, x: Tensor, weight: Tensor, needs_grad: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """From the gradient of `linear`'s output, [..., N], those of x and of its weight, None where not needed."""
    multiply = _whole_product if _serves(x, weight) else torch.matmul
    rows = towards.contiguous().flatten(0, -2)
    # the second matrix may lie transposed, but a first one in pieces takes oneDNN a thousand times as long
    return (
        multiply(rows, weight.contiguous()).view_as(x) if needs_grad[0] else None,
        multiply(rows.t().contiguous(), x.contiguous().flatten(0, -2)) if needs_grad[1] else None,
    )


def run(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)`, by `linear` where the layer is a plain `nn.Linear` without hooks, that has not been replaced."""
    if type(layer) is nn.Linear and not (layer._forward_hooks or layer._forward_pre_hooks):
        return linear(x, layer.weight, layer.bias)
    output: Tensor = layer(x)
    return output


def batched_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[B, P, K], [B, N, K], [B, N] -> [B, P, N]: `linear`, image by image."""
    if not _serves(x[0], weight):
        product = x @ weight.transpose(1, 2)
        return product if bias is None else product + bias.unsqueeze(1)
    biases = [None] * len(x) if bias is None else bias
    return torch.stack([linear(*image) for image in zip(x, weight, biases, strict=True)])


def lay_by_terms(weight: Tensor) -> Tensor:
    """The same [N, K] of a Linear or [N, C, h, w] of a convolution, in memory as [K, N] or [h, w, C, N].

    So the pieces of a product need no copies, and oneDNN is 3 to 30 % faster. Its results are the same.
    """
    permutation = (1, 0) if weight.dim() == 2 else (2, 3, 1, 0)
    inverse = (1, 0) if weight.dim() == 2 else (3, 2, 0, 1)
    laid = weight.permute(permutation)
    return weight if laid.is_contiguous() else laid.contiguous().permute(inverse)


@cache
def onednn_is_better() -> bool:
    """Whether this is a processor on which oneDNN's products are the faster ones."""
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and any(vendor in _processor() for vendor in AMD)
    )


def _processor() -> str:
    """A text with the vendor's name."""
    try:
        return Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.processor()  # Windows tells it; there is no macOS on AMD's processors


def _serves(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()  # first: its tracing warns of what is cached
        and onednn_is_better()
        and x.is_cpu
        and x.dtype == weight.dtype == torch.float32
        and x.numel() >= FEWEST * x.shape[-1]
        and weight.shape[-2] >= NARROWEST
        and not torch.is_autocast_enabled("cpu")
        and not _memory_is_limited()
    )


def _memory_is_limited() -> bool:
    """Under `ulimit -v` memory can run out in a product: torch's then raises, but oneDNN's crashes."""
    return resource is not None and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """oneDNN's; of a contiguous piece of the rows and the weights at a time."""
    multiply = torch.ops.mkldnn._linear_pointwise
    pieces = -(-x.shape[-1] // LONGEST)
    weights = (part if part.t().is_contiguous() else part.contiguous() for part in weight.chunk(pieces, -1))
    first, *rest = zip(x.chunk(pieces, -1), weights, strict=True)
    total: Tensor = multiply(first[0].contiguous(), first[1], bias, "none", [], "")
    for rows, columns in rest:
        total += multiply(rows.contiguous(), columns, None, "none", [], "")
    return total


class AutogradContext(Protocol):
    """The context of an autograd function; torch's own stubs have tuples of one."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


class _Linear(torch.autograd.Function):
    """`_product` with its gradient."""

    @staticmethod
    def forward(ctx: AutogradContext, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, towards: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_grad = ctx.needs_input_grad
        to_x, to_weight = linear_gradients(towards, x, weight, (needs_grad[0], needs_grad[1]))
        return to_x, to_weight, towards.flatten(0, -2).sum(0) if needs_grad[2] else None


def _whole_product(a: Tensor, b: Tensor) -> Tensor:
    """[M, K], [K, N] -> [M, N], the sums in one go."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    return product
