"""What a training needs of memory, said before it starts; and a way to need less.

What the backward pass keeps is not guessed: the network runs once on meta tensors, which have shapes and no memory,
and what autograd saves is added up. It is nearly proportional to the pixels and the images. Beside it there is what the
block at work needs for a moment; that share was measured (docs/finetune.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from glip_cli.finetune.modes import Tuning, select
from glip_cli.finetune.recipe import Recipe
from glip_cli.image import DIVISOR
from glip_cli.model import Glip
from glip_cli.weights.hollow import hollow

TOKENS = 128  # of a text: between a short list of names and the 256 that are possible
WORKING = 0.6  # of what the largest block would save, for gradients and intermediate values while it is at work
HALF = 0.6  # of float32's activations under bfloat16 autocast: not all of them are halved


@dataclass(frozen=True)
class Need:
    """Bytes."""

    weights: int
    gradients: int
    optimizer: int  # AdamW's two moments, Muon's one
    average: int
    activations: int  # kept for the backward pass
    working: int  # for a moment

    @property
    def total(self) -> int:
        return sum(vars(self).values())

    def __str__(self) -> str:
        said = ", ".join(f"{name} {gigabytes(value)}" for name, value in vars(self).items() if value)
        return f"about {gigabytes(self.total)} ({said})"


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def estimate(model: Glip, tuning: Tuning, recipe: Recipe, size: tuple[int, int]) -> Need:
    """For a model as `modes.select` left it, with its tuning, and batches of images of `size` (height, width)."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) * 4
    moved_by_muon = sum(p.numel() for group in tuning.groups if group["muon"] for p in group["params"]) * 4
    saved, largest = saved_bytes(model, recipe, size)
    images = recipe.batch_size * (HALF if recipe.bf16 else 1)
    return Need(
        weights=sum(p.numel() for p in model.parameters()) * 4,
        gradients=trained,
        optimizer=2 * trained - moved_by_muon,
        average=trained if recipe.ema else 0,
        activations=int(saved * images),
        working=int(largest * images * WORKING),
    )


def saved_bytes(model: Glip, recipe: Recipe, size: tuple[int, int]) -> tuple[int, int]:
    """Of one image in float32: what the forward pass keeps, and what the largest block would, were it all trained."""
    largest = _forward(model, Recipe(freeze_backbone_at=-1), size).largest
    kept = _forward(model, recipe, size).bytes
    return kept + (largest if recipe.checkpointing else 0), largest  # which is there while it is computed again


def _forward(model: Glip, recipe: Recipe, size: tuple[int, int]) -> _Saved:
    """What autograd saves in a forward pass."""
    ghost = hollow(lambda: Glip(model.config)).to("meta")
    select(ghost, recipe.mode, freeze_backbone_at=recipe.freeze_backbone_at, lora_rank=recipe.lora_rank)
    if recipe.checkpointing:
        checkpoint_activations(ghost)
    saved = _Saved(ghost)
    for block in blocks(ghost):
        block.register_forward_pre_hook(lambda *_: saved.enter())
        block.register_forward_hook(lambda *_: saved.leave())
    height, width = (-(-side // DIVISOR) * DIVISOR for side in size)
    pixels = torch.zeros(1, 3, height, width, device="meta")
    ids = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
    mask = torch.ones(1, TOKENS, dtype=torch.bool, device="meta")
    with saved_tensors_hooks(saved.keep, lambda tensor: tensor):
        raw = ghost.train().ground(ghost.encode_image(pixels), _text(ghost, ids), mask)
    saved.bytes += raw.logits.numel() * 4 * 4  # logits, targets, and what the focal loss keeps of them
    return saved


class _Saved:
    """Adds up the storages that autograd saves, each once, without the parameters.

    Attributes:
        bytes: so far.
        largest: most that was saved between `enter` and `leave`.
    """

    def __init__(self, ghost: Glip):
        self.bytes = self.largest = self._entered = 0
        self._seen = {p.untyped_storage()._cdata: p.untyped_storage() for p in ghost.parameters()}

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen[storage._cdata] = storage  # alive, so that no other gets its number
            self.bytes += storage.nbytes()
        return tensor

    def enter(self) -> None:
        self._entered = self.bytes

    def leave(self) -> None:
        self.largest = max(self.largest, self.bytes - self._entered)


def _text(ghost: Glip, ids: Tensor) -> Tensor:
    """`encode_text` without a mask, in whose values transformers looks, and meta tensors have none."""
    bert = ghost.text.bert
    hidden: Tensor = bert.encoder(bert.embeddings(input_ids=ids))[0]
    return hidden if ghost.text.offset is None else hidden + ghost.text.offset[: ids.shape[1]]


def available(device: torch.device) -> int | None:
    """Free bytes on the device; None where nobody can tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def checkpoint_activations(model: Glip) -> None:
    """Let each block of Swin, layer of BERT and round of the head forget its inside until the backward pass."""
    for block in blocks(model):
        block.forward = MethodType(_forgetful(type(block).forward), block)  # a method, so that a copy has its own


def blocks(model: Glip) -> list[nn.Module]:
    """Of Swin, of BERT, and the rounds of the head."""
    stages = [block for stage in model.backbone.layers for block in stage.get_submodule("blocks").children()]
    return [*stages, *model.text.bert.encoder.layer, *model.head.tower]


def _forgetful(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
