"""Memory of a training: what the device counts, and gradient checkpointing, which needs less of it."""

from __future__ import annotations

import torch

from glip_cli.model.checkpointing import CheckpointedModule
from glip_cli.model.glip import Glip


def peak_memory(device: torch.device) -> dict[str, int]:
    """{"memory": bytes that all tensors needed at once so far}; empty where the device does not count them."""
    return {"memory": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}


def checkpoint_activations(model: Glip) -> None:
    """Recompute each block of Swin or CSPNet, layer of BERT and layer of the head in the backward pass."""
    for module in model.modules():
        if isinstance(module, CheckpointedModule):
            module.checkpointed = True
