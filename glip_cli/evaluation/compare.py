"""Two runs side by side: what changed, and whether the images are enough to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hotcoco
import numpy as np

from glip_cli.errors import UsageError
from glip_cli.evaluation.coco import BoxScores

CONFIDENCE = 0.95
KEPT = 31 << 20  # bytes; glibc raises its threshold by no block of more than 32 MB


@dataclass(frozen=True)
class MetricChange:
    """One number of two runs.

    Attributes:
        metric: AP, AP50 ...
        a: the first run's.
        b: the second run's.
        difference: b - a; None where one of them has no ground truth (-1).
        low: the difference's 95 % interval begins here; None where there was no resampling.
        high: and ends here.
    """

    metric: str
    a: float
    b: float
    difference: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One row for each metric that both runs have; `samples` resamplings of `images` images, or 0 of none.

    `note` says on which images they are compared, where not on all.
    """

    rows: tuple[MetricChange, ...]
    samples: int = 0
    images: int = 0
    note: str = ""


def compare_scores(a: BoxScores, b: BoxScores, seed: int = 0, samples: int = 1000) -> Comparison:
    """Each metric of two runs on the same ground truth, with a 95 % interval for the difference.

    `samples` times, hotcoco draws as many images as there are, with replacement, but evaluates those drawn once
    each: a share f = 1 - (1 - 1/n)^n of the n, some 63 %. Differences of such parts scatter too little, as every two
    parts have much in common; the interval is widened about the measured difference by sqrt(f / (1 - f)), the factor of
    the delete-d jackknife (Shao and Wu, Annals of Statistics 17, 1989). For one class that is a bootstrap's interval;
    where most classes are in few images it errs to the safe side (100 images of COCO: 14 to 37 % wider than a
    bootstrap's). A thousand samples take some seconds for 100 images, and in proportion longer for more.

    Args:
        a: the run to start from.
        b: the run to compare with it.
        seed: of the resampling.
        samples: 0 for no intervals.

    Raises:
        UsageError: the two were measured by different protocols or on different images.
    """
    if a.protocol != b.protocol:
        raise UsageError(f"{a.protocol} and {b.protocol} cannot be compared; evaluate both by one protocol")
    if a.evaluation.coco_gt.dataset != b.evaluation.coco_gt.dataset:
        raise UsageError("the two runs were measured on different ground truth; evaluate both on one")
    keep_memory()
    found = hotcoco.compare(a.evaluation, b.evaluation, n_bootstrap=samples, seed=seed, confidence=CONFIDENCE)
    intervals = {_own_name(key): value for key, value in (found["ci"] or {}).items()}
    factor = _widening(found["num_images"])
    rows = tuple(row_of(key, a.summary[key], b.summary[key], intervals.get(key), factor) for key in a.summary)
    return Comparison(rows, samples, found["num_images"] if samples else 0)


def keep_memory() -> None:
    """Let blocks of up to `KEPT` bytes that are freed stay with the process, for the next ones.

    Each resampling makes and frees curves of every class, 6 MB for 64. From 128 kB on, glibc's malloc asks the kernel
    for such a block and returns it at once, so that a thousand resamplings are six million page faults, most of their
    time. It learns from what is freed (mallopt(3), M_MMAP_THRESHOLD: "dynamic"), hence a large block, made and freed.
    Elsewhere that does nothing.
    """
    np.empty(KEPT, np.uint8)


def compare_metrics(a: Mapping[str, Any], b: Mapping[str, Any]) -> Comparison:
    """The same for two flat tables of numbers (metrics.json), without intervals: metrics that only one has are left
    out, and so is what is no number.

    Raises:
        UsageError: they have no metric in common.
    """
    rows = tuple(row_of(key, a[key], b[key]) for key in a if _is_number(a[key]) and _is_number(b.get(key)))
    if not rows:
        raise UsageError("the two have no metric in common; give the metrics.json of two runs of glip eval")
    return Comparison(rows)


def _own_name(key: str) -> str:
    """What hotcoco names AR@300 is AR here."""
    return key.split("@")[0]


def _widening(count: int) -> float:
    """Of an interval that was found by evaluating the distinct ones of `count` images drawn from `count`."""
    kept = 1 - (1 - 1 / count) ** count
    return math.sqrt(kept / (1 - kept)) if count > 1 else 1.0


def row_of(
    metric: str, a: float, b: float, interval: Mapping[str, float] | None = None, factor: float = 1.0
) -> MetricChange:
    """`interval` has "lower" and "upper", which are widened by `factor` about the difference."""
    difference = None if -1 in (a, b) else b - a
    if difference is None or interval is None:
        return MetricChange(metric, a, b, difference)
    low, high = (difference + factor * (interval[end] - difference) for end in ("lower", "upper"))
    return MetricChange(metric, a, b, difference, low, high)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
