"""Which dialect a state dict speaks, which architecture it is, and its translation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

from glip_cli.checkpoints import mmdet, mmpretrain, official
from glip_cli.checkpoints.empty_init import init_empty
from glip_cli.checkpoints.key_map import KeyTable, TensorSource, translate
from glip_cli.errors import CheckpointError
from glip_cli.model.config import ARCHITECTURES, GLIP_T, Config, GlipConfig
from glip_cli.model.glip import Glip
from glip_cli.utils.text_format import listed

OURS = ("native", "backbone")  # keys as in `Glip.state_dict()`, all of them or the backbone's alone
BACKBONES = ("mmpretrain", "backbone")
BACKBONE, HEAD = "backbone.", "head."
PATCH = "backbone.patch_embed.proj.weight"
FUSION = "head.tower.0.fusion.gamma_v"

# A beginning of a key that no other dialect has; the backbone's come last, for mmdetection shares them.
_MARKS = {
    "bbox_head.head.": "mmdet",
    "rpn.head.": "official",
    "head.tower.": "native",
    "backbone.stages.": "mmpretrain",
    "backbone.layers.": "backbone",
}
_TABLES: dict[str, Callable[[GlipConfig], KeyTable]] = {
    "mmdet": mmdet.table,
    "official": official.table,
    "mmpretrain": mmpretrain.table,
}


def detect_dialect(state: Mapping[str, Tensor], what: object = "this file") -> str:
    """Tell the spellings apart: native, mmdet, official; mmpretrain and backbone (native), which have no head.

    Raises CheckpointError for any other.
    """
    for mark, dialect in _MARKS.items():
        if any(key.startswith(mark) for key in state):
            return dialect
    raise CheckpointError(f"{what} is no GLIP checkpoint in any known spelling: its keys are like {listed(state)}")


def infer_architecture(state: Mapping[str, Tensor], dialect: str, what: object = "this file") -> str:
    """The architecture, from the width of the patches and the presence of fusion.

    A backbone alone is shared by GLIP-T with and without fusion; it is called after the one with. Raises
    CheckpointError when none fits.
    """
    fused = dialect in BACKBONES or table(GLIP_T, dialect).sources[FUSION].key in state
    patches = state.get(table(GLIP_T, dialect).sources[PATCH].key)
    width = patches.shape[0] if patches is not None and patches.ndim else None
    for name, config in ARCHITECTURES.items():
        if isinstance(config, GlipConfig) and (width, fused) == (config.swin.embed_dim, config.fusion is not None):
            return name
    raise CheckpointError(f"{what} ({dialect} names) has the sizes of none of {', '.join(ARCHITECTURES)}")


def table(config: Config, dialect: str) -> KeyTable:
    """The names of a dialect for one architecture; our own keys stand for themselves."""
    if dialect in OURS:
        begin = BACKBONE if dialect == "backbone" else ""
        return KeyTable({key: TensorSource(key) for key in shapes(config) if key.startswith(begin)}, {})
    if not isinstance(config, GlipConfig):
        raise CheckpointError(f"glip-nano has files of its own only, none in {dialect} names")
    return _TABLES[dialect](config)


@cache
def shapes(config: Config) -> dict[str, torch.Size]:
    """Key -> shape of every tensor in a checkpoint of this package."""
    return {key: tensor.shape for key, tensor in init_empty(lambda: Glip(config)).state_dict().items()}


def to_native(state: Mapping[str, Tensor], architecture: str, dialect: str, what: object) -> dict[str, Tensor]:
    """Translate and check; of a backbone the keys begin with "backbone.". Raises CheckpointError."""
    config = ARCHITECTURES[architecture]
    return translate(state, table(config, dialect), shapes(config), f"{what} is not {architecture} in {dialect} names")
