"""From a data set to numbers on disk: detect, score, write down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glip_cli.evaluation.boxes import BoxTask, More, Score, ScoringProtocol
from glip_cli.evaluation.coco import BoxScores
from glip_cli.evaluation.compare import Comparison
from glip_cli.evaluation.earlier import compare_with
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.names import write_coco_images
from glip_cli.evaluation.outputs import METRICS, REPORT, RESULTS, defined, write_metrics
from glip_cli.evaluation.report.sections import write_report
from glip_cli.evaluation.results import Predictions, Results, image_names, unread
from glip_cli.evaluation.session import Session
from glip_cli.options import PRE_NMS_SCORE_THRESHOLD
from glip_cli.outputs.files import save_json
from glip_cli.runs.journal import read_records

DETECTIONS = "detections"


@dataclass(frozen=True)
class OutputOptions:
    """What is to be left in the folder `out`, besides metrics.json and the results."""

    out: Path
    report: bool = True
    compare: Path | None = None


@dataclass(frozen=True)
class BoxRun:
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


def detect_task(session: Session, task: BoxTask, folder: str = DETECTIONS) -> Predictions | None:
    """A model's answers, kept in a folder; None where the run is not complete yet."""
    records = session.detect(folder, task.sources, task.question.prompt, task.rules.options)
    return None if records is None else task.predictions(read_records(records))


def score_boxes(
    truth: GroundTruth,
    predictions: Predictions,
    score: Score,
    facts: Mapping[str, str],
    wanted: OutputOptions,
    images: Mapping[int, Path],
    more: More | None = None,
) -> BoxRun:
    """Score, and write metrics.json, coco_results.json with coco_images.json, and report.html.

    Args:
        facts: model and settings, in words.
        images: id -> file, for the report's examples.
        more: scores -> further metrics.
    """
    truth = with_notes(truth, predictions)
    scores = score(truth, predictions.results)
    about = {"dataset": truth.name, "size": size_of(truth), "protocol": scores.protocol, **facts}
    about |= unread(truth, predictions)
    metrics = {**scores.summary, **(more(scores) if more else {})}
    comparison = None
    if wanted.compare:
        comparison = compare_with(wanted.compare, truth, predictions, about | metrics, score, more)
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
            frames=predictions.frames,
            comparison=comparison,
            notes=truth.notes,
        )
    return BoxRun(truth, predictions.results, scores, about, metrics, comparison, tuple(files))


def with_notes(truth: GroundTruth, predictions: Predictions) -> GroundTruth:
    """The ground truth with what was odd about the predictions among its notes."""
    empty = "no box in the ground truth, so there is nothing to find" if not truth.annotations else ""
    notes = (*truth.notes, *predictions.notes, *predictions.frames.issues.notes, empty)
    return replace(truth, notes=tuple(filter(None, notes)))


def tables_of(truth: GroundTruth, predictions: Predictions, scores: BoxScores) -> dict[str, Any]:
    """What metrics.json has besides numbers and facts: the classes, how many images, and which were not looked at."""
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


def size_of(truth: GroundTruth) -> str:
    return f"{len(truth.images)} images, {len(truth.annotations)} boxes, {len(truth.categories)} classes"


def settings_in_words(session: Session, rules: ScoringProtocol) -> str:
    """As a person needs it to do the same again."""
    size = session.detector.image_size(session.base.size)
    dtype = str(session.detector.dtype).removeprefix("torch.")
    views = f"; tiles of {session.base.tile}" if session.base.tile else ""
    views += "; test-time augmentation" if session.base.tta else ""
    boxes = f"{rules.words}; label scores above {PRE_NMS_SCORE_THRESHOLD:g}"
    return f"{boxes}; images of {size.in_words}{views}; {dtype} on {session.detector.device.type}"
