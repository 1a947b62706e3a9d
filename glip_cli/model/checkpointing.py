"""Gradient checkpointing (arXiv 1604.06174)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class CheckpointedModule(nn.Module):
    """A layer that may forget its activations, and computes them again in the backward pass.

    Attributes:
        checkpointed: whether it does.
    """

    checkpointed = False

    def __call__(self, *inputs: object) -> Any:
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(super().__call__, *inputs, use_reentrant=False)
        return super().__call__(*inputs)
