"""Two runs side by side: what changed, and whether the images are enough to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import hotcoco

from glip_cli.data.values import read_json, spelling_of
from glip_cli.errors import OptionError, UsageError
from glip_cli.evaluation.boxes import More, Score, only
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.names import Names, read_coco_images
from glip_cli.evaluation.outputs import RESULTS, read_metrics
from glip_cli.evaluation.results import Predictions, Results, as_result, entries_of
from glip_cli.evaluation.scores import BoxScores
from glip_cli.utils.json import JsonObject
from glip_cli.utils.malloc import keep_freed_memory
from glip_cli.utils.text_format import QUOTED, counted, one_line, shorten

CONFIDENCE = 0.95


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
    keep_freed_memory()  # each resampling makes and frees curves of every class
    found = hotcoco.compare(a.evaluation, b.evaluation, n_bootstrap=samples, seed=seed, confidence=CONFIDENCE)
    # what hotcoco names AR@300 is AR here
    intervals = {key.split("@")[0]: value for key, value in (found["ci"] or {}).items()}
    factor = _widening(found["num_images"])
    rows = tuple(row_of(key, a.summary[key], b.summary[key], intervals.get(key), factor) for key in a.summary)
    return Comparison(rows, samples, found["num_images"] if samples else 0)


def compare_metrics(a: JsonObject, b: JsonObject) -> Comparison:
    """The same for two flat tables of numbers (metrics.json), without intervals: metrics that only one has are left
    out, and so is what is no number.

    Raises:
        UsageError: they have no metric in common.
    """
    rows = tuple(row_of(key, a[key], b[key]) for key in a if _is_number(a[key]) and _is_number(b.get(key)))
    if not rows:
        raise UsageError("the two have no metric in common; give the metrics.json of two runs of glip eval")
    return Comparison(rows)


def _widening(count: int) -> float:
    """The factor for an interval from a bootstrap of `count` images that counts a repeated image once."""
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


# ------------------------------------------------------------------------------------------------------- an earlier run
# Another run of `glip eval` beside this one: only runs of one data set and protocol, on the images that both have.


@dataclass(frozen=True)
class _Earlier:
    """The folder of another run, or its metrics.json; what that holds."""

    path: Path
    facts: JsonObject

    @property
    def results(self) -> Path:
        return (self.path if self.path.is_dir() else self.path.parent) / RESULTS

    def check(self, now: JsonObject, *keys: str) -> None:
        """Raises OptionError where a fact differs from this run's."""
        for key in keys:
            if self.facts.get(key) != now[key]:
                raise self.refusal(f"{key} is {_short(self.facts.get(key))}, here it is {_short(now[key])}")

    def refusal(self, why: str) -> OptionError:
        return OptionError("compare", self.path, f"its {why}; compare runs of one data set and protocol")


def compare_with(
    other: Path,
    truth: GroundTruth,
    predictions: Predictions,
    now: JsonObject,
    score: Score,
    more: More | None = None,
) -> Comparison:
    """The other run against this one, both scored on the images that both detected in, with intervals.

    Without the other's results beside its metrics, those stand beside this run's, if they are of as many images.

    Args:
        other: the folder of the other run, or its metrics.json.
        truth, predictions, now: this run's; `now` are its metrics and facts.
        score, more: as both are to be scored.

    Raises OptionError where the two are of other data sets or protocols, or have no image in common.
    """
    earlier = _Earlier(other, read_metrics(other))
    earlier.check(now, "dataset", "protocol")
    if not earlier.results.exists():
        earlier.check(now, "size")
        return compare_metrics(earlier.facts, now)
    theirs = _images_of(earlier, truth, now)
    ours = {image.id for image in truth.images} - {*predictions.failed, *predictions.absent}
    shared = ours & theirs
    if not shared:
        raise earlier.refusal("images are all others")
    common = only(truth, tuple(shared))
    before = score(common, _results_of(earlier, truth, shared))
    after = score(common, [row for row in predictions.results if row["image_id"] in shared])
    found = compare_scores(before, after)
    numbers = (more(before), more(after)) if more else ({}, {})
    rows = (*found.rows, *(row_of(key, numbers[0][key], numbers[1][key]) for key in numbers[0]))
    images = earlier.facts.get("images")
    count = images.get("number") if isinstance(images, dict) else None  # an older run does not say
    if len(shared) == len(truth.images) and count in (len(shared), None):
        return replace(found, rows=rows)
    note = f"compared on the {counted(len(shared), 'image')} that both runs have"
    return replace(found, rows=rows, note=f"{note}; before {count}, now {len(truth.images)}")


def _images_of(earlier: _Earlier, truth: GroundTruth, now: JsonObject) -> set[int]:
    """The ids of the images that the other run detected in; raises OptionError where they mean others here."""
    listed = read_coco_images(earlier.results)
    if listed is None:  # an older run does not say
        earlier.check(now, "size")
        return {image.id for image in truth.images}
    if listed.categories != {str(truth.category_ids.original(one.id)): one.name for one in truth.categories}:
        raise earlier.refusal("classes are others")
    found = {image.id: listed.images.get(_spelling(truth, image.id)) for image in truth.images}
    for image in truth.images:
        if (name := found[image.id]) not in (None, image.file_name):
            raise earlier.refusal(f"image {image.id} is {_short(name)}, here it is {_short(image.file_name)}")
    return {number for number, name in found.items() if name is not None}


def _spelling(truth: GroundTruth, image_id: int) -> str:
    return str(truth.image_ids.original(image_id))


def _results_of(earlier: _Earlier, truth: GroundTruth, images: set[int]) -> Results:
    """The results of these images only."""
    names, wanted = Names(truth), {_spelling(truth, number) for number in images}
    found = []
    for i, entry in enumerate(entries_of(read_json(earlier.results), earlier.results)):
        if not isinstance(entry, dict) or spelling_of(entry.get("image_id")) in wanted:
            found.append(as_result(entry, f"{earlier.results}: entry {i}", names))
    return found


def _short(value: object) -> str:
    return shorten(one_line(str(value)), QUOTED)
