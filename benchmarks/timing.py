"""Repeated runs of several candidates, interleaved, so that a noisy machine is noisy for all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


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


def interleaved(
    candidates: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1, settled: bool = False
) -> dict[str, Timing]:
    """Time each candidate `repeats` times, in turn, after `warm_up` rounds that do not count.

    With `settled` each timed run follows one of the same candidate: memory that another gave back to the system is
    then there again, as in a process that does nothing else.
    """
    timings = {name: Timing() for name in candidates}
    for turn in range(warm_up + repeats):
        for name, run in candidates.items():
            if settled:
                run()
            started = time.perf_counter()
            run()
            if turn >= warm_up:
                timings[name].seconds.append(time.perf_counter() - started)
    return timings


def markdown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, tuple("---" for _ in columns), *rows))
