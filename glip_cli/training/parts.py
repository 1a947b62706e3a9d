"""Small parts of the loop: what it leaves, a batch cut and carried to its device, sums, seeds, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from glip_cli.model.checkpointing import CheckpointedModule
from glip_cli.model.glip import Glip
from glip_cli.training.batches import Batch
from glip_cli.training.loss import Target


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        step, epoch: how many are done.
        complete: nothing is left to do; else it was asked to stop, and can be resumed.
        early: AP had fallen for too long.
        best, best_step: the highest AP on validation, 0 without any, and when it was.
        parts: into how many each batch was cut for want of memory.
        unread: what was wrong with images that could not be read any more -> how often others took their places.
    """

    step: int
    epoch: float
    complete: bool
    early: bool
    best: float
    best_step: int
    parts: int
    unread: Mapping[str, int] = field(default_factory=dict)


def cut(batch: Batch, parts: int) -> list[Batch]:
    """At most `parts` batches of nearly equal size."""
    size = -(-len(batch) // parts)
    pieces = (slice(first, first + size) for first in range(0, len(batch), size))
    return [
        Batch(batch.pixels[p], batch.ids[p], batch.mask[p], batch.targets[p], batch.matches[p], batch.images[p])
        for p in pieces
    ]


def placed(batch: Batch, device: torch.device) -> Batch:
    """The same on a device, its pixels as the network's weights lie in memory."""
    targets = [Target(one.boxes.to(device), one.tokens.to(device)) for one in batch.targets]
    pixels = batch.pixels.to(device, memory_format=torch.channels_last)
    matches = [one.to(device) for one in batch.matches]
    return Batch(pixels, batch.ids.to(device), batch.mask.to(device), targets, matches, batch.images)


def plain(batch: Batch) -> dict[str, object]:
    """For a file that `torch.load(weights_only=True)` reads."""
    targets = [{"boxes": one.boxes, "tokens": one.tokens} for one in batch.targets]
    tensors = {"pixels": batch.pixels, "ids": batch.ids, "mask": batch.mask}
    return {**tensors, "targets": targets, "images": list(batch.images)}


def seed_all(*numbers: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


@torch.no_grad()
def copy_into(tensors: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Name by name, in place."""
    for name, tensor in tensors.items():
        tensor.copy_(given[name])


def add_to(sums: dict[str, float], more: Mapping[str, float]) -> None:
    """Name by name, in place."""
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value


def peak_memory(device: torch.device) -> dict[str, int]:
    """{"memory": bytes that all tensors needed at once so far}; empty where the device does not count them."""
    return {"memory": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}


def checkpoint_activations(model: Glip) -> None:
    """Recompute each block of Swin or CSPNet, layer of BERT and layer of the head in the backward pass."""
    for module in model.modules():
        if isinstance(module, CheckpointedModule):
            module.checkpointed = True
