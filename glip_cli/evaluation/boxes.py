"""A data set of boxes, a model's detections in it, and the rules by which they are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from glip_cli.data.image_files import find_images
from glip_cli.data.sources import ImageInput
from glip_cli.errors import DataError, OptionError, UsageError
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.results import CocoResult, Predictions, Results, image_name, to_stated_sizes
from glip_cli.evaluation.scores import BoxScores, coco_scores, lvis_scores
from glip_cli.options import DetectKeywords
from glip_cli.outputs.records import AnyRecord
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.words import Words
from glip_cli.types import Prompt
from glip_cli.utils.option import at_least
from glip_cli.utils.text_format import counted, listed

Score = Callable[[GroundTruth, Sequence[CocoResult]], BoxScores]
"""Ground truth and COCO results -> numbers."""
More = Callable[[BoxScores], dict[str, float]]
"""Scores -> further numbers."""


@dataclass(frozen=True)
class ScoringProtocol:
    """The detection settings and the metrics of a benchmark.

    Attributes:
        options: fields of `DetectOptions`.
        words: the same, for people.
    """

    options: DetectKeywords
    words: str
    score: Score

    def changed(self, options: DetectKeywords) -> ScoringProtocol:
        """The same with some of `CHANGEABLE` as a user wants them, which `words` then says."""
        if not options:
            return self
        words = ", ".join(CHANGEABLE[name].format(value) for name, value in options.items())
        return replace(self, options={**self.options, **options}, words=f"{self.words}, but {words}")


CHANGEABLE = {"chunked_size": "{} names per prompt", "top_k": "{} boxes per image", "nms_iou": "NMS at IoU {:g}"}
"""Fields of `DetectOptions` that a user may choose instead of a benchmark, and how that is said."""

COCO_RULES = ScoringProtocol(
    {"threshold": 0.0, "top_k": 100}, "all names in one prompt where they fit, 100 boxes per image", coco_scores
)
# the official recipe: 31 prompts of 40 names, 300 boxes for each, and Fixed AP over all of them
LVIS_RULES = ScoringProtocol(
    {"threshold": 0.0, "chunked_size": 40, "per_text": 300},
    "prompts of 40 names, 300 boxes per image and prompt, 10000 per class",
    partial(lvis_scores, fixed=True),
)
LVIS_CAPPED_RULES = ScoringProtocol(
    {"threshold": 0.0, "chunked_size": 40, "per_text": 300, "top_k": 300},
    "prompts of 40 names, 300 boxes per image",
    partial(lvis_scores, fixed=False),
)
# not the published recipe: 14 prompts, and as many boxes for each name
LVIS_PACKED_RULES = ScoringProtocol(
    {"threshold": 0.0, "per_text": 700},
    "prompts of as many names as fit, 700 boxes per image and prompt, 10000 per class",
    partial(lvis_scores, fixed=True),
)


@dataclass(frozen=True)
class CategoryPrompt:
    """A prompt, and the category id of each of its labels."""

    prompt: Prompt
    category_ids: tuple[int, ...]


@dataclass(frozen=True)
class BoxTask:
    """A data set with its prompts and options, ready for detection.

    Attributes:
        name: "coco", "lvis-minival", or the name of a set of ODinW.
        truth: only of the images that are asked.
        images: id -> file, one for each image of `truth`.
    """

    name: str
    truth: GroundTruth
    images: Mapping[int, Path]
    category_prompt: CategoryPrompt
    rules: ScoringProtocol

    @property
    def sources(self) -> list[ImageInput]:
        return [ImageInput(image_name(image), str(self.images[image.id])) for image in self.truth.images]

    def predictions(self, records: Iterable[AnyRecord]) -> Predictions:
        """The predictions of the records of `sources`, in their order; images that failed have none."""
        found: Results = []
        sizes: dict[int, tuple[int, int]] = {}
        failed: list[int] = []
        for image, record in zip(self.truth.images, records, strict=True):
            if "error" in record:
                failed.append(image.id)
            else:
                sizes[image.id] = record["width"], record["height"]
                found += coco_entries(record, image.id, self.category_prompt.category_ids)
        results, frames = to_stated_sizes(self.truth, found, sizes, self.images)
        return Predictions(results, frames, tuple(failed))


def coco_entries(record: AnyRecord, image_id: int, category_ids: Sequence[int]) -> Results:
    """`bbox` is [x, y, width, height] in pixels."""
    if "error" in record:
        return []
    entries: Results = []
    for found in record["detections"]:
        x1, y1, x2, y2 = (found["box"][corner] for corner in ("xmin", "ymin", "xmax", "ymax"))
        bbox = [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
        category = category_ids[found["label_id"]]
        entries.append({"image_id": image_id, "category_id": category, "bbox": bbox, "score": found["score"]})
    return entries


def box_task(
    name: str,
    truth: GroundTruth,
    folder: Path,
    rules: ScoringProtocol,
    *,
    category_prompt: CategoryPrompt | None = None,
    limit: int | None = None,
    skip_missing: bool = False,
    words: Words = MappingProxyType({}),
) -> BoxTask:
    """A data set in a folder of images.

    Args:
        category_prompt: what to ask; else the names of the categories, in id order.
        limit: only the first images.
        skip_missing: leave out, of the ground truth too, images that are not in the folder.
        words: what to ask for instead of the names of some categories.

    Raises DataError where images are missing, or no category has a name; OptionError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise OptionError("limit", limit, at_least(1).advice)
    truth = only(truth, [image.id for image in truth.images[:limit]])
    truth, images = with_images(truth, folder, skip_missing)
    return BoxTask(name, truth, images, category_prompt or names_of(truth, words), rules)


