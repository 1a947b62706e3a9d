"""How fast each parameter learns, by what it is; by the official rules (microsoft/GLIP solver/build.py) if not told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from glip_cli.finetune.config import TrainConfig

LANGUAGE = ("text.bert.", "text.concepts.", "text.pieces.", "text.projection.")
"""The text side: glip-nano's, or BERT proper. BERT's layers between the fusions have the others' rate, officially."""
CONCEPTS = "text.concepts."  # class vectors with their biases: those that no label asks for stay what they are
LEVELS = ("head.bias0", "head.bias_lang")  # what the logits are without any feature
ORDER = ("weights", "biases", "levels", "language weights", "language biases", "matrices", "language matrices")


@dataclass(frozen=True)
class LearningRates:
    """Learning rates and weight decay, by the official rules.

    Attributes:
        lr: of all but the text side.
        language_lr: of the text side (`LANGUAGE`).
        weight_decay: of all but biases, which have none. Weights of norms decay.
        bias_factor: biases learn faster by it (official BIAS_LR_FACTOR).
        level_factor: the levels of the logits (`LEVELS`) learn faster by it; as biases, officially.
        muon_lr: of the matrices between features, which Muon then moves; None: AdamW does, at the rate of the others.
            BERT's learn slower by what `language_lr` is below `lr`.
    """

    lr: float = 1e-4
    language_lr: float = 1e-5
    weight_decay: float = 0.05
    bias_factor: float = 2.0
    level_factor: float = 2.0
    muon_lr: float | None = None

    @classmethod
    def of_recipe(cls, recipe: TrainConfig) -> LearningRates:
        muon_lr = recipe.lr if recipe.muon_lr is None else recipe.muon_lr
        return cls(
            lr=recipe.lr,
            language_lr=recipe.language_lr,
            weight_decay=recipe.weight_decay,
            level_factor=recipe.level_factor,
            muon_lr=muon_lr if recipe.optimizer == "muon" else None,
        )

    def of(self, name: str, parameter: Tensor) -> ParamGroup:
        """By name and shape. As officially, a bias is what has "bias" in its name: Swin's tables too."""
        language = name.startswith(LANGUAGE)
        lr = self.language_lr if language else self.lr
        begin = "language " if language else ""
        if name in LEVELS and self.level_factor != self.bias_factor:
            return ParamGroup("levels", lr * self.level_factor, 0.0)
        if "bias" in name:
            return ParamGroup(f"{begin}biases", lr * self.bias_factor, 0.0)
        if name.startswith(CONCEPTS):
            return ParamGroup(f"{begin}biases", lr, 0.0)
        if self.muon_lr is not None and is_hidden_matrix(name, parameter):
            return ParamGroup(f"{begin}matrices", self.muon_lr * lr / self.lr, self.weight_decay, muon=True)
        return ParamGroup(f"{begin}weights", lr, self.weight_decay)


class ParamGroup(NamedTuple):
    """How a parameter learns."""

    name: str
    lr: float
    weight_decay: float
    muon: bool = False


def grouped(parameters: Iterable[tuple[str, Tensor]], rates: LearningRates) -> Iterator[dict[str, Any]]:
    """Named parameters that learn alike together, as `Optimizers` takes them."""
    kinds: dict[ParamGroup, list[Tensor]] = {}
    for name, parameter in parameters:
        kinds.setdefault(rates.of(name, parameter), []).append(parameter)
    for kind in sorted(kinds, key=lambda kind: ORDER.index(kind.name)):
        yield {"params": kinds[kind], **kind._asdict()}


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Between two features: no embedding, no convolution, nothing that gives an output."""
    if name.startswith("head.tower."):
        hidden = name.split(".")[3] in ("fusion", "text")
    else:
        hidden = name.startswith(("backbone.", "text.bert.encoder."))
    return hidden and parameter.ndim == 2
