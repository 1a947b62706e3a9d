"""What tuning has added to a network, put into the network that it was made for.

DIR/config.json                what it is, and what it was made for (`tuned.Card`)
DIR/adapter_model.safetensors  prompt: rows added to the tokens; head: the tensors themselves; lora: peft's factors
DIR/adapter_config.json        lora: as peft writes it

None of it needs peft: a LoRA becomes part of the weights, W + scale * B A (arXiv 2106.09685, section 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from glip_cli.checkpoints import cache, safetensors_io
from glip_cli.checkpoints.empty_init import OFFSET, find_offset
from glip_cli.checkpoints.finetuned import TENSORS, RunConfig, best_of, is_adapter, read_json, read_run_config
from glip_cli.checkpoints.load import Loaded, Origin
from glip_cli.errors import CheckpointError, UsageError
from glip_cli.model.config import NanoConfig
from glip_cli.model.glip import Glip

PEFT_CONFIG = "adapter_config.json"
PEFT_PREFIX = "base_model.model."
FACTORS = (".lora_A.weight", ".lora_B.weight")
HEAD = (
    "head.box.weight",
    "head.box.bias",
    "head.centerness.weight",
    "head.centerness.bias",
    "head.text_projection.weight",
    "head.text_projection.bias",
    "head.log_scale",
    "head.bias_lang",
    "head.bias0",
)
"""What linear probing trains (official tools/finetune.py, `tuning_highlevel_override`)."""
NANO_HEAD = ("head.box.", "text.concepts.", "text.projection.")
"""How the names begin of what it trains in glip-nano, whose class vectors are the text side's."""

# values of peft's configuration for which W + scale * B A is all there is
_PLAIN = {"peft_type": "LORA", "bias": "none", "use_dora": False, "fan_in_fan_out": False, "rank_pattern": {},
          "alpha_pattern": {}, "use_rslora": False}  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """One that was found.

    Attributes:
        folder: that holds it.
        card: what it says of itself.
    """

    folder: Path
    card: RunConfig

    @cached_property
    def sha256(self) -> str:
        """Of its tensors."""
        return cache.sha256(self.folder / TENSORS)


def find_adapter(folder: str | Path) -> Adapter:
    """Look for an adapter; the folder of a whole run stands for its best.

    Raises CheckpointError where there is none, UsageError for a whole network.
    """
    place = best_of(cache.expanded(folder))
    if not place.is_dir():
        raise CheckpointError(f"there is no folder {place}: --adapter takes one that `glip finetune` left")
    card = read_run_config(place)
    if card.mode == "full":
        raise UsageError(f"{place} holds a whole model, no adapter: give it to --model")
    if not is_adapter(place):
        raise CheckpointError(f"{place} has no {TENSORS}: take the folder again from where it came")
    return Adapter(place, card)


def load_adapter(loaded: Loaded, folder: str | Path) -> Adapter:
    """Put an adapter into the network that it was made for, in place.

    Raises CheckpointError for one that is damaged or was made for another network; as `find_adapter` besides.
    """
    adapter = find_adapter(folder)
    check_base(adapter, loaded)
    tensors = safetensors_io.read(adapter.folder / TENSORS).state
    if adapter.card.mode == "lora":
        merge_lora(loaded.model, tensors, adapter.folder)
    elif adapter.card.mode == "head":
        replace_head(loaded.model, tensors, adapter.folder)
    else:
        add_offset(loaded.model, tensors, adapter.folder)
    return adapter


def check_base(adapter: Adapter, loaded: Origin) -> None:
    """The published models share architectures: only the hash tells whether the answers will make sense."""
    card = adapter.card
    if card.architecture != loaded.architecture or card.base_sha256 != loaded.sha256:
        raise CheckpointError(
            f"the adapter {adapter.folder} was made for {card.base} ({card.architecture}), not for {loaded.id} "
            f"({loaded.architecture}): give --model {card.source or card.base}"
        )


def add_offset(model: Glip, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Prompt tuning: rows that are added to BERT's output, token by token."""
    rows = find_offset(tensors, model.config, folder / TENSORS)
    if tensors.keys() != {OFFSET}:
        raise _misfit(folder, f"it must hold {OFFSET}")
    model.text.offset = nn.Parameter(rows[OFFSET])


def head_names(model: Glip) -> tuple[str, ...]:
    """The parameters of linear probing."""
    if isinstance(model.config, NanoConfig):
        return tuple(name for name, _ in model.named_parameters() if name.startswith(NANO_HEAD))
    return HEAD


def replace_head(model: Glip, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Linear probing: the few tensors behind all features."""
    own = {name: model.get_parameter(name) for name in head_names(model)}
    if tensors.keys() != own.keys() or any(own[name].shape != tensor.shape for name, tensor in tensors.items()):
        raise _misfit(folder, f"it must hold the {len(own)} tensors of the head")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def merge_lora(model: Glip, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Add scale * B A to every weight that has factors A [r, in] and B [out, r]."""
    scale = _scale(folder / PEFT_CONFIG)
    factors = {key.removeprefix(PEFT_PREFIX): tensor.float() for key, tensor in tensors.items()}
    targets = sorted({key.removesuffix(FACTORS[0]).removesuffix(FACTORS[1]) for key in factors})
    if not targets or factors.keys() != {target + end for target in targets for end in FACTORS}:
        raise _misfit(folder, "it must hold the two factors of each weight")
    weights = dict(model.named_parameters())
    for target in targets:
        down, up = (factors[target + end] for end in FACTORS)
        weight = weights.get(f"{target}.weight")
        if weight is None or not _multiply_to(up, down, weight):
            raise _misfit(folder, f"the factors for {target} do not fit the model")
        with torch.no_grad():
            weight.add_(up @ down, alpha=scale)


def _multiply_to(up: Tensor, down: Tensor, weight: Tensor) -> bool:
    return up.ndim == down.ndim == 2 and up.shape[1] == len(down) and (len(up), down.shape[1]) == weight.shape


def _scale(path: Path) -> float:
    """The scaling factor of peft, alpha / r."""
    config = read_json(path)
    for key, plain in _PLAIN.items():
        if config.get(key, plain) != plain:
            raise CheckpointError(
                f"{path} has {key} {config[key]!r}: only plain LoRA, as `glip finetune` writes, loads"
            )
    alpha, rank = config.get("lora_alpha"), config.get("r")
    if not isinstance(alpha, int | float) or not isinstance(rank, int) or rank < 1:
        raise CheckpointError(f"{path} has no usable r and lora_alpha: take the folder again from where it came")
    return alpha / rank


def _misfit(folder: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{folder / TENSORS} is not what its {folder.name}/config.json says: {why}")
