"""Repeated runs of several candidates, interleaved, so that a noisy machine is noisy for all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch


@dataclass
class Timing:
    """Seconds of each repeat."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles."""
        if len(self.seconds) < 2:
            return 0.0
        first, _, third = statistics.quantiles(self.seconds, n=4)
        return (third - first) / 2


def now() -> float:
    """Seconds; what a GPU was given is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def interleaved(candidates: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, Timing]:
    """Time each candidate `repeats` times, in turn, after `warm_up` rounds that do not count."""
    timings = {name: Timing() for name in candidates}
    for turn in range(warm_up + repeats):
        for name, run in candidates.items():
            started = now()
            run()
            if turn >= warm_up:
                timings[name].seconds.append(now() - started)
    return timings


def markdown(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, tuple("---" for _ in columns), *rows))
