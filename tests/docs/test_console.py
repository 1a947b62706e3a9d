"""Every command of README.md and docs/ does what its page shows. A new block is a new case and needs no code.

A command that cannot run here is parsed: its flags and arguments must exist. `NOT_RUN` says which, and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.compare import difference
from tests.docs.pages import Block, Command, blocks, pages
from tests.docs.parse import parse_line
from tests.docs.sandbox import FILES, OWN, World, named_in
from tests.docs.shell import run_line
from tests.shared import shared

NOT_RUN = {
    "make ": "sets up an environment of its own",
    "pip install": "installs packages",
    "pytest": "runs tests, as this does",
    "ruff ": "checks the sources; CI does",
    "mypy": "checks the sources; CI does",
    "cp ": "replaces the shipped weights",
    "torchrun ": "starts processes; tests/runs/test_shards.py and tests/training do",
    "accelerate launch": "starts processes; tests/training does",
    "python scripts/": "trains or evaluates glip-mini for minutes to hours",
    "--ray ": "starts a cluster; tests/runs does",
    "ray ": "starts a cluster; tests/runs does, of three nodes",
    "scp ": "copies to another machine",
    "export GLIP_": "is of the shell",
    "export RAY_": "is of the shell",
    "/shared/": "is of a cluster; tests/runs does the same on three nodes of one machine",
    "glip weights fetch glip-t ": "needs the network; tests/checkpoints/test_fetch.py fetches from a server here",
    "glip doctor": "reports on the machine and asks hosts; tests/test_doctor.py",
    "--data DATASET": "needs ODinW or Flickr30k; tests/cli/test_evaluate.py runs on sets made in their layout",
    "glip eval lvis": "needs LVIS; tests/cli/test_evaluate.py runs on a set made in its layout",
    "glip-t-backbone -o": "needs mmpretrain's file; tests/checkpoints/test_mmpretrain.py makes one",
    "swin-t_glip-pre_3rdparty": "needs mmpretrain's file; tests/checkpoints/test_mmpretrain.py makes one",
    "cvat-cli ": "needs a CVAT server; tests/annotation holds the function against cvat-sdk's types",
    "--knowledge words.json": "glip-mini refuses definitions; tests/prompts/test_definitions.py has GLIP-T (A)",
    "python -m benchmarks": "measures for minutes",
    "python -m scripts.glip_nano": "fetches packages, or measures for minutes",
    "s3://": "asks a store; tests/stores does",
    "--server ": "asks a server; tests/client does",
    "label-studio start": "serves until it is stopped; tests/server/test_labelstudio_real.py starts it",
    "glip serve": "serves until it is stopped; tests/server does",
    "curl ": "asks a server; tests/server/test_docs.py does",
    ".onnx ": "takes half a minute to write; tests/onnx_export does, and detects with it",
    "--step-patience 2 --epochs 20": "trains for minutes, on photographs",
    "--epochs 3 -o ": "trains for minutes, on photographs",
}
FAILED = re.compile(r"glip: error:|\d+ images.* failed$")
CASES = blocks("console")


def reason(command: Command) -> str | None:
    return next((why for part, why in NOT_RUN.items() if part in f"{command.text} "), None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", CASES, ids=lambda block: block.name)
def test_commands_do_what_the_page_shows(block: Block, world: World, here: Path) -> None:
    for command in block.commands:
        parse_line(command)
        if reason(command):
            continue
        world.give(needed(command, block), here, block.page)
        check(command)


def needed(command: Command, block: Block) -> str:
    """The command without the places that it, or one before it in its block, writes to."""
    made: set[str] = set()
    for earlier in block.commands[: block.commands.index(command) + 1]:
        words = earlier.words
        made |= {place for flag, place in pairwise(words) if flag in ("-o", "--out-dir")}
    return " ".join(word for word in command.words if word.partition("/")[0] not in made)


def check(command: Command) -> None:
    ran = run_line(command)
    if "averaged_perceptron_tagger_eng" in ran.printed and "--offline" not in command.words:
        shared("nltk_data")  # skips where there is none
    failed = any(FAILED.match(line) for line in command.output)
    assert (ran.code != 0) == failed, f"$ {command.text}\nended with exit code {ran.code}:\n{ran.printed}"
    if command.output:
        wrong = difference(command.output, ran.printed.splitlines())
        assert wrong is None, f"$ {command.text}\n{wrong}"


def test_no_reason_is_left_over() -> None:
    texts = [f"{command.text} " for block in CASES for command in block.commands]
    assert [part for part in NOT_RUN if not any(part in text for text in texts)] == []


def test_no_file_is_left_over() -> None:
    named = {name for language in ("console", "python") for block in blocks(language) for name in named_in(block.text)}
    assert set(FILES) - named == set()
    assert [page for page in OWN if page not in pages()] == []
