"""The exponential moving average of the weights that train: what is validated and kept, where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class ExponentialMovingAverage:
    """Of tensors that change in place.

    Attributes:
        shadow: name -> the average so far.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float):
        self._tensors, self.decay = dict(tensors), decay
        self.shadow = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Average = decay * average + (1 - decay) * weight."""
        torch._foreach_lerp_(list(self.shadow.values()), list(self._tensors.values()), 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the tensors hold their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._tensors.items():
            kept = tensor.detach().clone()
            tensor.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)
