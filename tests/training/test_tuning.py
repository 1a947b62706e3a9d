"""Tuning modes, on networks of glip-mini's sizes: which parameters train, where gradients go, at what rates."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from glip_cli.checkpoints.empty_init import init_empty
from glip_cli.errors import UsageError
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput
from glip_cli.training.assign import match
from glip_cli.training.config import TrainConfig
from glip_cli.training.loss import Target, grounding_loss
from glip_cli.training.tuning import Tuning, select

MODES = ["full", "head", "prompt", "lora"]
HEAD = {"head.box.weight", "head.box.bias", "head.centerness.weight", "head.centerness.bias", "head.bias0",
        "head.text_projection.weight", "head.text_projection.bias", "head.log_scale", "head.bias_lang"}  # fmt: skip
BERT = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
        "intermediate.dense", "output.dense"]  # fmt: skip
SWIN = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
FUSION = ["v_proj", "l_proj", "values_v_proj", "values_l_proj", "out_v_proj", "out_l_proj"]
TARGETS = {
    *(f"backbone.layers.{stage}.blocks.{block}.{part}" for stage, block in
      [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)] for part in SWIN),
    *(f"backbone.layers.{stage}.downsample.reduction" for stage in (1, 2, 3)),
    *(f"text.bert.encoder.layer.{layer}.{part}" for layer in (0, 1) for part in BERT),
    *(f"head.tower.0.text.{part}" for part in BERT),
    *(f"head.tower.0.fusion.{part}" for part in FUSION),
}  # fmt: skip


def small() -> Glip:
    torch.manual_seed(0)
    return Glip(ARCHITECTURES["glip-mini"])


def answer(model: Glip) -> RawOutput:
    torch.manual_seed(1)
    ids = torch.tensor([[2, 10, 11, 12, 13, 3, 0, 0]])
    return model(torch.randn(1, 3, 64, 96), ids, ids > 0)


def loss(model: Glip) -> Tensor:
    mask = torch.tensor([[True] * 6 + [False] * 2])
    boxes, tokens = torch.tensor([[8.0, 8.0, 55.0, 50.0]]), torch.zeros(1, 8, dtype=torch.bool)
    tokens[0, 2] = True
    raw = answer(model)
    return grounding_loss(raw, mask, [Target(boxes, tokens)], [match(raw.sizes, boxes)]).total


def trained(model: Glip) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_head_is_the_official_list() -> None:
    model = small()
    tuning = select(model, TrainConfig(mode="head"))
    assert set(tuning.names) == trained(model) == HEAD


def test_prompt_is_one_row_per_token_of_the_window() -> None:
    model = small()
    assert select(model, TrainConfig(mode="prompt")).names == ("text.offset",)
    assert trained(model) == {"text.offset"}
    assert model.get_parameter("text.offset").shape == (256, 128)
    assert not model.get_parameter("text.offset").any()


def test_lora_is_two_factors_beside_the_linear_layers_of_swin_bert_and_fusion() -> None:
    model = small()
    expected = {f"{target}.lora_{factor}.default.weight" for target in TARGETS for factor in "AB"}
    assert set(select(model, TrainConfig(mode="lora")).names) == trained(model) == expected
    assert len(expected) == 2 * 51


@pytest.mark.parametrize(
    ("at", "stages", "merges"),
    [(-1, [], []), (0, [], []), (1, [], []), (2, [0], [1]), (3, [0, 1], [1, 2]), (5, [0, 1, 2, 3], [1, 2, 3])],
)
def test_full_freezes_the_first_stages_as_swint_does(at: int, stages: list[int], merges: list[int]) -> None:
    """There a patch merging is the end of a stage; here it is the beginning of the next."""
    model = small()
    begins = ["backbone.patch_embed."] if at >= 0 else []
    begins += [f"backbone.layers.{stage}." for stage in stages]
    begins += [f"backbone.layers.{stage}.downsample." for stage in merges]
    everything = {name for name, _ in model.named_parameters()}
    tuning = select(model, TrainConfig(mode="full", freeze_backbone_at=at))
    assert set(tuning.names) == trained(model) == {name for name in everything if not name.startswith(tuple(begins))}
    assert "backbone.norms.2.weight" in tuning.names
    if at == 2:
        assert "backbone.layers.1.blocks.0.attn.qkv.weight" in tuning.names
        assert "backbone.layers.1.downsample.reduction.weight" not in tuning.names


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_what_trains_and_nothing_else(mode: str) -> None:
    model = small()
    tuning = select(model, TrainConfig(mode=mode))
    if mode == "lora":  # the factor that writes is zero, so no gradient passes it to the one that reads
        for name in tuning.names:
            torch.nn.init.normal_(model.get_parameter(name), std=0.05)
    loss(model).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (name in tuning.names), name
    moved = [name for name in tuning.names if model.get_parameter(name).grad.any()]
    # in one prompt not all words occur, a deformable offset's gradient may vanish, but nothing of a kind may be dead
    assert len(moved) > 0.97 * len(tuning.names)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_changes_before_the_first_step_and_everything_afterwards(mode: str) -> None:
    model = small().eval()
    with torch.no_grad():
        before = answer(model)
        tuning = select(model, TrainConfig(mode=mode))
        same = answer(model)
    for part in ("logits", "deltas", "centerness"):
        assert torch.equal(getattr(before, part), getattr(same, part))
    step(model, tuning)
    assert not torch.equal(answer(model).logits, before.logits)


def step(model: Glip, tuning: Tuning) -> None:
    optimizer = torch.optim.AdamW(tuning.groups)
    loss(model).backward()
    optimizer.step()


@pytest.mark.parametrize("mode", MODES)
def test_a_step_moves_only_what_trains(mode: str) -> None:
    model = small()
    tuning = select(model, TrainConfig(mode=mode))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    step(model, tuning)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed
    assert changed <= set(tuning.names)


def test_groups_are_the_official_rates() -> None:
    model = small()
    tuning = select(model, TrainConfig(lr=1e-3, language_lr=1e-5, weight_decay=0.05, freeze_backbone_at=-1))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in tuning.groups
        for parameter in group["params"]
    }
    assert len(tuning.groups) == 4
    assert sum(len(group["params"]) for group in tuning.groups) == len(rates) == len(names)
    expected = {
        "backbone.patch_embed.proj.weight": (1e-3, 0.05),
        "backbone.patch_embed.norm.weight": (1e-3, 0.05),  # norms decay
        "backbone.patch_embed.proj.bias": (2e-3, 0.0),
        "backbone.layers.0.blocks.0.attn.relative_position_bias_table": (2e-3, 0.0),
        "head.bias_lang": (2e-3, 0.0),
        "head.bias0": (2e-3, 0.0),
        "head.log_scale": (1e-3, 0.05),
        "head.tower.0.text.output.dense.weight": (1e-3, 0.05),  # not in the language backbone
        "text.bert.encoder.layer.1.output.dense.weight": (1e-5, 0.05),
        "text.bert.encoder.layer.1.output.dense.bias": (2e-5, 0.0),
        "text.bert.embeddings.LayerNorm.weight": (1e-5, 0.05),
    }
    assert {name: rates[name] for name in expected} == expected


def test_the_offset_learns_at_the_rate_of_the_head() -> None:
    (group,) = select(small(), TrainConfig(mode="prompt", lr=0.05, weight_decay=0.25)).groups
    assert (group["lr"], group["weight_decay"]) == (0.05, 0.25)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_factor_has_its_say(target: str, lora: Glip) -> None:
    """Also where the folded fusion reads a weight and never calls its layer."""
    factor = lora.get_parameter(f"{target}.lora_B.default.weight")
    with torch.no_grad():
        before = answer(lora)
        factor.normal_()  # a constant would vanish in the next norm
        after = answer(lora)
        factor.zero_()
    assert (before.logits - after.logits).abs().max() > 1e-4


@pytest.fixture(scope="module")
def lora() -> Glip:
    model = small().eval()
    select(model, TrainConfig(mode="lora"))
    return model


def test_lora_of_glip_t_is_a_few_megabytes() -> None:
    """Per layer 4 (in + out): 18 BERT layers, 6 fusions, 12 Swin blocks, 3 mergings, counted by hand."""
    from glip_cli.training.lora import lora_targets

    model = init_empty(lambda: Glip(ARCHITECTURES["glip-t"]))
    shapes = [model.get_parameter(f"{name}.weight").shape for name in lora_targets(model)]
    bert = 18 * (4 * (768 + 768) + 2 * (768 + 3072))
    fusion = 6 * (3 * (256 + 2048) + 3 * (768 + 2048))
    swin = sum(depth * (4 + 2 + 5 + 5) * dim for depth, dim in [(2, 96), (2, 192), (6, 384), (2, 768)])
    mergings = sum(4 * dim + 2 * dim for dim in (96, 192, 384))
    assert sum(map(sum, shapes)) == bert + fusion + swin + mergings
    assert 4 * sum(map(sum, shapes)) * 4 == 6_650_880  # bytes at rank 4


def test_rank_is_as_asked() -> None:
    model = small()
    select(model, TrainConfig(mode="lora", lora_rank=3))
    layer = model.get_submodule("head.tower.0.fusion.l_proj")
    assert layer.get_parameter("lora_A.default.weight").shape == (3, 128)
    assert layer.get_parameter("lora_B.default.weight").shape == (256, 3)
    assert layer.scaling == {"default": 2.0}


def test_what_is_frozen_gives_the_same_at_every_step() -> None:
    """Stochastic depth and dropout act only in modules of which something trains."""
    model = small()
    tuning = select(model, TrainConfig(mode="full", freeze_backbone_at=2))
    tuning.train(model)
    assert model.training
    assert model.head.training
    assert model.backbone.layers[1].blocks[0].training
    assert not model.backbone.patch_embed.training
    assert not any(module.training for module in model.backbone.layers[0].modules())
    model = small()
    select(model, TrainConfig(mode="prompt")).train(model)
    assert not model.text.bert.training
    assert not model.backbone.training
    assert not model.head.training


def test_prompt_goes_on_from_an_offset_that_is_there() -> None:
    model = small()
    rows = torch.randn(5, 128)
    model.text.offset = torch.nn.Parameter(rows.clone())
    select(model, TrainConfig(mode="prompt"))
    offset = model.get_parameter("text.offset")
    assert offset.shape == (256, 128)
    assert torch.equal(offset[:5], rows)
    assert not offset[5:].any()


def test_lora_without_peft_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    monkeypatch.delitem(sys.modules, "glip_cli.training.lora", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'glip-cli\[finetune\]'"):
        select(small(), TrainConfig(mode="lora"))
