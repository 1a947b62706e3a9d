"""What a training begins with: random weights, with or without the image side of something."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from transformers import BertConfig, BertModel

from glip_cli.checkpoints import safetensors_io
from glip_cli.checkpoints.load import load
from glip_cli.errors import CheckpointError, FetchError, UsageError
from glip_cli.model.bert import TextEncoder
from glip_cli.model.config import SwinConfig, TextConfig
from glip_cli.model.swin import Backbone
from glip_cli.training import init_model
from glip_cli.training.init_model import LOG_SCALE, InitSource, bert_state, load_image_side, swin_state
from tests.training.examples import MINI

SHIPPED = load(MINI).model.state_dict()
IMAGE_SIDE = {name for name in SHIPPED if name.startswith(("backbone.", "fpn."))}


def varied(names: Iterable[str]) -> set[str]:
    """Those that are no constants, as norms are at first."""
    return {name for name in names if len(SHIPPED[name].unique()) > 1 and "position_ids" not in name}


def untrained(init: str, seed: int = 1) -> dict[str, torch.Tensor]:
    return InitSource("glip-mini", init=init).load("full", seed).model.state_dict()


def taken(source: str) -> set[str]:
    """Names of the tensors that are those of the shipped model."""
    state = untrained(source)
    return varied(name for name, tensor in state.items() if torch.equal(tensor, SHIPPED[name]))


def test_random_weights_follow_from_the_seed() -> None:
    one, same, other = (untrained("random", seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.text_projection.weight"], other["head.text_projection.weight"])
    assert one["head.log_scale"].item() == LOG_SCALE


def test_of_a_whole_model_the_backbone_and_the_pyramid_are_taken() -> None:
    assert taken(str(MINI)) == varied(IMAGE_SIDE)


def test_of_a_backbone_the_backbone_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "backbone.safetensors"
    backbone = {name: tensor for name, tensor in SHIPPED.items() if name.startswith("backbone.")}
    safetensors_io.write(file, backbone, {"architecture": "glip-mini", "name": "backbone"})
    assert taken(str(file)) == varied(set(backbone))


def test_an_image_side_of_another_architecture_is_refused() -> None:
    with pytest.raises(CheckpointError, match="of architecture glip-mini, not glip-t"):
        load_image_side(str(MINI), "glip-t")
    with pytest.raises(UsageError, match="--init zero: say random or pretrained, or give"):
        untrained("zero")


def test_imagenets_swin_and_bert_become_tensors_of_a_network() -> None:
    """Networks of timm and transformers with random weights: the same features of pixels, and of tokens."""
    torch.manual_seed(0)
    config = SwinConfig(embed_dim=32, depths=(1, 2, 2, 1), heads=(2, 4, 8, 8), window=5, drop_path=0.0)
    text = TextConfig(vocab_size=40, hidden=24, layers=1, heads=3, intermediate=50, positions=20)
    timms = SwinTransformer(
        img_size=160, embed_dim=32, depths=config.depths, num_heads=config.heads, window_size=5, num_classes=3
    ).eval()
    sizes = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3,
             "intermediate_size": 50, "max_position_embeddings": 20}  # fmt: skip
    berts = BertModel(BertConfig(**sizes), add_pooling_layer=False).eval()
    state = swin_state(timms.state_dict()) | bert_state(berts.state_dict())

    backbone, bert = Backbone(config).eval(), TextEncoder(text).eval()
    norms = {name for name in backbone.state_dict() if name.startswith("norms.")}
    assert {name for name in state if name.startswith("backbone.")} == {
        f"backbone.{name}" for name in backbone.state_dict().keys() - norms
    }
    backbone.load_state_dict({name.removeprefix("backbone."): x for name, x in state.items()}, strict=False)
    bert.load_state_dict({name.removeprefix("text."): x for name, x in state.items() if name.startswith("text.")})
    pixels, ids = torch.randn(1, 3, 160, 160), torch.tensor([[2, 7, 3]])
    with torch.no_grad():
        theirs = timms.layers(timms.patch_embed(pixels))
        mine = backbone(pixels.flip(1))[-1]
        torch.testing.assert_close(mine, backbone.norms[-1](theirs).permute(0, 3, 1, 2), rtol=1e-4, atol=1e-4)
        hidden = berts(ids).last_hidden_state
        torch.testing.assert_close(bert(ids, ids > 0), hidden, rtol=1e-4, atol=1e-5)


def test_a_pretrained_start_is_a_random_one_but_for_swin_and_bert(monkeypatch: pytest.MonkeyPatch) -> None:
    """What timm and transformers would download is stood in for by zeros."""
    monkeypatch.setattr(init_model, "SWINS", {"glip-mini": "tiny"})
    parts = {name: torch.zeros_like(x) for name, x in SHIPPED.items() if name.startswith(("backbone.l", "text.bert."))}
    monkeypatch.setattr(init_model, "load_pretrained", lambda architecture, offline: parts)
    start = InitSource("glip-mini", init="pretrained").load("full", seed=1)
    plain = untrained("random")
    assert (start.name, start.sha256) == ("pretrained", "")
    changed = {name for name, x in start.model.state_dict().items() if not torch.equal(x, plain[name])}
    assert "text.bert.embeddings.word_embeddings.weight" in changed
    assert changed <= parts.keys()


def test_a_pretrained_start_of_another_size_or_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--init pretrained: there are weights for glip-t, glip-t-a, glip-l, and none"):
        InitSource("glip-mini", init="pretrained").load("full", seed=1)
    monkeypatch.setenv("HF_HOME", "/nowhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FetchError, match=r"--init pretrained: swin_tiny.* cannot be had"):
        init_model.load_pretrained("glip-t", offline=True)
