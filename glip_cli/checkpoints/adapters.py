"""Adapters: the weights that fine-tuning added to a model, and how they are loaded into it.

DIR/config.json                its mode, and the model that it was made for (`finetuned.RunConfig`)
DIR/adapter_model.safetensors  prompt: rows added to the tokens; head: the tensors themselves; lora: peft's factors
DIR/adapter_config.json        lora: as peft writes it

peft is not needed: a LoRA is merged into the weights, W + scale * B A (arXiv 2106.09685, section 4.1).
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
"""The parameters that linear probing trains (official tools/finetune.py, `tuning_highlevel_override`)."""
NANO_HEAD = ("head.box.", "text.concepts.", "text.projection.")
"""Prefixes of those in glip-nano, whose class vectors belong to its text encoder."""

# values of peft's configuration for which the merged weight is W + scale * B A
_PLAIN = {"peft_type": "LORA", "bias": "none", "use_dora": False, "fan_in_fan_out": False, "rank_pattern": {},
          "alpha_pattern": {}, "use_rslora": False}  # fmt: skip


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder, and the config.json in it."""

    folder: Path
    config: RunConfig

    @cached_property
    def sha256(self) -> str:
        """The hash of its file of tensors."""
        return cache.sha256(self.folder / TENSORS)


def find_adapter(folder: str | Path) -> Adapter:
    """The adapter in a folder; a run folder stands for its best.

    Raises CheckpointError where there is none, UsageError for a whole model.
    """
    path = best_of(cache.expanded(folder))
    if not path.is_dir():
        raise CheckpointError(f"there is no folder {path}: --adapter takes one that `glip finetune` left")
    config = read_run_config(path)
    if config.mode == "full":
        raise UsageError(f"{path} holds a whole model, no adapter: give it to --model")
    if not is_adapter(path):
        raise CheckpointError(f"{path} has no {TENSORS}: take the folder again from where it came")
    return Adapter(path, config)


def load_adapter(loaded: Loaded, folder: str | Path) -> Adapter:
    """Load an adapter into the model that it was made for, in place.

    Raises CheckpointError for one that is damaged or was made for another model, and as `find_adapter`.
    """
    adapter = find_adapter(folder)
    check_base(adapter, loaded)
    tensors = safetensors_io.read(adapter.folder / TENSORS).state
    if adapter.config.mode == "lora":
        merge_lora(loaded.model, tensors, adapter.folder)
    elif adapter.config.mode == "head":
        replace_head(loaded.model, tensors, adapter.folder)
    else:
        add_offset(loaded.model, tensors, adapter.folder)
    return adapter


def check_base(adapter: Adapter, loaded: Origin) -> None:
    """Raises CheckpointError unless the hashes agree: the published models share architectures."""
    config = adapter.config
    if config.architecture != loaded.architecture or config.base_sha256 != loaded.sha256:
        raise CheckpointError(
            f"the adapter {adapter.folder} was made for {config.base} ({config.architecture}), not for {loaded.id} "
            f"({loaded.architecture}): give --model {config.source or config.base}"
        )


def add_offset(model: Glip, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Prompt tuning: rows [n, hidden] that are added to BERT's output, token by token."""
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
    """Linear probing: the parameters of the head."""
    parameters = {name: model.get_parameter(name) for name in head_names(model)}
    if tensors.keys() != parameters.keys() or any(
        parameters[name].shape != tensor.shape for name, tensor in tensors.items()
    ):
        raise _misfit(folder, f"it must hold the {len(parameters)} tensors of the head")
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)


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
    for key, expected in _PLAIN.items():
        if config.get(key, expected) != expected:
            raise CheckpointError(
                f"{path} has {key} {config[key]!r}: only plain LoRA, as `glip finetune` writes, loads"
            )
    alpha, rank = config.get("lora_alpha"), config.get("r")
    if not isinstance(alpha, int | float) or not isinstance(rank, int) or rank < 1:
        raise CheckpointError(f"{path} has no usable r and lora_alpha: take the folder again from where it came")
    return alpha / rank


def _misfit(folder: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{folder / TENSORS} is not what its {folder.name}/config.json says: {why}")
