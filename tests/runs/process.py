"""`glip batch` as a process of its own, to be killed, stopped and starved."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import forked
from tests.forked import Forked

PROMPT = "circle . red square . star ."
ASKED = ("-t", PROMPT, "-m", "glip-mini", "--device", "cpu", "--threshold", "0.05")


def batch(*arguments: str | Path) -> list[str]:
    return ["batch", *map(str, arguments), *ASKED]


def start(words: Sequence[str | Path], *given: Any, **how: Any) -> Forked:
    """What it says, on either stream, stands in its `stdout`."""
    return forked.start(words, *given, stderr=subprocess.STDOUT, **how)


def finish(words: Sequence[str | Path], *given: Any, **how: Any) -> tuple[int, str]:
    """Exit code, and what was said."""
    process = start(words, *given, **how)
    return process.wait(), process.stdout


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kept(folder: Path) -> dict[str, bytes]:
    """Every file of a run but its locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
