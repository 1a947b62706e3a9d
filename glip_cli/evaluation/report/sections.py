"""The report of one evaluation: its numbers, curves, mistakes and images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from glip_cli.data.box_transforms import BoxTransforms
from glip_cli.evaluation.report import charts
from glip_cli.evaluation.report.examples import MAX_TAGS, Matches, examples
from glip_cli.evaluation.report.page import ReportSection, plural, write_page
from glip_cli.utils.json import JsonObject

if TYPE_CHECKING:
    from hotcoco import COCOeval

    from glip_cli.evaluation.compare import Comparison
    from glip_cli.evaluation.ground_truth import GroundTruth
    from glip_cli.evaluation.scores import BoxScores

DEFAULT_THRESHOLD = 0.3  # where no detection is right
MAX_CLASSES = 30  # of a confusion matrix that is shown whole
_MOST_CONFUSED, _MAX_PAIRS = 18, 15
_FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
_ERRORS = {
    "Cls": ("wrong class", "The box is right, the class is not."),
    "Loc": ("wrong place", "The class is right, the box overlaps too little (IoU 0.1 to 0.5)."),
    "Both": ("wrong class and place", "Overlaps an object of another class too little."),
    "Dupe": ("found twice", "Right, but a detection with a higher score has this object."),
    "Bkg": ("nothing there", "Overlaps no object (IoU under 0.1)."),
    "Miss": ("missed", "An object that no detection of any score and no other error accounts for."),
    "FP": ("any false detection", "All detections that are wrong, taken away at once."),
    "FN": ("any missed object", "All objects that were not found, taken away at once."),
}
Counts = npt.NDArray[np.int64]


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    scores: BoxScores,
    ground_truth: GroundTruth,
    results: Sequence[Mapping[str, object]],
    images: Mapping[int, Path],
    transforms: BoxTransforms | None = None,
    comparison: Comparison | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write the page, whole or not at all; its folder is made.

    Args:
        facts: name -> value: the model and its hash, the settings ...
        images: image id -> file; images without one are not among the examples.
        transforms: the images of another size than their annotations, and where the boxes lie in them.
        comparison: from another run, its `a`, to this one, its `b`.

    Raises:
        OutputError: the file cannot be written.
    """
    sections = [ReportSection("run", "The run", {"facts": facts, "notes": notes})] if facts or notes else []
    if comparison is not None:
        sections.append(ReportSection("comparison", "Comparison", comparison))
    sections += run_sections(scores, ground_truth, images, transforms or BoxTransforms())
    write_page(path, title, sections, lead=lead(scores, ground_truth, len(results)), summary=scores.summary)


def lead(scores: BoxScores, ground_truth: GroundTruth, detections: int) -> list[str]:
    """The protocol and the size of the data."""
    images, boxes = len(ground_truth.images), len(ground_truth.annotations)
    classes = plural(len(ground_truth.categories), "class", "es")
    counts = [plural(images, "image"), plural(boxes, "box", "es"), classes, plural(detections, "detection")]
    return [scores.protocol, *counts]


def run_sections(
    scores: BoxScores, ground_truth: GroundTruth, images: Mapping[int, Path], transforms: BoxTransforms
) -> list[ReportSection]:
    """All that one evaluation gives; `images` is image id -> file, `transforms` where the boxes lie in it."""
    evaluation, matches = scores.evaluation, Matches(scores.evaluation, ground_truth)
    best = matches.best()
    threshold = DEFAULT_THRESHOLD if best.threshold is None else best.threshold
    chart = None
    if best.threshold is not None and 0 <= best.threshold <= 1:
        chart = charts.threshold_chart(*matches.curves(), best.threshold)
    elif best.threshold is not None:
        best = replace(best, reason="the scores are not from 0 to 1")
    curves = charts.mean_curves(evaluation)
    drawn = examples(matches, ground_truth, images, transforms, threshold)
    return [
        ReportSection("classes", "AP of each class", [*_class_rows(scores, ground_truth)]),
        ReportSection("curves", "Precision and recall", charts.precision_chart(curves) if curves else "", wide=False),
        ReportSection("thresholds", "Score threshold", {"best": best, "chart": chart}, wide=False),
        ReportSection("mistakes", "Kinds of mistakes", _mistakes(evaluation), wide=False),
        ReportSection("calibration", "Can scores be believed?", _calibration(evaluation), wide=False),
        ReportSection("confusion", "Confusion", confusion_content(evaluation, ground_truth, threshold)),
        ReportSection("images", "Images", {"groups": drawn, "threshold": threshold, "tags": MAX_TAGS}),
    ]


