"""A real server with the embedded model, and images to ask it of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from tests.server.serving import serving


@pytest.fixture(scope="package")
def detector() -> Detector:
    return Detector.load("glip-mini", device="cpu", offline=True)


@pytest.fixture(scope="package")
def url(detector: Detector) -> Iterator[str]:
    with serving(detector) as address:
        yield address


@pytest.fixture(scope="package")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/0.png .. 4.png, photos/bad.png that is none, and photos/empty.jpg."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "photos").mkdir()
    for number in range(5):
        size = (160, 128) if number % 2 else (160, 160)
        draw_scene(np.random.default_rng(number), *size).image.save(folder / f"photos/{number}.png")
    (folder / "photos/bad.png").write_bytes(b"no image")
    (folder / "photos/empty.jpg").touch()
    return folder


@pytest.fixture
def folder(images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty current folder but for a link to the photos."""
    (tmp_path / "photos").symlink_to(images / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path
