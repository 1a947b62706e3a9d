"""`Detector.load` of a checkpoint that was converted before, beside what the imports cost."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.machine import describe
from benchmarks.timing import markdown

SCRIPT = """
import sys, time
started = time.perf_counter()
from glip_cli import Detector
Detector
imported = time.perf_counter()
Detector.load(weights=sys.argv[1], device=sys.argv[2], offline=True)
print(imported - started, time.perf_counter() - imported)
"""


def measure(architecture: str, device: str, repeats: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        file = converted(architecture, Path(folder))
        runs = [_once(file, device) for _ in range(repeats + 1)][1:]
    imports, load = (median(column) for column in zip(*runs, strict=True))
    rows = {"imports": round(imports, 3), "load": round(load, 3)}
    return {"machine": describe(), "architecture": architecture, "rows": rows}


def converted(architecture: str, folder: Path) -> Path:
    """A checkpoint with the weights of tests/recipe.py."""
    from benchmarks.subjects import LETTER
    from glip_cli.checkpoints.safetensors_io import write
    from tests.model.networks import recipe_model

    file = folder / "model.safetensors"
    write(file, recipe_model(LETTER[architecture]).state_dict(), {"architecture": architecture, "name": architecture})
    return file


def _once(file: Path, device: str) -> list[float]:
    command = [sys.executable, "-c", SCRIPT, str(file), device]
    return [float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]


def table(result: dict[str, object]) -> str:
    rows = result["rows"]
    assert isinstance(rows, dict)
    return markdown(("", "seconds"), [(name, f"{seconds}") for name, seconds in rows.items()])
