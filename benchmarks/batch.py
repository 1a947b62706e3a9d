"""`glip batch` against a plain loop over `Detector`: images per second, and how long the model waited for images.

The images are drawn scenes saved as JPEG, 1280 x 960 by default: as large as photographs are, so that decoding and
resizing cost what they do in practice.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.timing import interleaved, markdown
from glip_cli import Detector
from glip_cli.data.sources import expand
from glip_cli.data.synthetic import draw_scene
from glip_cli.options import DetectOptions
from glip_cli.runs.local import Clock
from glip_cli.runs.runner import Runner

PROMPT = "circle . red square . star ."


def measure(
    model: str, images: int, size: tuple[int, int], workers: tuple[int, ...], batch_size: int, repeats: int
) -> dict[str, object]:
    """One row for the loop, one for each number of workers."""
    detector = Detector.load(model)
    options = DetectOptions(batch_size=batch_size)
    compiled = detector.compile_prompt(PROMPT, options)
    with tempfile.TemporaryDirectory() as folder:
        paths = draw(Path(folder), images, size)
        clocks = {f"batch, {count} workers": Clock() for count in workers}

        def loop() -> None:
            for path in paths:
                detector(path, PROMPT)

        def batch(count: int) -> None:
            runner = Runner(detector, compiled, options, workers=count)
            done = sum(1 for _ in runner(expand([folder])))
            assert done == images
            clocks[f"batch, {count} workers"] = runner.clock

        candidates = {"plain loop": loop} | {
            f"batch, {count} workers": (lambda count=count: batch(count)) for count in workers
        }
        timings = interleaved(candidates, repeats)
    slow = timings["plain loop"].median
    rows = {
        name: {
            "images_per_second": round(images / timing.median, 2),
            "spread": round(images / timing.median * timing.spread / timing.median, 2),
            "times_the_loop": round(slow / timing.median, 2),
            "waited_share": round(clocks[name].waited_share, 3) if name in clocks else None,
        }
        for name, timing in timings.items()
    }
    return {"machine": describe(), "model": detector.name, "images": images, "size": size, "repeats": repeats} | {
        "batch_size": batch_size,
        "rows": rows,
    }


def draw(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        draw_scene(np.random.default_rng(number), *size).image.save(path, quality=92)
    return paths


def table(result: dict[str, object]) -> str:
    rows = result["rows"]
    assert isinstance(rows, dict)
    return markdown(
        ("", "images/s", "x loop", "model waited"),
        [
            (
                name,
                f"{row['images_per_second']} ± {row['spread']}",
                f"{row['times_the_loop']}",
                "" if row["waited_share"] is None else f"{row['waited_share']:.0%}",
            )
            for name, row in rows.items()
        ],
    )
