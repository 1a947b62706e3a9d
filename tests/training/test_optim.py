"""Two optimizers as one: what each moves, and by how much in its first step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from glip_cli.training.config import TrainConfig
from glip_cli.training.optim import Optimizers, set_rates
from glip_cli.training.tuning import select
from tests.training.networks import small_model

LR = 1e-2


def group(parameter: torch.Tensor, muon: bool, weight_decay: float = 0.0) -> dict[str, Any]:
    return {"params": [parameter], "lr": LR, "weight_decay": weight_decay, "muon": muon, "name": ""}


def one_step(gradients: dict[bool, torch.Tensor], share: float = 1.0) -> dict[bool, torch.Tensor]:
    """What a first step of the highest rate times `share` changes, by whether Muon does it."""
    parameters = {muon: torch.nn.Parameter(torch.zeros_like(gradient)) for muon, gradient in gradients.items()}
    both = Optimizers([group(parameter, muon) for muon, parameter in parameters.items()])
    set_rates(both.param_groups, TrainConfig(schedule="constant", warmup=1000), round(share * 1000), 1, 0)
    for muon, parameter in parameters.items():
        parameter.grad = gradients[muon].clone()
    both.step()
    return {muon: parameter.detach() for muon, parameter in parameters.items()}


def test_a_first_step_by_hand() -> None:
    """AdamW's is the rate times the sign; Muon's is as long in every direction, whatever the gradient's lengths.

    The latter by the singular values: 0.2 * sqrt(longer side) times the rate, to what five Newton-Schulz rounds leave.
    """
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(12, 8))[0] for _ in range(2))
    matrix = u @ torch.diag(torch.logspace(0, -1.5, 8)) @ v.T
    moved = one_step({False: torch.tensor([3.0, -0.5]), True: matrix})
    assert moved[False].tolist() == pytest.approx([-LR, LR], rel=1e-4)
    lengths = torch.linalg.svdvals(moved[True])[:8] / (LR * 0.2 * 12**0.5)
    assert lengths.min() > 0.6
    assert lengths.max() < 1.3
    assert torch.linalg.svdvals(matrix)[7] / torch.linalg.svdvals(matrix)[0] < 0.04


def test_both_follow_the_schedule() -> None:
    torch.manual_seed(0)
    gradients = {False: torch.randn(3), True: torch.randn(4, 4)}
    whole, half = one_step(gradients), one_step(gradients, share=0.5)
    for muon in (False, True):
        torch.testing.assert_close(half[muon], 0.5005 * whole[muon])  # a warm-up begins at 0.001


def test_every_parameter_is_in_one_group_and_matrices_between_features_are_muons() -> None:
    model = small_model()
    given = {"lr": 1e-3, "language_lr": 1e-4, "muon_lr": 5e-3, "level_factor": 20, "freeze_backbone_at": -1}
    tuning = select(model, TrainConfig(optimizer="muon", **given))
    groups = {one["name"]: one for one in tuning.groups}
    assert sum(len(one["params"]) for one in tuning.groups) == len(tuning.names)
    assert {name for name, one in groups.items() if one["muon"]} == {"matrices", "language matrices"}
    assert {name: one["lr"] for name, one in groups.items()} == pytest.approx(
        {"weights": 1e-3, "biases": 2e-3, "levels": 2e-2, "language weights": 1e-4, "language biases": 2e-4,
         "matrices": 5e-3, "language matrices": 5e-4}
    )  # fmt: skip
    by_muon = {id(p) for one in tuning.groups if one["muon"] for p in one["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in by_muon}
    assert {"backbone.layers.0.blocks.0.attn.qkv.weight", "head.tower.0.fusion.v_proj.weight"} <= names
    assert not [name for name in names if "embeddings" in name or "bias" in name or "projection" in name]
    levels = {id(p) for p in groups["levels"]["params"]}
    assert levels == {id(model.head.bias0), id(model.head.bias_lang)}


def test_without_muon_there_is_adamw_alone() -> None:
    both = Optimizers(select(small_model(), TrainConfig(mode="full")).groups)
    assert list(both.by_name) == ["adamw"]
    assert set(both.state_dict()) == {"adamw"}
