"""`glip serve` with 1, 8 and 64 clients beside a plain loop over `Detector` and `glip batch`, in one run.

Each is a process of its own; the clients are threads of this one, so all of them share the cores, as on a laptop.
Everybody gets the same JPEG files.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.batch import PROMPT, draw
from benchmarks.load import converted
from benchmarks.machine import describe
from benchmarks.resident import Resident
from benchmarks.timing import interleaved, markdown
from glip_cli import Detector
from glip_cli.data.sources import expand
from glip_cli.options import DetectOptions
from glip_cli.runs.runner import Runner

CLIENTS = (1, 8, 64)
_local = threading.local()


def measure(model: str, images: int, size: tuple[int, int], repeats: int, requests: int) -> dict[str, object]:
    """One row for each way; with `requests`, the server's memory over so many of them from 8 clients."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        weights = [] if model in ("glip-mini", "glip-nano") else ["--weights", str(converted(model, place))]
        (place / "images").mkdir()
        paths = draw(place / "images", images, size)
        bodies = [json.dumps({"image": b64encode(path.read_bytes()).decode(), "texts": PROMPT}) for path in paths]
        with server(model, weights) as url:
            rows = compare(model, weights, paths, bodies, url, repeats)
            memory = watch_memory(url, bodies, requests) if requests else {}
    return {"machine": describe(), "model": model, "images": images, "size": size, "repeats": repeats,
            "rows": rows, "memory": memory}  # fmt: skip


def compare(
    model: str, weights: Sequence[str], paths: Sequence[Path], bodies: Sequence[str], url: str, repeats: int
) -> dict[str, dict[str, float]]:
    file = weights[1] if weights else None
    loop, batch = Resident(plain_loop, model, file, paths), Resident(by_batch, model, file, paths)
    seconds: dict[str, list[float]] = {}
    counts = {f"serve, {clients} clients": max(len(paths), clients) for clients in CLIENTS}

    def serve(clients: int) -> None:
        name = f"serve, {clients} clients"
        seconds.setdefault(name, []).extend(ask_all(url, bodies, counts[name], clients))

    candidates = {"plain loop": loop, "glip batch": batch} | {
        f"serve, {clients} clients": (lambda clients=clients: serve(clients)) for clients in CLIENTS
    }
    timings = interleaved(candidates, repeats)
    loop.close()
    batch.close()
    loop_rate = len(paths) / timings["plain loop"].median
    rows = {}
    for name, timing in timings.items():
        count = counts.get(name, len(paths))
        rate = count / timing.median
        rows[name] = {"images_per_second": round(rate, 3), "spread": round(rate * timing.spread / timing.median, 3),
                      "times_the_loop": round(rate / loop_rate, 3)}  # fmt: skip
        if name in seconds:
            measured = seconds[name][count:]  # without the round that warms up
            rows[name] |= {f"p{p}": round(float(np.percentile(measured, p)), 4) for p in (50, 95, 99)}
    return rows


def plain_loop(model: str, weights: str | None, paths: Sequence[Path]) -> Callable[[], object]:
    detector = Detector.load(model, weights=weights)
    return lambda: [detector(path, PROMPT) for path in paths]


def by_batch(model: str, weights: str | None, paths: Sequence[Path]) -> Callable[[], object]:
    detector = Detector.load(model, weights=weights)
    compiled = detector.compile_prompt(PROMPT, DetectOptions())

    def run() -> None:
        runner = Runner(detector, compiled, DetectOptions())
        assert sum(1 for _ in runner(expand([str(paths[0].parent)]))) == len(paths)

    return run


@contextmanager
def server(model: str, weights: Sequence[str]) -> Iterator[str]:
    command = [sys.executable, "-m", "glip_cli", "serve", "--port", "0", "--queue", "256", "--time-limit", "3600"]
    which = weights or ["-m", model]
    with subprocess.Popen([*command, *which], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        yield next(found[1] for line in lines if (found := re.search(r"glip serve: (\S+)", line)))
        process.terminate()


def ask_all(url: str, bodies: Sequence[str], count: int, clients: int) -> list[float]:
    """Seconds of each of `count` requests. Raises AssertionError for an answer that is not there."""
    chosen = list(islice(cycle(bodies), count))
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda body: ask(url, body), chosen))


def ask(url: str, body: str) -> float:
    started = time.perf_counter()
    connection = getattr(_local, "connection", None)
    if connection is None:
        connection = _local.connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("POST", "/detect", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    record = json.loads(answer.read())
    assert answer.status == 200, record
    assert "detections" in record
    return time.perf_counter() - started


def watch_memory(url: str, bodies: Sequence[str], requests: int) -> dict[str, float]:
    """Requests so far -> the server's resident memory in MB."""
    memory = {"0": resident(url)}
    step = max(1, requests // 10)
    for done in range(step, requests + 1, step):
        ask_all(url, bodies, step, 8)
        memory[str(done)] = resident(url)
    return memory


def resident(url: str) -> float:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.search(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)
    assert found
    return round(float(found[1]) / 1e6, 1)


def table(result: dict[str, object]) -> str:
    rows, memory = result["rows"], result["memory"]
    assert isinstance(rows, dict)
    assert isinstance(memory, dict)
    lines = markdown(
        ("", "images/s", "x loop", "p50 s", "p95 s", "p99 s"),
        [
            (
                name,
                f"{row['images_per_second']} ± {row['spread']}",
                f"{row['times_the_loop']}",
                *(f"{row[p]}" if p in row else "" for p in ("p50", "p95", "p99")),
            )
            for name, row in rows.items()
        ],
    )
    if memory:
        lines += "\n\n" + markdown(("requests", *memory), [("MB", *map(str, memory.values()))])
    return lines
