"""The whole way: a full-size checkpoint file of each dialect, the command line, the goldens' detections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from glip_cli.cli.app import app
from tests.checkpoints.support import manifest
from tests.model.networks import recipe_state
from tests.shared import golden, shared


def mmdet_file(letter: str, path: Path) -> None:
    """As mmdetection publishes its conversions: a flat dict."""
    torch.save(recipe_state(letter), path)


def official_file(letter: str, path: Path) -> None:
    """As microsoft publishes: `model`, prefixes, and training state beside it."""
    state = recipe_state(letter)
    model = {}
    for key, ours, _shape, transform in manifest(f"microsoft-{letter}"):
        model[key] = to_official(state[ours]) if transform else state[ours]
    torch.save({"model": model, "optimizer": {"state": {}}, "iteration": 7}, path)


def to_official(tensor: torch.Tensor) -> torch.Tensor:
    """mmdet[..., 4c + p] = official[..., [0, 2, 1, 3][p] * C + c]."""
    return tensor.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2).contiguous()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / "cache"))
    yield
    for file in tmp_path.rglob("*"):  # a gigabyte each; pytest keeps the last three runs
        if file.is_file():
            file.unlink()


@pytest.mark.parametrize(
    ("write", "letter"),
    [
        (official_file, "b"),
        pytest.param(official_file, "a", marks=pytest.mark.long),
        pytest.param(mmdet_file, "a", marks=pytest.mark.long),
        pytest.param(mmdet_file, "b", marks=pytest.mark.long),
    ],
)
def test_cats(write: Callable[[str, Path], None], letter: str, tmp_path: Path) -> None:
    photo = shared("data/photos/000000039769.png")
    stored = np.load(golden(f"goldens/{letter}-cats-cat.npz"))
    write(letter, tmp_path / "model.pth")
    result = CliRunner().invoke(
        app,
        ["detect", str(photo), "--texts", "cat . remote .", "--weights", str(tmp_path / "model.pth"),
         "--device", "cpu", "--threshold", "0", "--json", "--offline",
         "--no-save-vis", "--no-save-pred"],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    with Image.open(photo) as image:
        assert (record["width"], record["height"]) == image.size
    found = [
        (d["label_id"], d["score"], [d["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")])
        for d in record["detections"]
    ]
    assert len(found) == len(stored["scores"])
    for label, score, box in zip(stored["labels"], stored["scores"], stored["boxes"], strict=True):
        near = [
            d for d in found if d[0] == label and abs(d[1] - score) < 1e-4 and np.abs(np.array(d[2]) - box).max() < 0.02
        ]
        assert near, (label, score, box)
        found.remove(near[0])
