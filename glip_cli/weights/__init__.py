"""Checkpoints: named in weights.toml, fetched and verified, translated from foreign names, loaded strictly.

registry   weights.toml -> Checkpoint                          no torch: `glip weights list` stays instant
cache      where things are kept, and under which names
fetch      Checkpoint -> verified file (http, hub carry the bytes)
pickles    .pth -> plain containers of tensors, running nothing of the file
files      any file -> state dict, and how it was wrapped
names      tables of names; mmdet, official, mmpretrain hold one each; dialects tells them apart
native     the safetensors files that this package writes
hollow     networks without weights
load       file or Checkpoint -> Glip, in evaluation mode
tuned      the folders that `glip finetune` leaves, and the card in each
adapters   what tuning added, put into the network that it was made for (offset: the one tensor only some have)
parts      --model, --weights, --bert, --adapter -> what a Detector needs
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glip_cli.weights.parts import load_detector_parts as load_detector_parts

__all__ = ["load_detector_parts"]


def __getattr__(name: str) -> Any:
    """Import torch and the network only when a model is to be loaded."""
    if name == "load_detector_parts":
        from glip_cli.weights.parts import load_detector_parts

        return load_detector_parts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
