"""`glip batch` as a process of its own, to be killed, stopped and starved."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROMPT = "circle . red square . star ."
ASKED = ("-t", PROMPT, "-m", "glip-mini", "--device", "cpu", "--threshold", "0.05")
GLIP = (sys.executable, "-m", "glip_cli")
PATIENCE = 120.0  # seconds; a machine with other work takes ten to load the model

# torch: one thread per process, so that several share the cores; the rest: nothing of the outside gets in
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith("GLIP_")} | {"OMP_NUM_THREADS": "1"}


def batch(*arguments: str | Path) -> list[str]:
    return [*GLIP, "batch", *map(str, arguments), *ASKED]


def start(command: Sequence[str], cwd: Path | None = None, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=cwd, env=CLEAN, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(command: Sequence[str], cwd: Path | None = None, given: str = "") -> tuple[int, str]:
    """Exit code, and what was said."""
    done = subprocess.run(
        command, cwd=cwd, env=CLEAN, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """False where the process ended first."""
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "nothing happened"
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    return True


def said(process: subprocess.Popen[str]) -> str:
    """Everything it says until it ends."""
    output, _ = process.communicate(timeout=PATIENCE)
    return output


def kept(folder: Path) -> dict[str, bytes]:
    """Every file of a run but its locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
