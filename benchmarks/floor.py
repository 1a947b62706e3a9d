"""The least time that the arithmetic of one image needs: its operations, at the rate that this machine has for them.

Counted are products and convolutions of the network as it runs, by the formulas of `torch.utils.flop_counter`: a
product of [m, k] and [k, n] has 2 m k n operations. The rate is that of the largest of them, each run alone again and
again, by the faster of torch's own way and oneDNN's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.timing import now
from glip_cli.model import onednn_linear

SHARE = 0.8  # of all operations, that the products have whose rate is measured
TRIES = 7


@dataclass
class Product:
    """Calls of one operator with tensors of the same shapes.

    Attributes:
        flops: of one call.
        ways: each does one, with other numbers.
    """

    flops: int
    ways: Sequence[Callable[[], object]]
    calls: int = 0


class Counting(TorchDispatchMode):
    """Notes the products of what runs under it, by operator and shapes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: dict[object, Product] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        operator = func._overloadpacket
        if operator not in flop_registry:
            with self:
                whole = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if whole is NotImplemented else whole
        out = func(*args, **kwargs)
        key = operator, *(tuple(arg.shape) if isinstance(arg, Tensor) else str(arg) for arg in args)
        if key not in self.products:
            other = [torch.rand_like(arg) if isinstance(arg, Tensor) else arg for arg in args]
            flops = flop_registry[operator](*args, **kwargs, out_val=out)
            self.products[key] = Product(flops, [lambda: func(*other, **kwargs), *by_onednn(operator, other)])
        self.products[key].calls += 1
        return out


def by_onednn(operator: object, args: Sequence[Any]) -> Sequence[Callable[[], object]]:
    """A product of matrices by oneDNN, which is the faster one on some processors."""
    if operator is torch.ops.aten.addmm and hasattr(torch.ops.mkldnn, "_linear_pointwise") and args[1].is_cpu:
        bias, x, transposed = args
        weight = transposed.t().contiguous()
        return [lambda: torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")]
    return []


def measure(run: Callable[[], object]) -> dict[str, float]:
    """Of one `run`: 10^9 operations, 10^9 a second, and the seconds that they need at that rate."""
    counting = Counting()
    with mock.patch.object(onednn_linear, "onednn_is_better", return_value=False), counting:
        run()
    products = sorted(counting.products.values(), key=lambda product: -product.flops * product.calls)
    total = sum(product.flops * product.calls for product in products)
    counted, seconds = 0, 0.0
    for product in products:
        counted += product.flops * product.calls
        seconds += min(map(best, product.ways)) * product.calls
        if counted > SHARE * total:
            break
    return {"gflop": round(total / 1e9, 1), "gflop_per_second": round(counted / seconds / 1e9, 1),
            "seconds": round(total * seconds / counted, 4)}  # fmt: skip


@torch.inference_mode()
def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    seconds = []
    for _ in range(TRIES):
        started = now()
        run()
        seconds.append(now() - started)
    return min(seconds)
