"""mmpretrain's extracts: the image backbone of a released model, for `glip features`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner, Result

from glip_cli import Detector
from glip_cli.checkpoints import cache, registry
from glip_cli.checkpoints.formats import detect_dialect, infer_architecture, shapes, table, to_native
from glip_cli.checkpoints.key_map import from_unfold
from glip_cli.checkpoints.load import convert, info, open_checkpoint
from glip_cli.checkpoints.parts import load_backbone_parts
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.cli.app import app
from glip_cli.data.synthetic import draw_scene
from glip_cli.errors import CheckpointError, UsageError
from glip_cli.inference.feature_extractor import backbone_extractor
from glip_cli.inference.features import read
from glip_cli.model.config import ARCHITECTURES
from glip_cli.options import FeatureOptions
from tests import recipe
from tests.checkpoints.support import foreign, manifest, small_state
from tests.shared import golden

STATE = small_state()
# parameters of Swin-T and Swin-L as mmpretrain counts them, without its layer for 1000 classes
MODELS = {"glip-t-backbone": ("b", 28_288_354 - 769_000), "glip-l-backbone": ("l", 196_735_516 - 1_537_000)}
SWIN = {"b": 96, "l": 192}


def extracted(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """As mmpretrain's tools/model_converters/glip_to_mmpretrain.py (1.2.0) makes a backbone of an official file."""
    made = {}
    for key, tensor in official.items():
        if not key.startswith("backbone.body."):
            continue
        name = key.replace("backbone.body.layers", "backbone.stages").replace("backbone.body.", "backbone.")
        if ".mlp." in name:
            name = name.replace("mlp.fc1", "ffn.layers.0.0").replace("mlp.fc2", "ffn.layers.1")
        elif ".attn." in name:
            name = name.replace(".attn.", ".attn.w_msa.")
        elif ".downsample." in name:  # columns from (pixel, channel) to (channel, pixel), pixels 1 and 2 swapped
            four = tensor.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
            tensor = four.transpose(-1, -2).flatten(-2)
        elif ".patch_embed.proj." in name:
            name = name.replace("proj.", "projection.")
        made[name] = tensor.clone()
    return made


@pytest.fixture
def swin(tmp_path: Path) -> Path:
    index = {"backbone.body.layers.0.blocks.0.attn.relative_position_index": torch.zeros(25, 25, dtype=torch.long)}
    torch.save(extracted(foreign(STATE, "official") | index), tmp_path / "swin-t_glip-pre_3rdparty.pth")
    return tmp_path / "swin-t_glip-pre_3rdparty.pth"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    torch.save(foreign(STATE, "official"), tmp_path / "whole.pth")
    return tmp_path / "whole.pth"


def test_the_converters_file_gives_back_the_official_backbone(swin: Path, tmp_path: Path) -> None:
    told = info(swin)
    assert (told.dialect, told.architecture) == ("mmpretrain", "glip-mini")
    backbone = open_checkpoint(swin, cache_dir=tmp_path / "cache").load_backbone().backbone
    expected = {key.removeprefix("backbone."): x for key, x in STATE.items() if key.startswith("backbone.")}
    assert backbone.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in backbone.state_dict().items())


def test_its_features_are_the_whole_models(swin: Path, whole: Path, tmp_path: Path) -> None:
    images = [draw_scene(np.random.default_rng(i), 200, 150).image for i in range(2)]
    parts = load_backbone_parts(weights=swin, cache_dir=tmp_path / "cache")
    alone = backbone_extractor(parts.backbone, parts.image_size, FeatureOptions(), "cpu")
    expected = Detector.load(weights=convert(whole, tmp_path / "w.safetensors"), device="cpu").features(images)
    for one, other in zip(alone.stream(images), expected, strict=True):
        assert one.meta == other.meta
        assert [*one.backbone] == ["C3", "C4", "C5"]
        assert all(torch.equal(one.backbone[level], other.backbone[level]) for level in one.backbone)
        assert not one.fpn


