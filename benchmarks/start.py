"""Cold starts: `glip detect` of one small image, and `glip --help`, beside `python -c "import torch"`.

Processes take turns, after a round that compiles bytecode. CPU seconds are those of the process, user and system.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.machine import describe
from benchmarks.timing import markdown
from glip_cli.data.synthetic import draw_scene

DETECT = ("-m", "glip_cli", "detect", "scene.png", "-t", "star . cat .", "--overwrite", "-q", "--device", "cpu")
CASES = {
    "import torch": ("-c", "import torch"),
    "glip detect -m glip-mini": (*DETECT, "-m", "glip-mini"),
    "glip detect -m glip-nano": (*DETECT, "-m", "glip-nano"),
    "glip --help": ("-m", "glip_cli", "--help"),
}


def measure(repeats: int) -> dict[str, object]:
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as folder:
        draw_scene(np.random.default_rng(0), 320, 240).image.save(Path(folder) / "scene.png")
        for turn in range(repeats + 1):
            for name, arguments in CASES.items():
                seconds = _run(arguments, folder)
                if turn:
                    spent[name].append(seconds)
    rows = {name: [round(median(column), 3) for column in zip(*times, strict=True)] for name, times in spent.items()}
    return {"machine": describe(), "rows": rows}


def _run(arguments: tuple[str, ...], folder: str) -> tuple[float, float]:
    """Seconds of the clock, and of the CPU."""
    paths = [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def table(result: dict[str, object]) -> str:
    rows = result["rows"]
    assert isinstance(rows, dict)
    torch = rows["import torch"]
    return markdown(
        ("", "seconds", "CPU seconds", "of the CPU seconds of import torch"),
        [(name, *map(str, row), f"{row[1] / torch[1]:.2f}") for name, row in rows.items()],
    )
