"""Every ```python block runs. Only that it ends without an exception is checked; its files are those of world.py."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import Block, blocks
from tests.docs.sandbox import World
from tests.docs.shell import settings, with_mini
from tests.server.serving import serving
from tests.shared import shared

CASES = blocks("python")
ADDRESS = "http://127.0.0.1:8000"  # of `glip serve`


@pytest.mark.filterwarnings("ignore:skipped .*broken.jpg")  # which a page passes over on purpose
@pytest.mark.parametrize("block", CASES, ids=lambda block: block.name)
def test_it_runs(block: Block, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "load_tagger" in block.text:
        shared("nltk_data")
    world.give(block.text, tmp_path)
    names: dict[str, Any] = {"__name__": block.name}
    with contextlib.ExitStack() as stack, contextlib.chdir(tmp_path), settings([], {}):
        if "detector = " not in block.text:  # a page goes on with what an earlier page has explained
            exec('from glip_cli import Detector\ndetector = Detector.load("glip-mini")', names)
        text = with_mini_in(block.text)
        if ADDRESS in text:
            text = text.replace(ADDRESS, stack.enter_context(serving(names["detector"])))
        exec(compile(text, block.name, "exec"), names)
    assert "Traceback" not in capsys.readouterr().err


def with_mini_in(code: str) -> str:
    """The code, with glip-mini for every released model that a string of it names."""
    return re.sub(r'(?<=")[\w-]+(?=")', lambda word: with_mini(word[0]), code)
