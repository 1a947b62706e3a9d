"""COCO's twelve numbers for boxes: those of pycocotools to 1e-9, matched and accumulated by hotcoco."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import hotcoco
import numpy as np
import numpy.typing as npt

from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.results import CocoResult, plain

COCO_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class ClassScore:
    """One category.

    Attributes:
        name: as the ground truth spells it.
        AP: mean over IoU 0.50:0.05:0.95 in [0, 1]; -1 where the category has no ground truth.
        AP50: the same at IoU 0.5.
        boxes: its boxes in the ground truth, without crowds.
        detections: its boxes in the results that were evaluated.
    """

    name: str
    AP: float
    AP50: float
    boxes: int
    detections: int


@dataclass(frozen=True)
class BoxScores:
    """The numbers of one run.

    Attributes:
        protocol: whose rules, in words.
        summary: name -> number in [0, 1], or -1 where there is no ground truth; in the protocol's own order.
        per_class: one for each category, in id order.
        evaluation: evaluated and accumulated, for whoever needs curves or diagnostics.
    """

    protocol: str
    summary: dict[str, float]
    per_class: tuple[ClassScore, ...]
    evaluation: hotcoco.COCOeval


def coco_scores(ground_truth: GroundTruth, results: Sequence[CocoResult]) -> BoxScores:
    """COCO's AP and AR: IoU 0.50:0.05:0.95, the 100 best boxes per image and category, crowds ignored.

    Args:
        ground_truth: all of its images count, also those without a result.
        results: COCO results as `read_results` gives them; none at all is AP 0.
    """
    truth = ground_truth.to_coco()
    evaluation = hotcoco.COCOeval(truth, truth.load_res(plain(results)), "bbox")
    numbers = accumulated(evaluation)
    summary = {key: numbers[key] for key in COCO_KEYS}
    return BoxScores("COCO AP", summary, class_scores(ground_truth, results, evaluation), evaluation)


def accumulated(evaluation: hotcoco.COCOeval) -> dict[str, float]:
    """Evaluates, and gives the summary under hotcoco's own names, without printing it."""
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summary_lines()
    return evaluation.get_results()


def class_scores(
    ground_truth: GroundTruth, results: Iterable[CocoResult], evaluation: hotcoco.COCOeval
) -> tuple[ClassScore, ...]:
    """One score for each category, in id order; `evaluation` is accumulated."""
    assert evaluation.eval is not None
    precision: npt.NDArray[np.float64] = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, category
    boxes = Counter(row["category_id"] for row in ground_truth.annotations if not row["iscrowd"])
    found = Counter(row["category_id"] for row in results)
    return tuple(
        ClassScore(
            category.name, _mean(precision[:, :, i]), _mean(precision[0, :, i]), boxes[category.id], found[category.id]
        )
        for i, category in enumerate(ground_truth.categories)
    )


def _mean(precision: npt.NDArray[np.float64]) -> float:
    """Over what has ground truth; as pycocotools, -1 where nothing has."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else -1.0
