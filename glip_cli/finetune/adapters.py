"""What a tuned model leaves: the whole network, or the little that was added to a published one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from glip_cli.checkpoints import safetensors_io
from glip_cli.checkpoints.adapters import PEFT_CONFIG, PEFT_PREFIX, head_names
from glip_cli.checkpoints.finetuned import MODEL, TENSORS, RunConfig, write_run_config
from glip_cli.checkpoints.prompt_tuning import OFFSET
from glip_cli.errors import OutputError
from glip_cli.model.glip import Glip

FORMAT = "glip-adapter/1"


def save_tuned(folder: Path, model: Glip, card: RunConfig) -> Path:
    """Write what `Detector.load` takes, as `weights.tuned` and `weights.adapters` describe it; return the folder.

    Mode full leaves the whole network (`--model DIR`), the others what they added (`--adapter DIR`, or `--model DIR`
    where the network that it was added to is still found). Each file is whole or not there; the card comes last.

    Args:
        folder: made where it is missing.
        model: as `modes.select` made it and training left it.
        card: of the same mode.

    Raises OutputError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = tuned_tensors(model, card.mode)
        if card.mode == "full":
            told = {"architecture": card.architecture, "name": card.name, "base": card.base}
            told["labels"] = json.dumps(card.labels)
            safetensors_io.write(folder / MODEL, tensors, told)
        else:
            safetensors_io.write(folder / TENSORS, tensors, {"format": FORMAT, "dialect": card.mode})
        if card.mode == "lora":
            _write_peft_config(folder, model)
        write_run_config(folder, card)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}; choose another --out-dir") from error
    return folder


def tuned_tensors(model: Glip, mode: str) -> Mapping[str, Tensor]:
    """What a mode's file holds: name -> tensor."""
    if mode == "full":
        return model.state_dict()
    if mode == "head":
        return {name: model.get_parameter(name) for name in head_names(model)}
    if mode == "prompt":
        return {OFFSET: used_rows(model.get_parameter(OFFSET))}
    from glip_cli.finetune.lora import factors

    return {PEFT_PREFIX + name: tensor for name, tensor in factors(model).items()}


def used_rows(offset: Tensor) -> Tensor:
    """Rows of tokens that no prompt had got no gradient and are zero still: without those at the end."""
    used = offset.detach().any(dim=1).nonzero()
    return offset.detach()[: int(used.max()) + 1 if len(used) else 1].clone()


def _write_peft_config(folder: Path, model: Glip) -> None:
    from glip_cli.finetune.lora import written_config

    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
        written_config(model).save_pretrained(temporary)
        os.replace(Path(temporary, PEFT_CONFIG), folder / PEFT_CONFIG)
