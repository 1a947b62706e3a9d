"""The numbers of boxes: COCO's twelve, those of pycocotools to 1e-9, and LVIS'; matched and accumulated by hotcoco."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import hotcoco
import numpy as np
import numpy.typing as npt

from glip_cli.errors import DataError
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

    All images of the ground truth count, also those without a result; no result at all is AP 0.
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


# ----------------------------------------------------------------------------------------------------------------- lvis
# LVIS' numbers for boxes: those of lvis-api, and Fixed AP.
#
# An image of LVIS is labelled for some categories only. A category that an image neither shows nor lists as
# absent (`neg_category_ids`) is not scored there, and where not every object has its box
# (`not_exhaustive_category_ids`) a box that matches none is not a false one (Gupta et al., arXiv 1908.03195).


LVIS_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "ARs", "ARm", "ARl")
PER_IMAGE = 300
PER_CATEGORY = 10_000


def lvis_scores(ground_truth: GroundTruth, results: Sequence[CocoResult], *, fixed: bool) -> BoxScores:
    """LVIS' AP and AR: IoU 0.50:0.05:0.95, federated, over rare, common and frequent categories.

    Args:
        fixed: True for Fixed AP (Dave et al., arXiv 2102.01066), which GLIP's papers give: the 10,000 best boxes of
            each category over all images, any number per image. False for lvis-api's default: the 300 best
            boxes of each image over all categories.

    Raises:
        DataError: the ground truth does not say which categories its images do not show.
    """
    if not ground_truth.is_federated:
        raise DataError(f"{ground_truth.name}: no neg_category_ids, so this is not LVIS; use COCO's AP instead")
    kept = best_of_each("category_id", results, PER_CATEGORY) if fixed else best_of_each("image_id", results, PER_IMAGE)
    truth = ground_truth.to_coco()
    # capped already: -1 keeps hotcoco from doing it again over all categories, max_dets within each
    evaluation = hotcoco.LVISeval(truth, hotcoco.LVISResults(truth, plain(kept), max_dets=-1), "bbox")
    evaluation.params.max_dets = [PER_CATEGORY if fixed else PER_IMAGE]
    numbers = {key.split("@")[0]: number for key, number in accumulated(evaluation).items()}
    summary = {key: numbers[key] for key in LVIS_KEYS}
    protocol = "LVIS Fixed AP" if fixed else "LVIS AP"
    return BoxScores(protocol, summary, class_scores(ground_truth, kept, evaluation), evaluation)


def best_of_each(
    key: Literal["category_id", "image_id"], results: Sequence[CocoResult], limit: int
) -> list[CocoResult]:
    """The best of each category over all images, or of each image over all categories.

    Of equal scores those that came first are kept.
    """
    groups: dict[int, list[CocoResult]] = {}
    for result in results:
        groups.setdefault(result[key], []).append(result)
    return [row for group in groups.values() for row in sorted(group, key=lambda row: -row["score"])[:limit]]
