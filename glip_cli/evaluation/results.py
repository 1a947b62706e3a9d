"""Files of detections -> COCO results whose ids are the ground truth's.

[{"image_id", "category_id", "bbox", "score"}, ...]     a COCO results list: ids are taken as they are
coco.json, a data set whose annotations have scores     what glip writes as format coco: ids by their names
coco_results.json with coco_images.json beside it       what glip writes as format coco-results: likewise
results.jsonl, one glip/1 record per line               names of images and labels
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict, cast

from glip_cli.data.box_transforms import BoxTransforms, checked_box_transforms, lies_inside
from glip_cli.data.dataset import ImageRow, Size
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import as_number, as_sized_box, read_json, read_text, shown
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.names import IMAGES_FILE, CocoImages, Names, coco_images, read_coco_images, size_of
from glip_cli.outputs.records import SCHEMA
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import counted, one_line, shorten


class CocoResult(TypedDict):
    """A box that was found, as COCO's results have it; `bbox` is [x, y, width, height] in pixels."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float


Results = list[CocoResult]
SUFFIXES = (".jsonl", ".ndjson")
_KEYS = ("image_id", "category_id", "bbox", "score")
_LONGEST = 80  # characters of a name, in a line


@dataclass(frozen=True)
class Predictions:
    """COCO results and what is known of their images.

    Attributes:
        results: boxes in pixels of the size that the annotations state.
        transforms: the images whose size is another one.
        failed: ids of the images that could not be read.
        absent: ids of the images that a file of results does not have.
        notes: what was odd about the file, one line each.
    """

    results: Results
    transforms: BoxTransforms = field(default_factory=BoxTransforms)
    failed: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, truth: GroundTruth) -> Predictions:
        """The predictions of the images of `truth` only."""
        ids = {image.id for image in truth.images}
        results = [row for row in self.results if row["image_id"] in ids]
        failed, absent = (tuple(i for i in some if i in ids) for some in (self.failed, self.absent))
        return replace(self, results=results, failed=failed, absent=absent)


@dataclass
class _File:
    """The content of a file that glip wrote.

    Attributes:
        results: COCO results, boxes in pixels of the images.
        sizes: image id -> (width, height), where the file says it.
        evaluated, failed: ids of the images that were evaluated, and of those that could not be read.
    """

    results: Results = field(default_factory=list)
    sizes: dict[int, Size] = field(default_factory=dict)
    evaluated: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    issues: Issues = field(default_factory=Issues)


def read_predictions(path: Path, truth: GroundTruth, files: Mapping[int, Path] | None = None) -> Predictions:
    """Read detections: image_id, category_id, bbox [x, y, width, height] in the annotations' pixels, and score.

    What glip writes is in pixels of the images, and is moved where they are of another size than the ground truth
    states. A list of another tool is taken to be in pixels of the stated size.

    Args:
        path: one of the four kinds.
        truth: whose ids the results get.
        files: image id -> file, where they are at hand: tells how an image of another size was turned.

    Raises:
        DataError: the file is none of the four kinds, or an entry (named by its number, from 0) has a value that
            cannot be, or an image or category that the ground truth does not have.
    """
    if path.suffix.lower() in SUFFIXES:
        return _predictions(_read_records(path, Names(truth)), truth, files or {})
    data = read_json(path)
    if isinstance(data, dict) and is_scored(data):
        return _predictions(_read_coco(path, data["annotations"], coco_images(path, data), truth), truth, files or {})
    entries = entries_of(data, path)
    if meaning := read_coco_images(path):
        return _predictions(_read_coco(path, entries, meaning, truth), truth, files or {})
    names = Names(truth)
    results = [as_result(entry, f"{path}: entry {i}", names) for i, entry in enumerate(entries)]
    # to draw by; the results stay where they are
    transforms = checked_box_transforms(truth.images, truth.annotations, files or {}, issue=DataIssue.IMAGE_RESULTS)
    beside = path.parent / IMAGES_FILE
    note = f"{beside} is of another file; the ids of {path.name} are taken as those of {truth.name}"
    _add_issues(results, issues := Issues())
    notes = filter(None, (note if beside.is_file() else "", *issues.notes, _outside(results, truth)))
    return Predictions(results, transforms, notes=tuple(notes))


