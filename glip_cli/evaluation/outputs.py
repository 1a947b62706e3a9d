"""What `glip eval` leaves: metrics.json, flat, and beside it the results and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glip_cli.checkpoints import registry
from glip_cli.errors import OptionError
from glip_cli.outputs.coco import COCO_RESULTS
from glip_cli.outputs.files import save_json

METRICS, RESULTS, REPORT = "metrics.json", COCO_RESULTS, "report.html"
UNDEFINED = -1.0
"""By which the evaluators say that there is nothing to measure; never written or shown."""


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


def write_metrics(
    path: Path, facts: Mapping[str, str], metrics: Mapping[str, float], extra: Mapping[str, object]
) -> None:
    """Flat: numbers in [0, 1] (null: nothing of that kind in the ground truth), then facts in words, then tables."""
    save_json(path, {**{key: defined(value) for key, value in metrics.items()}, **facts, **extra}, indent=2)


def defined(share: float) -> float | None:
    """None for `UNDEFINED`."""
    return None if share < 0 else share


def read_metrics(path: Path) -> dict[str, Any]:
    """Raises OptionError."""
    file = path / METRICS if path.is_dir() else path
    try:
        metrics = json.loads(file.read_bytes())
    except OSError as error:
        raise OptionError("compare", file, f"{error.strerror or error}; give the metrics.json of a glip eval") from None
    except ValueError:
        metrics = None
    if not isinstance(metrics, dict):
        raise OptionError("compare", file, "is no metrics.json; give that of a glip eval")
    return metrics
