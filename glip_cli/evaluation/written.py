"""What `glip eval` leaves: metrics.json, flat, and beside it the results and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glip_cli.errors import UsageError
from glip_cli.evaluation.boxes import Results, Score
from glip_cli.evaluation.coco import BoxScores
from glip_cli.evaluation.compare import Comparison, compare_metrics, compare_scores, rows_of_both
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.results import read_results
from glip_cli.output.formats import json_bytes, written
from glip_cli.weights import registry

METRICS, RESULTS, REPORT = "metrics.json", "coco_results.json", "report.html"


@dataclass(frozen=True)
class PublishedValue:
    """A number somebody published for this model on this data set, in percent."""

    metric: str  # a key of the measured summary
    value: float
    source: str


def published_values(model: str, dataset: str) -> list[PublishedValue]:
    """Those of weights.toml for a registered model; `dataset` is named as there."""
    if model not in registry.names():
        return []
    return [
        PublishedValue(one.metric.removeprefix("fixed "), one.value, f"{one.source}, {one.setting}")
        for one in registry.find(model).published
        if one.dataset == dataset
    ]


def write_metrics(path: Path, facts: Mapping[str, str], metrics: Mapping[str, float], extra: Mapping[str, Any]) -> None:
    """Flat: numbers in [0, 1] (-1: nothing of that kind in the ground truth), then facts in words, then tables."""
    write_json(path, {**metrics, **facts, **extra}, indent=2)


def write_results(path: Path, results: Results) -> None:
    write_json(path, results)


def write_json(path: Path, value: object, indent: int | None = None) -> None:
    with written(path) as stream:
        stream.write(json_bytes(value, indent) + b"\n")


def read_metrics(path: Path) -> dict[str, Any]:
    """Raises UsageError."""
    file = path / METRICS if path.is_dir() else path
    try:
        metrics = json.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(f"--compare {file}: {error.strerror or error}; give the metrics.json of a glip eval") from None
    except ValueError:
        metrics = None
    if not isinstance(metrics, dict):
        raise UsageError(f"--compare {file}: is no metrics.json; give that of a glip eval")
    return metrics


def compare_with(
    other: Path, truth: GroundTruth, scores: BoxScores, metrics: Mapping[str, Any], score: Score
) -> Comparison:
    """The other run against this one; with intervals where the other's results lie beside its metrics.

    Raises UsageError where the two have nothing in common.
    """
    before = read_metrics(other)
    results = (other if other.is_dir() else other.parent) / RESULTS
    same = all(before.get(key) == metrics.get(key) for key in ("protocol", "dataset", "size"))
    if not (same and results.exists()):
        return compare_metrics(before, metrics)
    found = compare_scores(score(truth, read_results(results, truth)), scores)
    told = {row.metric for row in found.rows}
    more = rows_of_both({key: value for key, value in before.items() if key not in told}, metrics)
    return replace(found, rows=(*found.rows, *more))
