"""The tables, against the lists of what the released files hold (tests/golden/manifests)."""

import json
import zlib

import numpy as np
import pytest
import torch

from glip_cli.checkpoints.formats import detect_dialect, infer_architecture, shapes, table, to_native
from glip_cli.checkpoints.key_map import as_linear, from_unfold
from glip_cli.errors import CheckpointError
from glip_cli.model.config import ARCHITECTURES
from tests import recipe
from tests.checkpoints.support import GOLDEN, SMALL, foreign, manifest, small_state

MODELS = {"a": "glip-t-a", "b": "glip-t", "l": "glip-l"}


def meta_state(letter: str, dialect: str) -> dict[str, torch.Tensor]:
    """A whole checkpoint without memory."""
    if dialect == "mmdet":
        rows = [(key, shape, kind) for key, shape, kind in manifest(f"mmdet-{letter}")]
    else:
        kinds = {key: kind for key, _, kind in manifest(f"mmdet-{letter}")}
        rows = [(key.removeprefix("module."), shape, kinds[other])
                for key, other, shape, _ in manifest(f"microsoft-{letter}")]  # fmt: skip
    return {key: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for key, shape, kind in rows}


@pytest.mark.parametrize("dialect", ["mmdet", "official"])
@pytest.mark.parametrize("letter", MODELS)
def test_every_key_and_shape_of_the_released_files(letter, dialect):
    state = meta_state(letter, dialect)
    assert detect_dialect(state) == dialect
    assert infer_architecture(state, dialect) == MODELS[letter]
    native = to_native(state, MODELS[letter], dialect, "file")
    assert {key: tensor.shape for key, tensor in native.items()} == shapes(ARCHITECTURES[MODELS[letter]])


@pytest.mark.parametrize("letter", MODELS)
def test_both_dialects_take_each_tensor_from_the_same_place(letter):
    config = ARCHITECTURES[MODELS[letter]]
    ours, theirs = table(config, "mmdet").sources, table(config, "official").sources
    same = {other: key.removeprefix("module.") for key, other, _, _ in manifest(f"microsoft-{letter}")}
    permuted = {other for _, other, _, transform in manifest(f"microsoft-{letter}") if transform}
    for key, source in ours.items():
        assert theirs[key].key == same[source.key]
        assert (source.transform is from_unfold) == (source.key in permuted)
        assert theirs[key].transform is not from_unfold


def test_mmdetections_own_permutation_is_undone():
    weight = torch.arange(2 * 24.0).view(2, 24)
    theirs = weight.view(2, 4, 6)[:, [0, 2, 1, 3]].transpose(1, 2).reshape(2, 24)  # glip_to_mmdet.py
    assert torch.equal(from_unfold(theirs), weight)


def test_convolutions_become_linear():
    assert as_linear(torch.zeros(4, 8, 1, 1)).shape == (4, 8)
    assert as_linear(torch.zeros(4)).shape == (4,)


@pytest.mark.parametrize("dialect", ["mmdet", "official"])
def test_translation_is_exact(dialect):
    state = small_state()
    native = to_native(foreign(state, dialect), "glip-mini", dialect, "file")
    assert native.keys() == state.keys()
    for key, tensor in native.items():
        assert torch.equal(tensor, state[key]), key
        assert tensor.is_contiguous()


@pytest.mark.parametrize("dialect", ["mmdet", "official"])
def test_dropped_keys_are_dropped_and_each_has_a_reason(dialect):
    names = table(SMALL, dialect)
    assert all(names.dropped.values())
    assert not names.dropped.keys() & {source.key for source in names.sources.values()}
    state = foreign(small_state(), dialect) | {key: torch.zeros(3) for key in names.dropped}
    to_native(state, "glip-mini", dialect, "file")


def test_a_prompt_tuned_official_file_is_not_silently_cut():
    state = foreign(small_state(), "official") | {"rpn.tunable_linear.weight": torch.zeros(1000, 128)}
    with pytest.raises(CheckpointError, match=r"1 keys are unknown \('rpn.tunable_linear.weight'\)"):
        to_native(state, "glip-mini", "official", "file")


def test_all_faults_come_in_one_line():
    state = foreign(small_state(), "mmdet")
    lost = [key for key in state if "neck" in key]
    for key in lost:
        del state[key]
    state["extra.weight"] = torch.zeros(1)
    state["bbox_head.head.bias0"] = torch.zeros(7)
    state["backbone.stages.0.downsample.norm.weight"] = torch.tensor(1.0)
    with pytest.raises(CheckpointError) as caught:
        to_native(state, "glip-mini", "mmdet", "x.pth")
    told = str(caught.value)
    assert "\n" not in told
    assert f"{len(lost)} keys are missing ({sorted(lost)[0]!r}" in told
    assert f"and {len(lost) - 1} more" in told
    assert "1 keys are unknown ('extra.weight')" in told
    assert "2 shapes are wrong" in told
    assert "gives [1] for [128]' and 1 more" in told


def test_half_precision_becomes_float32():
    state = {key: tensor.half() for key, tensor in foreign(small_state(), "mmdet").items()}
    assert {t.dtype for t in to_native(state, "glip-mini", "mmdet", "file").values()} == {torch.float32}


def test_other_networks_are_no_glip():
    with pytest.raises(CheckpointError, match=r"keys are like 'layer1.weight'"):
        detect_dialect({"layer1.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="sizes of none"):
        infer_architecture({"head.tower.0.x": torch.zeros(1)}, "native")


def test_the_recipe_is_the_one_of_the_goldens():
    check = json.loads((GOLDEN / "recipe-check.json").read_text())["a"]
    for key, values in check["first"].items():
        shape = next(shape for name, shape, _ in manifest("mmdet-a") if name == key)
        assert np.asarray(recipe.array(key, shape)).ravel()[: len(values)].tolist() == values


def test_full_size_recipe_agrees_with_its_checksum_and_in_both_dialects():
    check = json.loads((GOLDEN / "recipe-check.json").read_text())["a"]
    mmdet = {key: torch.from_numpy(np.asarray(recipe.array(key, shape)))
             for key, shape, kind in manifest("mmdet-a") if kind == "float32"}  # fmt: skip
    crc = 0
    for tensor in mmdet.values():
        crc = zlib.crc32(tensor.numpy().tobytes(), crc)
    assert crc == check["crc"]
    official = {key.removeprefix("module."): from_unfold(mmdet[other]) if transform else mmdet[other]
                for key, other, _, transform in manifest("microsoft-a") if other in mmdet}  # fmt: skip
    one, two = to_native(mmdet, "glip-t-a", "mmdet", "a"), to_native(official, "glip-t-a", "official", "b")
    assert all(torch.equal(one[key], two[key]) for key in one)
