"""From a data set to numbers on disk: detect, score, write down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack, cast

from glip_cli.detector import Detector
from glip_cli.errors import OptionError, UsageError
from glip_cli.evaluation.boxes import (
    CHANGEABLE,
    COCO_RULES,
    LVIS_CAPPED_RULES,
    LVIS_PACKED_RULES,
    LVIS_RULES,
    BoxTask,
    CategoryPrompt,
    More,
    Score,
    ScoringProtocol,
    box_task,
    names_of,
)
from glip_cli.evaluation.compare import Comparison, compare_with
from glip_cli.evaluation.ground_truth import GroundTruth, read_ground_truth
from glip_cli.evaluation.names import IMAGES_FILE, write_coco_images
from glip_cli.evaluation.outputs import METRICS, REPORT, RESULTS, check_outputs, defined, read_metrics, write_metrics
from glip_cli.evaluation.report.examples import Matches
from glip_cli.evaluation.report.sections import DEFAULT_THRESHOLD, write_report
from glip_cli.evaluation.results import Predictions, Results, image_names, unread
from glip_cli.evaluation.save_images import save_images
from glip_cli.evaluation.scores import BoxScores
from glip_cli.evaluation.session import Session
from glip_cli.options import PRE_NMS_SCORE_THRESHOLD, DetectKeywords, DetectOptions
from glip_cli.outputs.earlier import check_earlier
from glip_cli.outputs.files import save_json, writing
from glip_cli.prompts.prompt import typed_labels
from glip_cli.prompts.words import Words, check_words, other_words
from glip_cli.runs.journal import read_records
from glip_cli.utils.text_format import listed

DETECTIONS = "detections"


@dataclass(frozen=True)
class OutputOptions:
    """The outputs in the folder `out`, besides metrics.json and the results."""

    out: Path
    report: bool = True
    compare: Path | None = None
    save_vis: bool = False

    def check(self) -> None:
        """Raises UsageError where files of others would be replaced, or there is no run to compare with."""
        check_outputs(self.out, (METRICS, RESULTS, IMAGES_FILE, *([REPORT] if self.report else [])))
        check_earlier(self.out, ["vis"] if self.save_vis else [], [])
        if self.compare:
            read_metrics(self.compare)


@dataclass(frozen=True)
class EvalResult:
    """One data set, scored.

    Attributes:
        truth: its notes hold what was odd about the predictions too.
        facts: what was measured, in words: data set, size, protocol, model, settings.
        metrics: numbers in [0, 1]; -1 where there is nothing of that kind.
    """

    truth: GroundTruth
    results: Results
    scores: BoxScores
    facts: dict[str, str]
    metrics: dict[str, float]
    comparison: Comparison | None = None
    files: tuple[Path, ...] = field(default=())


PROTOCOLS = {"coco": COCO_RULES, "lvis": LVIS_RULES, "lvis-capped": LVIS_CAPPED_RULES, "lvis-packed": LVIS_PACKED_RULES}


def evaluate(
    detector: Detector,
    annotations: str | Path,
    images: str | Path | None = None,
    *,
    out: str | Path = "eval",
    protocol: str = "coco",
    split: str | None = None,
    limit: int | None = None,
    skip_missing: bool = False,
    report: bool = True,
    save_vis: bool = False,
    compare: str | Path | None = None,
    overwrite: bool = False,
    words: Mapping[str, str] | None = None,
    **options: Unpack[DetectKeywords],
) -> EvalResult:
    """Score a detector on a data set as `glip eval` does; what it leaves in `out` is the same, and resumable.

    Args:
        annotations: any kind of `glip_cli.data.formats`: COCO json, a folder of YOLO, Pascal VOC or labelme ...
        images: the folder of the images; by default beside the annotations.
        protocol: a key of `PROTOCOLS`.
        split: which part of a data set that has several; "val" by default.
        limit: only the first images.
        skip_missing: leave out images that do not exist.
        save_vis: also save each image, its ground truth beside what was found.
        compare: `out` of an earlier evaluation.
        overwrite: start over where `out` holds another run.
        words: class -> what the model reads for it; None: as the detector was tuned, else the names themselves.
        options: fields of `DetectOptions`: size, batch_size, tile, tta ...; the threshold is the protocol's, and so are
            chunked_size, top_k (boxes per image) and nms_iou where they are not given.

    Raises:
        DataError, OptionError, UsageError; ImageError never: images that cannot be read are in `truth.notes`.
    """
    if protocol not in PROTOCOLS:
        raise OptionError("protocol", protocol, f"there are {', '.join(PROTOCOLS)}")
    wanted = OutputOptions(Path(out), report, Path(compare) if compare else None, save_vis)
    wanted.check()
    folder = Path(images) if images else None
    truth = read_ground_truth(Path(annotations), images=folder, split=split)
    changes = {name: value for name, value in options.items() if name in CHANGEABLE and value is not None}
    rules = PROTOCOLS[protocol].changed(cast(DetectKeywords, changes))
    check_words(words or {}, truth.labels)
    task = box_task(protocol, truth, folder or truth.folder, rules, limit=limit, skip_missing=skip_missing)
    task = replace(task, category_prompt=category_prompt(detector, task.truth, words))
    dtype = str(detector.dtype).removeprefix("torch.")
    session = Session(
        Path(out),
        lambda: detector,
        DetectOptions(**options),
        "auto" if dtype == "float32" else dtype,
        overwrite=overwrite,
    )
    if (result := run_task(session, task, wanted)) is None:
        raise UsageError(f"{out}: other processes have not done their share yet")
    return result


def category_prompt(detector: Detector, truth: GroundTruth, words: Words | None) -> CategoryPrompt:
    """The categories, in the words for them; by default in those that the model was tuned with.

    Raises UsageError for a model with a prompt of its own that is another one.
    """
    words = other_words(truth.labels, detector.words) if words is None else words
    return names_of(truth, words, detector.fixed_labels)


def run_task(
    session: Session, task: BoxTask, wanted: OutputOptions, folder: str = DETECTIONS, more: More | None = None
) -> EvalResult | None:
    """Detect, score and write; None where the run is not complete yet. `more`: scores -> further metrics."""
    records = session.detect(folder, task.sources, task.category_prompt.prompt, task.rules.options)
    if records is None:
        return None
    found = task.predictions(read_records(records))
    facts = {"model": session.detector.name, "settings": settings_in_words(session, task.rules)}
    prompt = task.category_prompt.prompt
    if other := [typed for typed, label in zip(typed_labels(prompt), prompt.labels, strict=True) if typed != label]:
        facts["words"] = listed(other)
    return score_boxes(task.truth, found, task.rules.score, facts, wanted, task.images, more)


def score_boxes(
    truth: GroundTruth,
    predictions: Predictions,
    score: Score,
    facts: Mapping[str, str],
    wanted: OutputOptions,
    images: Mapping[int, Path],
    more: More | None = None,
) -> EvalResult:
    """Score, and write metrics.json, coco_results.json with coco_images.json, report.html and vis/.

    Args:
        facts: model and settings, in words.
        images: id -> file, for the report's examples and vis/.
        more: scores -> further metrics.
    """
    truth = with_notes(truth, predictions)
    scores = score(truth, predictions.results)
    size = f"{len(truth.images)} images, {len(truth.annotations)} boxes, {len(truth.categories)} classes"
    about = {"dataset": truth.name, "size": size, "protocol": scores.protocol, **facts}
    about |= unread(truth, predictions)
    metrics = {**scores.summary, **(more(scores) if more else {})}
    comparison = None
    if wanted.compare:
        comparison = compare_with(wanted.compare, truth, predictions, {**about, **metrics}, score, more)
    with writing(f"to {wanted.out}"):
        write_metrics(wanted.out / METRICS, about, metrics, tables_of(truth, predictions, scores))
        save_json(wanted.out / RESULTS, truth.as_given(predictions.results))
        write_coco_images(wanted.out / RESULTS, truth, {*predictions.failed, *predictions.absent})
    files = [wanted.out / METRICS, wanted.out / RESULTS]
    if wanted.report:
        files.append(wanted.out / REPORT)
        write_report(
            files[-1],
            title=f"{facts.get('model', 'results')} on {truth.name}",
            facts=about,
            scores=scores,
            ground_truth=truth,
            results=predictions.results,
            images=images,
            transforms=predictions.transforms,
            comparison=comparison,
            notes=truth.notes,
        )
    if wanted.save_vis:
        best = Matches(scores.evaluation, truth).best().threshold
        threshold = DEFAULT_THRESHOLD if best is None else best
        files.append(save_images(wanted.out, truth, predictions.results, images, predictions.transforms, threshold))
    return EvalResult(truth, predictions.results, scores, about, metrics, comparison, tuple(files))


def with_notes(truth: GroundTruth, predictions: Predictions) -> GroundTruth:
    """The ground truth with what was odd about the predictions among its notes."""
    crowds = "but of crowds " if truth.annotations else ""
    empty = f"no box {crowds}in the ground truth, so there is nothing to find"
    empty = empty if all(row["iscrowd"] for row in truth.annotations) else ""
    notes = (*truth.notes, *predictions.notes, *predictions.transforms.issues.notes, empty)
    return replace(truth, notes=tuple(filter(None, notes)))


def tables_of(truth: GroundTruth, predictions: Predictions, scores: BoxScores) -> dict[str, object]:
    """The tables of metrics.json: classes, the number of images, and those that were not evaluated."""
    images = {
        "number": len(truth.images),
        "failed": image_names(truth, predictions.failed),
        "absent": image_names(truth, predictions.absent),
    }
    classes = [
        {"name": one.name, "AP": defined(one.AP), "AP50": defined(one.AP50), "boxes": one.boxes}
        for one in scores.per_class
    ]
    return {"images": images, "notes": list(truth.notes), "classes": classes}


def settings_in_words(session: Session, rules: ScoringProtocol) -> str:
    """In words, to repeat it."""
    size = session.detector.image_size(session.base.size)
    dtype = str(session.detector.dtype).removeprefix("torch.")
    views = f"; tiles of {session.base.tile}" if session.base.tile else ""
    views += "; test-time augmentation" if session.base.tta else ""
    boxes = f"{rules.words}; label scores above {PRE_NMS_SCORE_THRESHOLD:g}"
    return f"{boxes}; images of {size.in_words}{views}; {dtype} on {session.detector.device.type}"
