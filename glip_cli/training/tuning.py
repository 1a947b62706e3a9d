"""Tuning modes: which parameters train, and at what rates.

full    everything, but for the first stages of the backbone (`freeze_backbone_at`)
head    linear probing: the layers behind the last features (`checkpoints.adapters.head_names`)
prompt  rows added to BERT's output, one per token, zero at first; nothing else
lora    low-rank factors beside the linear layers of BERT, Swin and the fusion (`lora`)

Sources: microsoft/GLIP tools/finetune.py, modeling/detector/generalized_vl_rcnn.py, solver/build.py. Unusual here: in
mode head the frozen part is in evaluation mode, so what it gives is the same at every step; officially its dropout
stays on.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from glip_cli.checkpoints import safetensors_io
from glip_cli.checkpoints.adapters import PEFT_CONFIG, PEFT_PREFIX, head_names
from glip_cli.checkpoints.empty_init import OFFSET
from glip_cli.checkpoints.finetuned import MODEL, TENSORS, RunConfig, write_run_config
from glip_cli.errors import UsageError
from glip_cli.model.config import NanoConfig
from glip_cli.model.glip import Glip
from glip_cli.outputs.files import writing
from glip_cli.prompts.words import words_for
from glip_cli.training.config import TrainConfig
from glip_cli.training.optim import grouped


@dataclass(frozen=True)
class Tuning:
    """The trainable parameters that `select` chose.

    Attributes:
        names: of the parameters that train, in the model's order.
        groups: for `Optimizers`, each with "params", "lr", "weight_decay", "name" and "muon".
    """

    names: tuple[str, ...]
    groups: tuple[dict[str, object], ...]

    def train(self, model: nn.Module) -> None:
        """Training mode, but for modules of which nothing trains: their dropout and stochastic depth are off."""
        model.train()
        for module in model.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()


def select(model: Glip, recipe: TrainConfig) -> Tuning:
    """Make a model ready for the mode of a recipe, in place: its `requires_grad`, and what the mode adds to it.

    The model's answers stay what they are. Raises UsageError for a mode that is not for this network, and for mode
    lora without peft.
    """
    check_mode(model, recipe.mode)
    if recipe.mode == "prompt":
        add_places(model)
    elif recipe.mode == "lora":
        _inject(model, recipe)
    wanted = _wanted(model, recipe)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if name in wanted]
    return Tuning(tuple(name for name, _ in trained), tuple(grouped(trained, recipe)))


def check_mode(model: Glip, mode: str) -> None:
    """Raises UsageError for a mode that is not for this network."""
    if mode == "lora" and isinstance(model.config, NanoConfig):
        raise UsageError("--mode lora is for transformers, and glip-nano is none: take --mode head or full")


def _wanted(model: Glip, recipe: TrainConfig) -> set[str]:
    names = [name for name, _ in model.named_parameters()]
    if recipe.mode == "full":
        frozen = frozen_prefixes(recipe.freeze_backbone_at)
        return {name for name in names if not name.startswith(frozen)}
    if recipe.mode == "head":
        return set(head_names(model))
    if recipe.mode == "prompt":
        return {OFFSET}
    return {name for name in names if ".lora_" in name}


def frozen_prefixes(at: int) -> tuple[str, ...]:
    """Of the parameters that the official FREEZE_CONV_BODY_AT keeps (backbone/swint.py, `_freeze_stages`).

    There a stage ends with the patch merging that begins the next one here.
    """
    begins = ["backbone.patch_embed.", "backbone.stem."] if at >= 0 else []
    for stage in range(at - 1):
        begins += [f"backbone.layers.{stage}.", f"backbone.layers.{stage + 1}.downsample."]
    return tuple(begins)


def add_places(model: Glip) -> None:
    """Rows for all tokens that a text may have, zero, or what an earlier tuning made of them."""
    text, old = model.config.text, model.text.offset
    like = next(model.text.parameters())
    rows = torch.zeros(text.window, text.hidden, dtype=like.dtype, device=like.device)
    if old is not None:
        rows[: len(old)] = old.detach()
    model.text.offset = nn.Parameter(rows)


def _inject(model: Glip, recipe: TrainConfig) -> None:
    try:
        from glip_cli.training.lora import RANK, inject
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "peft":
            raise
        raise UsageError("--mode lora needs peft: pip install 'glip-cli[finetune]'") from None
    rank = recipe.lora_rank or RANK
    inject(model, rank, 2.0 * rank if recipe.lora_alpha is None else recipe.lora_alpha)


# ----------------------------------------------------------------------------------------------------------- adapters
# What a tuned model leaves: the whole network, or the little that was added to a published one.

FORMAT = "glip-adapter/1"


def save_tuned(folder: Path, model: Glip, card: RunConfig) -> Path:
    """Write what `Detector.load` takes (`checkpoints.finetuned`, `checkpoints.adapters`); return the folder.

    Mode full leaves the whole network (`--model DIR`), the others what they added (`--adapter DIR`, or `--model DIR`
    where the network that it was added to is still found). Each file is whole or not there; the card comes last.

    Args:
        folder: made where it is missing.
        model: as `select` made it and training left it.
        card: of the same mode.

    Raises OutputError.
    """
    with writing(f"to {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        tensors = tuned_tensors(model, card.mode)
        if card.mode == "full":
            metadata = {"architecture": card.architecture, "name": card.name, "base": card.base}
            metadata["labels"] = json.dumps(card.labels)
            if card.words:
                metadata["words"] = json.dumps(dict(card.words))
            if OFFSET in tensors:  # of an earlier tuning of the prompt, which has gone on
                metadata["tuned_for"] = json.dumps(words_for(card.labels, card.words))
            safetensors_io.write(folder / MODEL, tensors, metadata)
        else:
            safetensors_io.write(folder / TENSORS, tensors, {"format": FORMAT, "dialect": card.mode})
        if card.mode == "lora":
            _write_peft_config(folder, model)
        write_run_config(folder, card)
    return folder


def tuned_tensors(model: Glip, mode: str) -> Mapping[str, Tensor]:
    """Name -> tensor, as the file of a mode holds them."""
    if mode == "full":
        return model.state_dict()
    if mode == "head":
        return {name: model.get_parameter(name) for name in head_names(model)}
    if mode == "prompt":
        return {OFFSET: used_rows(model.get_parameter(OFFSET))}
    from glip_cli.training.lora import factors

    return {PEFT_PREFIX + name: tensor for name, tensor in factors(model).items()}


def used_rows(offset: Tensor) -> Tensor:
    """Rows of tokens that no prompt had got no gradient and are zero still: without those at the end."""
    used = offset.detach().any(dim=1).nonzero()
    return offset.detach()[: int(used.max()) + 1 if len(used) else 1].clone()


def _write_peft_config(folder: Path, model: Glip) -> None:
    from glip_cli.training.lora import written_config

    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
        written_config(model).save_pretrained(temporary)
        os.replace(Path(temporary, PEFT_CONFIG), folder / PEFT_CONFIG)
