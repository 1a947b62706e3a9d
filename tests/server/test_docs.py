"""The curl commands of docs/serve.md print what the page shows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from glip_cli.detector import Detector
from tests.docs.compare import difference
from tests.docs.pages import ROOT, blocks
from tests.server.serving import serving

COMMANDS = [
    command
    for block in blocks("console")
    if block.page == "docs/serve.md"
    for command in block.commands
    if command.text.startswith("curl ")
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl(tmp_path: Path) -> None:
    assert COMMANDS
    shutil.copyfile(ROOT / "docs" / "images" / "photo.jpg", tmp_path / "photo.jpg")
    with serving(Detector.load("glip-nano", device="cpu", offline=True)) as url:
        for command in COMMANDS:
            words = [word.replace("http://127.0.0.1:8000", url) for word in command.words]
            printed = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
            assert difference(command.output, printed.splitlines()) is None
