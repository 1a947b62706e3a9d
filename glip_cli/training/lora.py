"""LoRA (arXiv 2106.09685) through peft: low-rank factors beside the linear layers of BERT, Swin and the fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import Tensor, nn

from glip_cli.model.glip import Glip

ADAPTER = "default"  # peft's name for the only one


class WholeWeight(Linear):
    """peft's layer, whose `weight` has the factors in it.

    The folded fusion multiplies by some weights without calling their layers; peft's own `weight` is the frozen one.
    """

    @property
    def weight(self) -> Tensor:
        weight: Tensor = super().weight
        return weight + self.get_delta_weight(ADAPTER)


@dataclass(frozen=True)
class Rank:
    """The sizes of a LoRA: its rank, and alpha, which divided by the rank scales what the factors give."""

    rank: int = 4
    alpha: float = 8.0


def lora_targets(model: nn.Module) -> list[str]:
    """The linear layers of Swin (qkv, proj, fc1, fc2, reduction), of both kinds of BERT layers, and of the fusion."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and _is_target(name)]


def _is_target(name: str) -> bool:
    if name.startswith("head.tower."):
        return name.split(".")[3] in ("fusion", "text")
    return name.startswith(("backbone.layers.", "text.bert.encoder."))


def inject(model: Glip, sizes: Rank) -> None:
    """Put factors beside the layers, in place; those that write start at zero, so that nothing changes yet.

    Dropout is left out: it acts on a layer's input, which the folded fusion never forms.
    """
    alpha: Any = sizes.alpha  # declared int by peft, which only divides it
    config = LoraConfig(r=sizes.rank, lora_alpha=alpha, target_modules=lora_targets(model), lora_dropout=0.0)
    config._register_custom_module({nn.Linear: WholeWeight})
    inject_adapter_in_model(config, model, ADAPTER)


def factors(model: Glip) -> dict[str, Tensor]:
    """What peft would save: "backbone ... qkv.lora_A.weight" [r, in] and "... lora_B.weight" [out, r]."""
    return get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)


def written_config(model: Glip) -> LoraConfig:
    """Of the factors in a model; `save_pretrained` writes it."""
    configs: dict[str, LoraConfig] = vars(model)["peft_config"]
    return configs[ADAPTER]