def _add_issues(results: Iterable[CocoResult], issues: Issues) -> None:
    for image_id, rows in by_image(results).items():
        seen: set[tuple[float, ...]] = set()
        for row in rows:
            key = (row["category_id"], row["score"], *row["bbox"])
            if key in seen:
                issues.add(DataIssue.RESULT_REPEATED, f"image {image_id}, {shown(row['bbox'])}")
            seen.add(key)
            if not 0 <= row["score"] <= 1:
                issues.add(DataIssue.RESULT_SCORE, f"image {image_id}, {shown(row['score'])}")


def by_image(results: Iterable[CocoResult]) -> defaultdict[int, list[CocoResult]]:
    """Image id -> its results, in their order."""
    found: defaultdict[int, list[CocoResult]] = defaultdict(list)
    for row in results:
        found[row["image_id"]].append(row)
    return found


def _outside(results: Results, truth: GroundTruth) -> str:
    """A note where most boxes of another tool do not lie in their images: they are corners, or shares of the size."""
    sizes = {image.id: image.stated_size for image in truth.images}
    odd = [
        row for row in results if all(sizes[row["image_id"]]) and not lies_inside(row["bbox"], sizes[row["image_id"]])
    ]
    if len(odd) * 2 <= len(results):
        return ""
    first = f"{shown(odd[0]['bbox'])} in {' x '.join(map(str, sizes[odd[0]['image_id']]))}"
    many = f"{len(odd)} of {counted(len(results), 'box', 'boxes')}"
    return (
        f"{many} of the results reach over the edge or are no larger than a pixel; first {first}; "
        "a box is [x, y, width, height] in pixels"
    )


def _predictions(file: _File, truth: GroundTruth, files: Mapping[int, Path]) -> Predictions:
    results, transforms = to_stated_sizes(truth, file.results, file.sizes, files)
    known = file.evaluated | file.failed
    absent = [image.id for image in truth.images if image.id not in known]
    _add_issues(file.results, file.issues)
    return Predictions(results, transforms, tuple(sorted(file.failed)), tuple(absent), file.issues.notes)


def to_stated_sizes(
    truth: GroundTruth, results: Iterable[CocoResult], sizes: Mapping[int, Size], files: Mapping[int, Path]
) -> tuple[Results, BoxTransforms]:
    """Results in pixels of the upright images -> in pixels of the sizes that `truth` states.

    `sizes` are those of the upright images, `files` the images by id; both where they are known.
    """
    transforms = checked_box_transforms(truth.images, truth.annotations, files, sizes)
    if not transforms.by_id:
        return list(results), transforms
    return [{**row, "bbox": transforms.to_stated(row["image_id"], row["bbox"])} for row in results], transforms


# ----------------------------------------------------------------------------------------------------------- COCO lists


def plain(results: Iterable[CocoResult]) -> list[JsonObject]:
    """The same rows, in the type that hotcoco takes."""
    return cast("list[JsonObject]", list(results))


def is_scored(data: Mapping[str, object]) -> bool:
    """Whether a data set's annotations are detections, as `glip detect --format coco` writes them."""
    boxes, info = data.get("annotations"), data.get("info")
    of_glip = isinstance(info, dict) and info.get("version") == SCHEMA
    return (
        isinstance(boxes, list)
        and all(isinstance(box, dict) and "score" in box for box in boxes)
        and (bool(boxes) or of_glip)
    )


def entries_of(data: object, path: Path) -> list[object]:
    """The list that stands in a file, its entries unchecked. Raises DataError where it is none."""
    if isinstance(data, dict) and "annotations" in data:
        raise DataError(f"{path}: this is ground truth, its annotations have no score; give a file of results")
    if not isinstance(data, list):
        raise DataError(f"{path}: {shown(data)} is no list of results; give a COCO results list or a results.jsonl")
    return data


def as_result(entry: object, where: str, names: Names) -> CocoResult:
    """An entry of a COCO results list, with the ids of the ground truth. Raises DataError, which names `where`."""
    if not isinstance(entry, dict):
        raise DataError(f"{where} is {shown(entry)}, not an object with image_id, category_id, bbox and score")
    for key in _KEYS:
        if key not in entry:
            raise DataError(f"{where} has no '{key}'; a result has image_id, category_id, bbox and score")
    return {
        "image_id": names.image_of(entry["image_id"], where),
        "category_id": names.category_of(entry["category_id"], where),
        "bbox": as_sized_box(entry["bbox"], f"{where}: bbox"),
        "score": as_number(entry["score"], f"{where}: score"),
    }


