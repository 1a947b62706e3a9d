"""Files of detections -> COCO results whose ids are the ground truth's.

[{"image_id", "category_id", "bbox", "score"}, ...]     a COCO results list: ids are taken as they are
coco_results.json with coco_images.json beside it       what `glip --format coco` writes: ids by their names
results.jsonl, one glip/1 record per line               names of images and labels
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from glip_cli.data.frames import frames_of_files
from glip_cli.data.reading import as_number, as_sized_box, read_json, shown
from glip_cli.errors import UsageError
from glip_cli.evaluation.coco_images import CocoImages, Lookup, images_beside, read_coco_images
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.names import Names
from glip_cli.evaluation.predictions import Predictions, Results, place
from glip_cli.evaluation.record_results import SUFFIXES, read_record_results


def read_results(path: Path, ground_truth: GroundTruth) -> Results:
    """The results alone of `read_predictions`."""
    return read_predictions(path, ground_truth).results


def read_predictions(path: Path, ground_truth: GroundTruth, files: Mapping[int, Path] | None = None) -> Predictions:
    """What was detected: image_id, category_id, bbox [x, y, width, height] in the annotations' pixels, and score.

    What glip writes is in pixels of the images, and is moved where they are of another size than the ground truth
    states. A list of another tool is taken to be in pixels of the stated size.

    Args:
        path: one of the three kinds.
        ground_truth: whose ids the results get.
        files: image id -> file, where they are at hand: tells how an image of another size was turned.

    Raises:
        UsageError: the file is none of the three kinds, or an entry (named by its number, from 0) has a value that
            cannot be, or an image or category that the ground truth does not have.
    """
    names, files = Names(ground_truth), files or {}
    if path.suffix.lower() in SUFFIXES:
        found = read_record_results(path, names)
        results, frames = place(ground_truth, found.results, found.sizes, files)
        absent = _others(ground_truth, found.looked_at | found.failed)
        return Predictions(results, frames, tuple(sorted(found.failed)), absent)
    entries, beside = read_entries(path), images_beside(path)
    if beside and (meaning := read_coco_images(beside, path)):
        return _of_glip(path, entries, meaning, ground_truth, names, files)
    results = [as_result(entry, f"{path}: entry {i}", names) for i, entry in enumerate(entries)]
    note = f"{beside} is of another file; the ids of {path.name} are taken as those of {ground_truth.name}"
    return Predictions(results, _unmoved(ground_truth, files), notes=(note,) if beside else ())


def read_entries(path: Path) -> list[Any]:
    """The list in the file, its entries not looked at. Raises UsageError where it is none."""
    data = read_json(path)
    if isinstance(data, dict) and "annotations" in data:
        raise UsageError(f"{path}: this is ground truth; give the list of results")
    if not isinstance(data, list):
        raise UsageError(f"{path}: {shown(data)} is no list of results; give a COCO results list or a results.jsonl")
    return data


def as_result(entry: Any, where: str, names: Names, lookups: tuple[Lookup, Lookup] | None = None) -> dict[str, Any]:
    """An entry of a COCO results list. Raises UsageError, which names the place.

    Args:
        entry: as the file has it.
        where: its place, for messages.
        names: of the ground truth.
        lookups: from the ids of the file to those of the ground truth; by default they are the same.
    """
    image_of, category_of = lookups or (names.same_image, names.same_category)
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {shown(entry)}, not an object with image_id, category_id, bbox and score")
    for key in ("image_id", "category_id", "bbox", "score"):
        if key not in entry:
            raise UsageError(f"{where} has no '{key}'; a result has image_id, category_id, bbox and score")
    return {
        "image_id": image_of(entry["image_id"], where),
        "category_id": category_of(entry["category_id"], where),
        "bbox": as_sized_box(entry["bbox"], f"{where}: bbox"),
        "score": as_number(entry["score"], f"{where}: score"),
    }


def _of_glip(
    path: Path,
    entries: list[Any],
    meaning: CocoImages,
    truth: GroundTruth,
    names: Names,
    files: Mapping[int, Path],
) -> Predictions:
    """With the names and sizes that `coco_images.json` has for the ids."""
    lookups = meaning.lookups(names)
    found = [as_result(entry, f"{path}: entry {i}", names, lookups) for i, entry in enumerate(entries)]
    ids = {spelling: names.known_image(name, path.name, likely=spelling) for spelling, name in meaning.images.items()}
    sizes = {known: meaning.sizes[one] for one, known in ids.items() if known is not None and one in meaning.sizes}
    results, frames = place(truth, found, sizes, files)
    return Predictions(results, frames, absent=_others(truth, ids.values()))


def _others(truth: GroundTruth, known: Iterable[int | None]) -> tuple[int, ...]:
    looked_at = set(known)
    return tuple(image.id for image in truth.images if image.id not in looked_at)


def _unmoved(truth: GroundTruth, files: Mapping[int, Path]) -> Any:
    """The frames of the images at hand, to draw by; the results stay where they are."""
    frames = frames_of_files(truth.images, truth.annotations, files)
    return replace(frames, done="the results are taken as pixels of the stated size")
