"""From a data set to numbers on disk: detect, score, write down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glip_cli.batch.journal import read_records
from glip_cli.evaluation.boxes import BoxTask, Results, Rules, Score
from glip_cli.evaluation.coco import BoxScores
from glip_cli.evaluation.compare import Comparison
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.report import write_report
from glip_cli.evaluation.session import Session
from glip_cli.evaluation.written import METRICS, REPORT, RESULTS, compare_with, write_metrics, write_results

DETECTIONS = "detections"


@dataclass(frozen=True)
class Wanted:
    """What is to be left in the folder `out`, besides metrics.json and the results."""

    out: Path
    report: bool = True
    compare: Path | None = None


@dataclass(frozen=True)
class BoxRun:
    """One data set, scored.

    Attributes:
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


def detect_task(session: Session, task: BoxTask, folder: str = DETECTIONS) -> Results | None:
    """A model's answers, kept in a folder; None where the run is not complete yet."""
    records = session.detect(folder, task.sources, task.question.prompt, task.rules.options)
    return None if records is None else task.results(read_records(records))


def score_boxes(
    truth: GroundTruth,
    results: Results,
    score: Score,
    facts: Mapping[str, str],
    wanted: Wanted,
    images: Mapping[int, Path],
    more: Any = None,
) -> BoxRun:
    """Score, and write metrics.json, coco_results.json and report.html.

    Args:
        facts: model and settings, in words.
        images: id -> file, for the report's examples.
        more: scores -> further metrics.
    """
    scores = score(truth, results)
    said = {"dataset": truth.name, "size": size_of(truth), "protocol": scores.protocol, **facts}
    metrics = {**scores.summary, **(more(scores) if more else {})}
    comparison = compare_with(wanted.compare, truth, scores, said | metrics, score) if wanted.compare else None
    classes = [{"name": one.name, "AP": one.AP, "AP50": one.AP50, "boxes": one.boxes} for one in scores.per_class]
    write_metrics(wanted.out / METRICS, said, metrics, {"classes": classes})
    write_results(wanted.out / RESULTS, results)
    files = [wanted.out / METRICS, wanted.out / RESULTS]
    if wanted.report:
        files.append(wanted.out / REPORT)
        write_report(
            files[-1],
            title=f"{facts.get('model', 'results')} on {truth.name}",
            facts=said,
            scores=scores,
            ground_truth=truth,
            results=results,
            images=images,
            comparison=comparison,
            notes=truth.notes,
        )
    return BoxRun(truth, results, scores, said, metrics, comparison, tuple(files))


def size_of(truth: GroundTruth) -> str:
    return f"{len(truth.images)} images, {len(truth.annotations)} boxes, {len(truth.categories)} classes"


def settings_in_words(session: Session, rules: Rules) -> str:
    """As a person needs it to do the same again."""
    shorter, longer = session.base.size or session.detector.model.config.image_size
    dtype = str(session.detector.dtype).removeprefix("torch.")
    views = f"; tiles of {session.base.tile}" if session.base.tile else ""
    views += "; test-time augmentation" if session.base.tta else ""
    return f"{rules.words}; images of {shorter} to {longer} pixels{views}; {dtype} on {session.detector.device.type}"