def _read_coco(path: Path, entries: list[object], meaning: CocoImages, truth: GroundTruth) -> _File:
    """With the names and sizes that `coco_images.json` has for the ids."""
    names = Names(truth, meaning)
    results = [as_result(entry, f"{path}: entry {i}", names) for i, entry in enumerate(entries)]
    ids = {spelling: names.known_image(name, path.name, likely=spelling) for spelling, name in meaning.images.items()}
    known = {spelling: number for spelling, number in ids.items() if number is not None}
    sizes = {number: meaning.sizes[spelling] for spelling, number in known.items() if spelling in meaning.sizes}
    first: dict[int, str] = {}
    issues = Issues()
    for spelling, number in known.items():
        if first.setdefault(number, spelling) != spelling:
            example = f"{shown(meaning.images[spelling])}, ids {first[number]} and {spelling}"
            issues.add(DataIssue.RESULT_IMAGE, example)
    return _File(results, sizes, set(known.values()), issues=issues)


# -------------------------------------------------------------------------------------------------------------- records


def _read_records(path: Path, names: Names) -> _File:
    """Raises DataError for a line that is no record, or whose detections are of no image or label of `names`."""
    found = _File()
    lines: dict[str, int] = {}
    for i, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        record = _record(line, f"{path}: line {i}")
        if "detections" in record and lines.setdefault(record["image"], i) != i:
            first = f"line {lines[record['image']]}"
            raise DataError(f"{path}: line {i}: {shown(record['image'])} is in {first} too; leave one of them out")
        _add(found, record, f"{path}: line {i}", names)
    found.failed -= found.evaluated
    return found


def _record(line: str, where: str) -> JsonObject:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise DataError(f"{where} is no JSON (cut short?); leave it out or run again") from None
    if not isinstance(record, dict) or record.get("schema") != "glip/1" or not isinstance(record.get("image"), str):
        raise DataError(f"{where} is no glip/1 record; give what glip writes as format jsonl")
    return record


def _add(found: _File, record: JsonObject, where: str, names: Names) -> None:
    """An image without detections need not be one of the ground truth's."""
    detections = record.get("detections", [])
    if not isinstance(detections, list):
        raise DataError(f"{where}: its detections are no list but {shown(detections)}; write the file again")
    image_id = names.image(record["image"], where) if detections else names.known_image(record["image"], where)
    if image_id is None:
        return
    (found.evaluated if "detections" in record else found.failed).add(image_id)
    if size := size_of(record):
        found.sizes[image_id] = size
    for i, detection in enumerate(detections):
        found.results.append(_from_detection(detection, image_id, f"{where}: detection {i}", names))


def _from_detection(detection: JsonObject, image_id: int, where: str, names: Names) -> CocoResult:
    try:
        label, score, box = detection["label"], detection["score"], detection["box"]
        corners = [box[corner] for corner in ("xmin", "ymin", "xmax", "ymax")]
    except (KeyError, TypeError):
        raise DataError(f"{where} lacks a label, score or box; write the file again") from None
    xmin, ymin, xmax, ymax = (as_number(corner, f"{where}: box") for corner in corners)
    return {
        "image_id": image_id,
        "category_id": names.category(str(label), where),
        "bbox": as_sized_box([xmin, ymin, xmax - xmin, ymax - ymin], f"{where}: box"),
        "score": as_number(score, f"{where}: score"),
    }


# ------------------------------------------------------------------------------------------------------------- in words


def unread(truth: GroundTruth, predictions: Predictions) -> dict[str, str]:
    """Facts about the images that were not evaluated, in words; empty where all were."""
    facts = {"failed": predictions.failed, "absent": predictions.absent}
    return {key: skipped(image_names(truth, ids), len(truth.images)) for key, ids in facts.items() if ids}


def skipped(names: Sequence[str], total: int, noun: str = "image") -> str:
    """ "2 of 20 images, scored as nothing found: a.png ..." """
    first, more = shorten(one_line(names[0]), _LONGEST), " ..." if len(names) > 1 else ""
    return f"{len(names)} of {counted(total, noun)}, scored as nothing found: {first}{more}"


def image_names(truth: GroundTruth, ids: Iterable[int]) -> list[str]:
    wanted = set(ids)
    return [image_name(image) for image in truth.images if image.id in wanted]


def image_name(image: ImageRow) -> str:
    return image.file_name or str(image.id)
