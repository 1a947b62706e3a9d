"""What a training begins with: random weights, with or without the image side of something."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from glip_cli.checkpoints import safetensors_io
from glip_cli.checkpoints.load import load_model
from glip_cli.errors import CheckpointError, UsageError
from glip_cli.finetune.init_model import LOG_SCALE, load_image_side, random_start
from tests.finetune.examples import MINI

SHIPPED = load_model(MINI).state_dict()
IMAGE_SIDE = {name for name in SHIPPED if name.startswith(("backbone.", "fpn."))}


def varied(names: Iterable[str]) -> set[str]:
    """Those that are no constants, as norms are at first."""
    return {name for name in names if len(SHIPPED[name].unique()) > 1 and "position_ids" not in name}


def taken(source: str) -> set[str]:
    """Names of the tensors that are those of the shipped model."""
    state = random_start("glip-mini", seed=1, image_side=source).model.state_dict()
    return varied(name for name, tensor in state.items() if torch.equal(tensor, SHIPPED[name]))


def test_random_weights_follow_from_the_seed() -> None:
    one, same, other = (random_start("glip-mini", seed=seed).model.state_dict() for seed in (1, 1, 2))
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
    with pytest.raises(UsageError, match="--init zero: say random, or give"):
        random_start("glip-mini", seed=1, image_side="zero")
