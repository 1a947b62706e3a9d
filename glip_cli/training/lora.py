"""LoRA (arXiv 2106.09685) through peft: low-rank factors beside the linear layers of BERT, Swin and the fusion."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import Tensor, nn

from glip_cli.model.glip import Glip
from glip_cli.training.optim import is_hidden

ADAPTER = "default"  # peft's name for the only one
RANK = 4


class WholeWeight(Linear):
    """peft's layer, whose `weight` has the factors in it.

    The folded fusion multiplies by some weights without calling their layers; peft's own `weight` is the frozen one.
    """

    @property
    def weight(self) -> Tensor:
        weight: Tensor = super().weight
        return weight + self.get_delta_weight(ADAPTER)


def lora_targets(model: nn.Module) -> list[str]:
    """The linear layers of Swin (qkv, proj, fc1, fc2, reduction), of both kinds of BERT layers, and of the fusion."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and is_hidden(name)]


def inject(model: Glip, rank: int, alpha: Any) -> None:
    """Put factors beside the layers, in place; those that write start at zero, so that nothing changes yet.

    `alpha` divided by `rank` scales what the factors give; peft declares it int. Dropout is left out: it acts on a
    layer's input, which the folded fusion never forms.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=lora_targets(model), lora_dropout=0.0)
    config._register_custom_module({nn.Linear: WholeWeight})
    inject_adapter_in_model(config, model, ADAPTER)


def factors(model: Glip) -> dict[str, Tensor]:
    """The tensors that peft would save: "backbone ... qkv.lora_A.weight" [r, in] and "... lora_B.weight" [out, r]."""
    return get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)


def written_config(model: Glip) -> LoraConfig:
    """The peft configuration of the factors in a model; `save_pretrained` writes it."""
    configs: dict[str, LoraConfig] = vars(model)["peft_config"]
    return configs[ADAPTER]
