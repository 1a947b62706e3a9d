"""Several processes that train one model, started by torchrun or `accelerate launch`; or just this one.

Unusual here: gradients are averaged by hand after the backward pass, not by DDP. The processes must first agree that
the step fitted into everyone's memory and that every loss is a number, and a parameter without a gradient does no harm.
As in DDP many gradients are sent at once: each message has a cost of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from glip_cli.errors import UsageError
from glip_cli.inference.device import pick_device

T = TypeVar("T")
BUCKET = 25 << 20  # bytes of gradients that are sent at once; DDP's
PATIENCE = timedelta(hours=6)  # for the others: one may be writing a large file, or validating


@dataclass(frozen=True)
class Distributed:
    """One process among all: the one at work.

    Attributes:
        rank, world: which of how many.
        device: of this process.
    """

    rank: int
    world: int
    device: torch.device

    @classmethod
    def join(cls, device: str = "auto") -> Distributed:
        """Meet the others. Raises DeviceError, and UsageError where accelerate is missing."""
        chosen = pick_device(device)
        try:
            from accelerate import PartialState
        except ModuleNotFoundError:
            raise UsageError("glip finetune needs accelerate: pip install 'glip-cli[finetune]'") from None
        state = PartialState(cpu=chosen.type == "cpu", timeout=PATIENCE)
        several = state.num_processes > 1
        return cls(state.process_index, state.num_processes, state.device if several else chosen)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def mean(self, tensor: Tensor) -> Tensor:
        """Over the processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
            tensor /= self.world
        return tensor

    def any(self, *facts: bool) -> list[bool]:
        """Whether each is true in any process."""
        if self.world == 1:
            return list(facts)
        flags = torch.tensor(facts, dtype=torch.float32, device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return [bool(flag) for flag in flags.tolist()]

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Every parameter has a gradient afterwards: the mean over the processes, those without counting as zero."""
        gradients: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        if self.world == 1:
            return
        for bucket in buckets(gradients):
            means = self.mean(torch.cat([one.flatten() for one in bucket]))
            for one, mean in zip(bucket, means.split([one.numel() for one in bucket]), strict=True):
                one.copy_(mean.view_as(one))

    def gather(self, value: T) -> list[T]:
        """Every process' value, in all of them, by rank."""
        if self.world == 1:
            return [value]
        values = [value] * self.world
        dist.all_gather_object(values, value)
        return values

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the first one's."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


def buckets(tensors: Iterable[Tensor], size: int = BUCKET) -> Iterator[list[Tensor]]:
    """In their order, of one dtype and at most `size` bytes each, or a single larger tensor."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(one.nbytes for one in bucket) + tensor.nbytes > size
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