@pytest.mark.parametrize("name", MODELS)
def test_every_key_and_shape_of_the_released_extracts(name: str) -> None:
    """Those of the official file that mmpretrain's tool keeps; and nothing is left over."""
    letter, parameters = MODELS[name]
    architecture = registry.find(name).architecture
    rows = [(key.removeprefix("module."), shape) for key, _, shape, _ in manifest(f"microsoft-{letter}")]
    state = extracted({key: torch.empty(shape, device="meta") for key, shape in rows})
    assert detect_dialect(state) == "mmpretrain"
    assert infer_architecture(state, "mmpretrain") == architecture
    native = to_native(state, architecture, "mmpretrain", "file")
    every = shapes(ARCHITECTURES[architecture])
    assert {key: x.shape for key, x in native.items()} == {k: v for k, v in every.items() if k.startswith("backbone.")}
    outer = 2 * SWIN[letter] * (2 + 4)  # the norms of C3 and C4, which classifiers do not have
    assert sum(x.numel() for x in native.values()) == parameters + outer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("backbone.norm1.weight"), r"1 keys are missing \('backbone.norm1.weight'\)"),
        (lambda s: s.update({"head.fc.weight": torch.zeros(2, 2)}), r"1 keys are unknown \('head.fc.weight'\)"),
        (lambda s: s.update({"backbone.norm3.bias": torch.zeros(7)}), r"gives \[7\] for \[256\]"),
    ],
)
def test_it_is_read_strictly(swin: Path, tmp_path: Path, change, message: str) -> None:
    state = torch.load(swin)
    change(state)
    torch.save({"state_dict": state, "meta": {"epoch": 1}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=message):
        load_backbone_parts(weights=tmp_path / "other.pth", cache_dir=tmp_path / "cache")


def test_what_is_a_backbone_alone_and_what_is_not(swin: Path, whole: Path, tmp_path: Path) -> None:
    where = {"cache_dir": tmp_path / "cache"}
    alone = load_backbone_parts(str(swin), **where)
    assert (alone.name, alone.image_size) == (f"{swin.stem}@{info(swin).sha256[:8]}", (160, 320))
    assert load_backbone_parts(weights=convert(swin, tmp_path / "s.safetensors"), **where).name == alone.name
    assert load_backbone_parts(weights=whole, **where) is None
    assert load_backbone_parts("glip-mini", **where) is None
    assert load_backbone_parts(**where) is None  # glip-t
    with pytest.raises(CheckpointError, match="not glip-l"):
        load_backbone_parts("glip-l-backbone", weights=whole, **where)
    with pytest.raises(CheckpointError, match=r"gives features \(glip features\), no detections"):
        Detector.load(weights=convert(swin, tmp_path / "s.safetensors"))


def test_a_named_one_is_verified_and_kept(swin: Path, tmp_path: Path) -> None:
    hash = cache.sha256(swin)
    downloads = cache.subfolder(tmp_path / "cache", "downloads")
    shutil.copy(swin, downloads / swin.name)
    named = Checkpoint("small-backbone", "glip-mini", "mmpretrain", "MIT", kind="backbone",
                       urls=(f"https://nowhere.invalid/{swin.name}",), sha256_prefix=hash[:8])  # fmt: skip
    for _ in range(2):  # the second time from the conversion alone
        loaded = open_checkpoint(named, cache_dir=tmp_path / "cache", offline=True).load_backbone()
        assert (loaded.id, loaded.path.parent.name) == (f"small-backbone@{hash[:8]}", "converted")
        (downloads / swin.name).unlink(missing_ok=True)


def test_one_file_serves_the_model_with_fusion_and_the_one_without() -> None:
    one, other = (table(ARCHITECTURES[name], "mmpretrain") for name in ("glip-t", "glip-t-a"))
    assert one == other
    assert sum(source.transform is from_unfold for source in one.sources.values()) == 9


def test_the_backbone_alone_agrees_with_mmdetection(tmp_path: Path) -> None:
    """Swin-T with the recipe's weights; tests/golden/goldens has what mmdetection 3.3.0 made of them, C3 .. C5."""
    rows = [(key, shape) for key, shape, kind in manifest("mmdet-b") if key.startswith("backbone.") and "float" in kind]
    torch.save({key: torch.from_numpy(recipe.array(key, shape)) for key, shape in rows}, tmp_path / "swin.pth")
    parts = load_backbone_parts(weights=tmp_path / "swin.pth", cache_dir=tmp_path)
    extractor = backbone_extractor(parts.backbone, parts.image_size, FeatureOptions(size=(200, 1333)), "cpu")
    (features,) = extractor.stream([Image.fromarray(recipe.synthetic())])
    stored = np.load(golden("goldens/b-synthetic200-cat.npz"))
    assert features.meta.resized == (266, 200)
    for i, level in enumerate(features.backbone.values()):
        c, y, x = stored[f"backbone{i}_stride"]
        ours = level.numpy()[::c, ::y, ::x]
        expected = stored[f"backbone{i}"][:, : ours.shape[1], : ours.shape[2]]
        np.testing.assert_allclose(ours, expected, atol=5e-4, rtol=0, err_msg=f"C{i + 3}")


# --- the command


def glip(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["features", *map(str, arguments), "--device", "cpu"])


def test_the_command_takes_it(swin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / "cache"))
    draw_scene(np.random.default_rng(0)).image.save(tmp_path / "a.png")
    result = glip(tmp_path / "a.png", "--weights", swin, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    kept = read(tmp_path / "out" / "a.safetensors")
    assert ([*kept.backbone], [*kept.fpn]) == (["C3", "C4", "C5"], [])
    for more, message in (
        (["--which", "fpn"], "--which fpn: the model is an image backbone alone and gives backbone; name a whole one"),
        (["-t", "cat"], "is an image backbone alone, which reads no text: leave --texts out"),
    ):
        refused = glip(tmp_path / "a.png", "--weights", swin, "-o", tmp_path / "other", *more)
        assert refused.exit_code == 2
        assert message in refused.stderr


def test_a_backbone_reads_no_text(swin: Path, tmp_path: Path) -> None:
    parts = load_backbone_parts(weights=swin, cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match="an image backbone alone and gives backbone"):
        backbone_extractor(parts.backbone, parts.image_size, FeatureOptions(which=("similarity",)), "cpu")
