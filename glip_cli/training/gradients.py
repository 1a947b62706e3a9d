"""The gradients of a step, added up over its batches, each cut into as many parts as the memory asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glip_cli.errors import OutOfMemoryError
from glip_cli.inference.device import free_cached_memory, out_of_memory
from glip_cli.model.checkpointing import CheckpointedModule
from glip_cli.model.glip import Glip
from glip_cli.training.batches import Batch
from glip_cli.training.config import TrainConfig
from glip_cli.training.distributed import Distributed
from glip_cli.training.loss import add_to, grounding_loss, normalisers
from glip_cli.training.optim import Optimizers


@dataclass
class Gradients:
    """
    Attributes:
        notes: is given remarks for the user.
        parts: into how many each batch is cut for want of memory.
    """

    model: Glip
    optimizer: Optimizers
    recipe: TrainConfig
    processes: Distributed
    notes: Callable[[str], None]
    parts: int = 1

    def weights(self, batches: Sequence[Batch]) -> Tensor:
        """The normalisers of a step's losses, over all processes: see `loss.grounding_loss`."""
        own = torch.stack([normalisers(one.targets, one.matches) for one in batches]).sum(0)
        return self.processes.mean(own.to(self.processes.device))

    def add_up(self, batches: Sequence[Batch], weights: Tensor, step: int) -> dict[str, float] | None:
        """Accumulate the gradients of all microbatches; return the losses, or None where memory ran out."""
        seed = np.random.SeedSequence((self.recipe.seed, step, self.processes.rank))
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0]))
        self.optimizer.zero_grad()
        sums: dict[str, float] = {}
        try:
            with out_of_memory(self.processes.device):
                for batch in batches:
                    for part in batch.cut(self.parts):
                        add_to(sums, self._backward(part, weights))
        except OutOfMemoryError:
            return None
        return sums

    def _backward(self, batch: Batch, weights: Tensor) -> dict[str, float]:
        device = self.processes.device
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.bf16):
            raw = self.model(batch.pixels, batch.ids, batch.mask)
        losses = grounding_loss(raw, batch.mask, batch.targets, batch.matches, weights)
        losses.total.backward()
        named = {"loss": losses.total, **losses.parts}
        return dict(zip(named, torch.stack([*named.values()]).detach().tolist(), strict=True))

    def halve(self, batches: Sequence[Batch], step: int) -> None:
        """From here on batches half as large, twice as many. Raises OutOfMemoryError for single images."""
        largest = max(len(batch) for batch in batches)
        self.optimizer.zero_grad()
        free_cached_memory(self.processes.device)
        if self.parts >= largest:
            raise OutOfMemoryError(
                f"out of memory on {self.processes.device} with one image at a time: use --checkpointing, another "
                "--mode, or a smaller model"
            )
        self.parts *= 2
        self.notes(
            f"out of memory: batches of {-(-largest // self.parts)} from step {step + 1} on, accumulated over "
            f"{self.parts * self.recipe.accumulation}"
        )


def checkpoint_activations(model: Glip) -> None:
    """Recompute each block of Swin or CSPNet, layer of BERT and layer of the head in the backward pass."""
    for module in model.modules():
        if isinstance(module, CheckpointedModule):
            module.checkpointed = True
