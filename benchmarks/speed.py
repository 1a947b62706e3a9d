"""One picture, a few names: this package against the textbook form of the same network and against a peer."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import subjects
from benchmarks.machine import describe
from benchmarks.timing import interleaved, markdown

NAMES = ("cat", "remote")


def measure(
    architecture: str, bert: str | None, size: tuple[int, int], dtypes: list[str], device: str, peers: list[str],
    repeats: int, memory: bool,
) -> dict[str, object]:  # fmt: skip
    """Seconds per picture of every subject, interleaved; peak memory of each in a process of its own."""
    names = [f"glip, {dtype}" for dtype in dtypes] + peers
    runs = {name: build(name, architecture, bert, size, device) for name in names}
    timings = interleaved(runs, repeats, warm_up=0, settled=True)
    slowest = max(timing.median for timing in timings.values())
    rows = {
        name: {
            "seconds": round(timing.median, 4),
            "spread": round(timing.spread, 4),
            "times": round(slowest / timing.median, 2),
            "peak_mb": peak(name, architecture, bert, size, device) if memory else None,
        }
        for name, timing in timings.items()
    }
    return {"machine": describe(), "architecture": architecture, "size": size, "names": NAMES, "rows": rows}


def build(name: str, architecture: str, bert: str | None, size: tuple[int, int], device: str) -> Callable[[], object]:
    question = subjects.Question.of(NAMES, size)
    if name == "textbook":
        return synchronised(subjects.reference(subjects.detector(architecture, bert, "float32", device), question))
    if name == "grounding-dino":
        return synchronised(subjects.grounding_dino(question, 8, "float32", device))
    dtype = name.removeprefix("glip, ")
    return synchronised(subjects.ours(subjects.detector(architecture, bert, dtype, device), question))


def synchronised(run: Callable[[], object]) -> Callable[[], object]:
    def whole() -> None:
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return whole


def peak(*subject: object) -> int:
    """MB that a run needs on top of the loaded model; on a CPU under Linux only."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, subject)


def _peak(name: str, architecture: str, bert: str | None, size: tuple[int, int], device: str) -> int:
    run = build(name, architecture, bert, size, device)
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) >> 20
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    run()
    return (_status("VmHWM") - before) >> 10


def _status(field: str) -> int:
    """kB, as Linux tells them of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def table(result: dict[str, object]) -> str:
    rows = result["rows"]
    assert isinstance(rows, dict)
    return markdown(
        ("", "s per picture", "x", "peak MB over the model"),
        [
            (name, f"{row['seconds']:.3f} ± {row['spread']:.3f}", f"{row['times']}", f"{row['peak_mb'] or ''}")
            for name, row in rows.items()
        ],
    )
