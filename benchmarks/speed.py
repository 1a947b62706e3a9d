"""One image, a few names: this package against the textbook form of the same network and against a peer."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch

from benchmarks import floor, subjects
from benchmarks.foreign import Foreign
from benchmarks.machine import describe
from benchmarks.resident import Resident
from benchmarks.timing import Timing, markdown

NAMES = ("cat", "remote")
COMPILED = ", compiled"


def measure(
    architecture: str, size: tuple[int, int], dtypes: list[str], device: str, peers: list[str],
    repeats: int, compile: bool = False, mmdetection: str | None = None,
) -> dict[str, object]:  # fmt: skip
    """Seconds per image of every subject, each in a process of its own, in turn; and what its first run needs.

    "floor": what the arithmetic of ours alone would take here, by dtype.

    `mmdetection`: the interpreter of an environment that has it, to be measured too, and compared with.
    """
    ways = ["", COMPILED] if compile else [""]
    names = [f"glip, {dtype}{way}" for way in ways for dtype in dtypes] + peers
    residents: dict[str, Resident | Foreign] = {
        name: Resident(build, name, architecture, size, device) for name in names
    }
    facts: dict[str, object] = {}
    if mmdetection:
        question = subjects.Question.of(NAMES, size)
        residents["mmdetection"] = other = Foreign(mmdetection, architecture, question)
        facts = {"versions": other.versions, "agreement": other.agreement(architecture, question)}
        names.append("mmdetection")
    timings = {name: Timing() for name in names}
    for _ in range(repeats):
        for name, resident in residents.items():
            resident()  # the caches of the processor are the last subject's
            timings[name].seconds.append(resident())
    slowest = max(timing.median for timing in timings.values())
    rows = {
        name: {
            "seconds": round(timing.median, 4),
            "spread": round(timing.spread, 4),
            "cpu_seconds": cpu_seconds(residents[name]),
            "times": round(slowest / timing.median, 2),
            "runs": [round(seconds, 4) for seconds in timing.seconds],
            "peak_mb": None if name.endswith(COMPILED) else residents[name].peak_mb,  # of which compiling is a part
        }
        for name, timing in timings.items()
    }
    for resident in residents.values():
        resident.close()
    facts["floor"] = {dtype: floor.measure(build(f"glip, {dtype}", architecture, size, device)) for dtype in dtypes}
    return {"machine": describe(), "architecture": architecture, "size": size, "names": NAMES, "rows": rows, **facts}


def cpu_seconds(resident: Resident | Foreign) -> float | None:
    """The median of its measured runs: every other one."""
    return round(median(resident.cpu_seconds[1::2]), 4) if isinstance(resident, Resident) else None


def build(name: str, architecture: str, size: tuple[int, int], device: str) -> Callable[[], object]:
    question = subjects.Question.of(NAMES, size)
    if name == "textbook":
        return synchronised(subjects.reference(subjects.detector(architecture, "float32", device), question))
    if name == "grounding-dino":
        return synchronised(subjects.grounding_dino(question, 8, "float32", device))
    dtype = name.removeprefix("glip, ").removesuffix(COMPILED)
    subject = subjects.detector(architecture, dtype, device, compile=name.endswith(COMPILED))
    return synchronised(subjects.ours(subject, question))


def synchronised(run: Callable[[], object]) -> Callable[[], object]:
    def whole() -> None:
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return whole


def table(result: dict[str, object]) -> str:
    rows = result["rows"]
    assert isinstance(rows, dict)
    shown = markdown(
        ("", "s per image", "CPU s", "x", "peak MB over the model"),
        [
            (
                name,
                f"{row['seconds']:.3f} ± {row['spread']:.3f}",
                f"{row['cpu_seconds'] or ''}",
                f"{row['times']}",
                f"{row['peak_mb'] or ''}",
            )
            for name, row in rows.items()
        ],
    )
    floors = result["floor"]
    assert isinstance(floors, dict)
    for dtype, least in floors.items():
        ratio = rows[f"glip, {dtype}"]["seconds"] / least["seconds"]
        shown += (
            f"\nglip, {dtype}: {ratio:.2f} times the floor of {least['seconds']:.3f} s, {least['gflop']} GFLOP at "
            f"{least['gflop_per_second']} a second"
        )
    if isinstance(apart := result.get("agreement"), dict):
        shown += (
            f"\n{result['versions']}\n{apart['theirs']} detections of mmdetection, {apart['ours']} of glip; "
            f"largest differences {apart['score']:.1e} in scores, {apart['pixels']:.1e} pixels in corners"
        )
    return shown
