"""The embedded model, loaded once, and drawn scenes as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector


@pytest.fixture(scope="session")
def detector() -> Detector:
    return Detector.load("glip-mini", device="cpu")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images, 00.png and on."""
    folder = tmp_path_factory.mktemp("scenes")
    for number in range(60):
        draw_scene(np.random.default_rng(number)).image.save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of three shapes in no order, and among them 03.png, 17.png and 40.png, which are none."""
    folder, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(0)
    for number in range(60):
        size = [(160, 160), (224, 160), (96, 128)][rng.integers(3)]
        path = folder / f"{number:02}.png"
        if number in (3, 17, 40):
            path.write_bytes(b"no image")
        else:
            draw_scene(np.random.default_rng(number), *size).image.save(path)
    return folder
