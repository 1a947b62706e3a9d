"""What a training needs of memory, as the device counts it, and a way to need less."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from glip_cli.model.bert import TextEncoder
from glip_cli.model.glip import Glip


def peak_memory(device: torch.device) -> dict[str, int]:
    """{"memory": bytes that all tensors needed at once so far}; nothing where the device does not count them."""
    return {"memory": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}


def checkpoint_activations(model: Glip) -> None:
    """Let each block of Swin, layer of BERT and round of the head forget its inside until the backward pass."""
    for block in blocks(model):
        block.forward = MethodType(_forgetful(type(block).forward), block)  # a method, so that a copy has its own


def blocks(model: Glip) -> list[nn.Module]:
    """Of Swin, of BERT, and the rounds of the head; of glip-nano the stages of its backbone."""
    if not isinstance(model.text, TextEncoder):
        return [*model.backbone.layers, *model.head.tower]
    stages = [block for stage in model.backbone.layers for block in stage.get_submodule("blocks").children()]
    return [*stages, *model.text.bert.encoder.layer, *model.head.tower]


def _forgetful(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
