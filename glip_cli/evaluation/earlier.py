"""Another run of `glip eval` beside this one: only runs of one data set and protocol, on the images that both have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from glip_cli.data.values import spelling_of
from glip_cli.errors import OptionError
from glip_cli.evaluation.boxes import More, Score, only
from glip_cli.evaluation.compare import Comparison, compare_metrics, compare_scores, row_of
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.names import Names, images_beside, read_coco_images
from glip_cli.evaluation.outputs import RESULTS, read_metrics
from glip_cli.evaluation.results import Predictions, Results, as_result, read_entries
from glip_cli.utils.text_format import QUOTED, one_line, shorten


@dataclass(frozen=True)
class _Earlier:
    """The folder of another run, or its metrics.json; what that holds."""

    path: Path
    facts: Mapping[str, object]

    @property
    def results(self) -> Path:
        return (self.path if self.path.is_dir() else self.path.parent) / RESULTS

    def check(self, now: Mapping[str, object], *keys: str) -> None:
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
    now: Mapping[str, object],
    score: Score,
    more: More | None = None,
) -> Comparison:
    """The other run against this one, both scored on the images that both detected in, with intervals.

    Without the other's results beside its metrics, those stand beside this run's, if they are of as many images.

    Args:
        other: the folder of the other run, or its metrics.json.
        truth: this run's.
        predictions: this run's.
        now: this run's metrics and facts.
        score: as both are to be scored.
        more: scores -> further metrics.

    Raises:
        OptionError: the two are of other data sets or protocols, or have no image in common.
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
    return replace(found, rows=rows, note=_note(len(shared), _count(earlier), len(truth.images)))


def _note(shared: int, before: int | None, now: int) -> str:
    if shared == now and before in (shared, None):
        return ""
    return f"compared on the {shared} images that both runs have; before {before}, now {now}"


def _count(earlier: _Earlier) -> int | None:
    """How many images the other run had; None where it does not say."""
    images = earlier.facts.get("images")
    return images.get("number") if isinstance(images, dict) else None


def _images_of(earlier: _Earlier, truth: GroundTruth, now: Mapping[str, object]) -> set[int]:
    """The ids of the images that the other run detected in; raises OptionError where they mean others here."""
    beside = images_beside(earlier.results)
    listed = read_coco_images(beside, earlier.results) if beside else None
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
    """Of these images alone."""
    names, wanted = Names(truth), {_spelling(truth, number) for number in images}
    found = []
    for i, entry in enumerate(read_entries(earlier.results)):
        if not isinstance(entry, dict) or spelling_of(entry.get("image_id")) in wanted:
            found.append(as_result(entry, f"{earlier.results}: entry {i}", names))
    return found


def _short(value: object) -> str:
    return shorten(one_line(str(value)), QUOTED)
