"""What a person installs: the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize(
    "name",
    ["weights.toml", "py.typed", "assets/glip-mini/glip-mini.safetensors", "assets/glip-mini/vocab.txt",
     "assets/bert-base-uncased/vocab.txt", "names/coco.txt", "names/lvis.txt", "names/odinw.toml",
     "evaluation/report/templates/report.css", "evaluation/report/templates/sections.html", "server/page.html",
     "cli/app.py"],
)  # fmt: skip
def test_the_wheel_holds(wheel: set[str], name: str) -> None:
    assert f"glip_cli/{name}" in wheel


def test_the_wheel_says_whose_its_parts_are(wheel: set[str]) -> None:
    assert {name.partition(".dist-info/licenses/")[2] for name in wheel} == {"", "LICENSE", "NOTICE"}


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"glip_cli"}


@pytest.mark.parametrize(("folder", "limit"), [("glip-mini", 10_000_000), ("glip-nano", 12_000_000)])
def test_an_embedded_model_is_small(folder: str, limit: int) -> None:
    assets = ROOT / "glip_cli" / "assets" / folder
    assert 1_000_000 < sum(file.stat().st_size for file in assets.rglob("*") if file.is_file()) < limit


def test_the_console_script_starts(tmp_path: Path) -> None:
    """Also without a HOME, in the C locale."""
    script = Path(sys.executable).with_name("glip")
    if not script.exists():
        pytest.skip("glip is not installed beside this Python")
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    result = subprocess.run(
        [script, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("glip ")
