"""Ctrl-C at any moment of `glip detect`: exit code 130, one line, no traceback, and no half-written file."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_cli.scenes import draw_scene
from tests.hardening.support import CLEAN, MINI, PATIENCE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw_scene(np.random.default_rng(0)).image.save(tmp_path / "0.png")
    (tmp_path / "list.txt").write_text("0.png\n" * 3000)  # minutes of work
    return tmp_path


def start(folder: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "glip_cli", "detect", "@list.txt", *MINI, "-o", f"out{number}"]
    return subprocess.Popen(
        command, cwd=folder, env=CLEAN, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], out: Path) -> None:
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, (process.returncode, said)
    assert "Traceback" not in said
    assert said.splitlines().count("glip: interrupted") == 1
    assert said.splitlines()[-1] == "glip: interrupted"
    for path in out.rglob("*.json"):
        assert json.loads(path.read_text())["image"] == "0.png"
    for path in out.rglob("*.jpg"):
        with Image.open(path) as picture:
            picture.load()


def interrupt_at(folder: Path, moments: list[float]) -> None:
    """One process for each moment, in seconds after its start; all at once, since each takes seconds to start."""
    begin = time.monotonic()
    processes = [start(folder, number) for number in range(len(moments))]
    for moment, process in sorted(zip(moments, processes, strict=True), key=lambda pair: pair[0]):
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        process.send_signal(signal.SIGINT)
    for number, process in enumerate(processes):
        ended(process, folder / f"out{number}")


def test_while_it_starts_and_while_it_works(folder: Path) -> None:
    """The moments of a start, on a machine of any speed, and one in the midst of the pictures."""
    working = start(folder, 9)
    assert working.stderr is not None
    interrupt_at(folder, [2.0, 3.5])
    until = time.monotonic() + PATIENCE
    while not any((folder / "out9").rglob("*.json")):
        assert working.poll() is None, working.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)
    working.send_signal(signal.SIGINT)
    ended(working, folder / "out9")


def test_while_it_imports_its_own_modules() -> None:
    """Before the command line is there: a module that it imports waits for Ctrl-C."""
    code = (
        "import sys, os, signal\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from glip_cli.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "--version"], env=CLEAN, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (130, "glip: interrupted\n", "")


@pytest.mark.long
def test_at_random_moments(folder: Path) -> None:
    rng = random.Random(time.time_ns())
    for _ in range(8):
        interrupt_at(folder, [rng.uniform(1.5, 12) for _ in range(2)])
