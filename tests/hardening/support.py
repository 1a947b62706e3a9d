"""Processes that meet a hostile machine: no rights, no room, no home, no UTF-8."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

PATIENCE = 120.0  # seconds; a machine with other work takes ten to import torch
PROMPT = "circle . red square . star ."
MINI = ("-t", PROMPT, "-m", "glip-mini", "--device", "cpu", "--threshold", "0.05")
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith("GLIP_")} | {"OMP_NUM_THREADS": "1"}


def as_ordinary_user(command: Sequence[str]) -> list[str]:
    """`command` without root's right to read and write everything; skips the test where that cannot be had."""
    if os.geteuid() != 0:
        return list(command)
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv to forbid it")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]


def python(code: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None,
           ordinary: bool = False) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run Python code in a process of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        as_ordinary_user(command) if ordinary else command, env=CLEAN if environment is None else dict(environment),
        cwd=cwd, capture_output=True, text=True, errors="surrogateescape", timeout=PATIENCE, check=False,
    )  # fmt: skip


def one_error(stderr: str) -> str:
    """The single line of error; fails where there is none, several, or a traceback."""
    assert "Traceback" not in stderr, stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("glip: error: ")]
    return line