def _class_rows(scores: BoxScores, ground_truth: GroundTruth) -> Iterator[JsonObject]:
    """Best first, classes without ground truth last; with curves of precision at IoU 0.5 and 0.75."""
    precision = charts.precision_table(scores.evaluation)
    curves = precision[[charts.nearest_iou(scores.evaluation, iou) for iou in (0.5, 0.75)]]
    frequency = {category.name: category.frequency for category in ground_truth.categories}
    for i in sorted(range(len(scores.per_class)), key=lambda i: -scores.per_class[i].AP):
        score = scores.per_class[i]
        defined = i < curves.shape[2] and (curves[:, :, i] > -1).all()
        lines = [charts.sparkline(curve) for curve in curves[:, :, i]] if defined else []
        yield {"score": score, "curves": lines, "frequency": _FREQUENCIES.get(frequency[score.name] or "")}


def _mistakes(evaluation: COCOeval) -> JsonObject:
    """TIDE (Bolya et al., arXiv 2008.08115): by how much AP50 would rise without one kind of mistake."""
    errors = evaluation.tide_errors(pos_thr=0.5, bg_thr=0.1)
    gains, counts = errors["delta_ap"], errors["counts"]
    kinds = [(*_ERRORS[kind], max(gains[kind], 0.0), counts.get(kind)) for kind in _ERRORS]
    return {"base": errors["ap_base"], "kinds": kinds, "full": max(*gains.values(), 0.01)}


def _calibration(evaluation: COCOeval) -> JsonObject:
    try:
        calibration = evaluation.calibration(n_bins=10, iou_threshold=0.5)
    except ValueError:  # scores below 0 or above 1, as logits and percents are
        return {"chart": "", "num_detections": None}
    return {**calibration, "chart": charts.calibration_chart(calibration) if calibration["num_detections"] else ""}


def confusion_content(evaluation: COCOeval, ground_truth: GroundTruth, threshold: float) -> JsonObject:
    """Boxes matched at IoU 0.5 whatever their class; nothing where not every object has its box."""
    if ground_truth.is_federated:
        return {"pairs": [], "federated": True}
    found = evaluation.confusion_matrix(iou_thr=0.5, min_score=threshold)
    names = [category.name for category in ground_truth.categories]
    confusion = Confusion(np.asarray(found["matrix"]).astype(np.int64), tuple(names))
    matrix, shown = confusion.reduced(confusion.shown())
    return {
        "matrix": matrix.tolist(),
        "names": shown,
        "classes": len(names),
        "pairs": [*confusion.pairs()],
        "threshold": threshold,
        "has_crowds": any(row["iscrowd"] for row in ground_truth.annotations),
        "federated": False,
    }


@dataclass(frozen=True)
class Confusion:
    """`matrix[i, j]`, int64 [K + 1, K + 1]: boxes of class i detected as class j; the last is the background."""

    matrix: Counts
    names: tuple[str, ...]

    @property
    def mistakes(self) -> Counts:
        """[K, K] without the diagonal."""
        between = self.matrix[:-1, :-1].copy()
        np.fill_diagonal(between, 0)
        return between

    def shown(self) -> list[int]:
        """All classes where they are few, else those that are most often confused, in the data set's order."""
        if len(self.names) <= MAX_CLASSES:
            return list(range(len(self.names)))
        mistakes = self.mistakes.sum(axis=0) + self.mistakes.sum(axis=1)
        worst = np.argsort(-mistakes, kind="stable")[:_MOST_CONFUSED]
        return sorted(int(i) for i in worst if mistakes[i])

    def reduced(self, shown: Sequence[int]) -> tuple[Counts, list[str]]:
        """Rows and columns of `shown`, of the other classes together (where there are any), and of nothing."""
        rest = sorted(set(range(len(self.names))) - set(shown))
        groups = [*([i] for i in shown), *([rest] if rest else []), [len(self.names)]]
        rows = np.stack([self.matrix[group].sum(axis=0) for group in groups])
        names = [*(self.names[i] for i in shown), *(["other"] if rest else []), "nothing"]
        return np.stack([rows[:, group].sum(axis=1) for group in groups], axis=1), names

    def pairs(self) -> Iterator[tuple[str, str, int, float]]:
        """The most frequent mistakes: class, what it was taken for, boxes, and their share of the class's boxes."""
        between, boxes = self.mistakes, self.matrix[:-1].sum(axis=1)
        shares = between / boxes.clip(min=1)[:, None]
        for flat in np.lexsort((-shares.ravel(), -between.ravel()))[:_MAX_PAIRS]:
            i, j = divmod(int(flat), len(between))
            if between[i, j]:
                yield self.names[i], self.names[j], int(between[i, j]), float(shares[i, j])