def names_of(truth: GroundTruth, words: Words = MappingProxyType({}), order: Sequence[str] = ()) -> CategoryPrompt:
    """The categories by their names, or by the words for them.

    Args:
        order: the labels of a model that reads no other prompt.

    Raises DataError where no category has a name, UsageError where `order` has other labels than the data set.
    """
    if not truth.promptable:
        raise DataError(f"{truth.name}: no category has a name, so there is nothing to ask for")
    ids = {category.name: category.id for category in truth.promptable}
    if not order:
        return CategoryPrompt(label_prompt(truth.labels, words), tuple(category.id for category in truth.promptable))
    if set(order) != set(ids):
        raise UsageError(
            f"the file's own prompt is {listed(order)}, and {truth.name} has {listed(tuple(ids))}: "
            "export without --texts for any prompt"
        )
    return CategoryPrompt(label_prompt(order, words), tuple(ids[label] for label in order))


def with_images(truth: GroundTruth, folder: Path, skip_missing: bool) -> tuple[GroundTruth, dict[int, Path]]:
    """The files of all images. Raises DataError where some are missing and may not be."""
    found = find_images(truth, folder)
    if not found.missing:
        return truth, found.paths
    first = next(iter(found.missing.values()))
    if not skip_missing or not found.paths:
        some = "get them, or take them out of the annotations; glip eval has --skip-missing"
        way_out = some if found.paths else "check the folder of the images"
        how_many = f"{len(found.missing)} of {counted(len(truth.images), 'image is', 'images are')} missing"
        raise DataError(f"{truth.name}: {how_many}, first {first}; {way_out}")
    note = f"{counted(len(found.missing), 'missing image')} left out, first {first}"
    return only(truth, list(found.paths), note), found.paths


def only(truth: GroundTruth, image_ids: Sequence[int], note: str = "") -> GroundTruth:
    """The same for some of the images."""
    kept = set(image_ids)
    return replace(
        truth,
        images=tuple(image for image in truth.images if image.id in kept),
        annotations=tuple(row for row in truth.annotations if row["image_id"] in kept),
        notes=(*truth.notes, note) if note else truth.notes,
    )
