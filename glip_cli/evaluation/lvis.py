"""LVIS' numbers for boxes: those of lvis-api, and Fixed AP.

An image of LVIS is labelled for some categories only. A category that an image neither shows nor lists as
absent (`neg_category_ids`) is not scored there, and where not every object has its box
(`not_exhaustive_category_ids`) a box that matches none is not a false one (Gupta et al., arXiv 1908.03195).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import hotcoco

from glip_cli.errors import DataError
from glip_cli.evaluation.coco import BoxScores, accumulated, class_scores
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.results import CocoResult, plain

LVIS_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "ARs", "ARm", "ARl")
PER_IMAGE = 300
PER_CATEGORY = 10_000


def lvis_scores(ground_truth: GroundTruth, results: Sequence[CocoResult], *, fixed: bool) -> BoxScores:
    """LVIS' AP and AR: IoU 0.50:0.05:0.95, federated, over rare, common and frequent categories.

    Args:
        ground_truth: of LVIS.
        results: COCO results as `read_results` gives them; none at all is AP 0.
        fixed: True for Fixed AP (Dave et al., arXiv 2102.01066), which GLIP's papers give: the 10,000 best boxes of
            each category over all images, any number per image. False for lvis-api's default: the 300 best
            boxes of each image over all categories.

    Raises:
        DataError: the ground truth does not say which categories its images do not show.
    """
    if not ground_truth.is_federated:
        raise DataError(f"{ground_truth.name}: no neg_category_ids, so this is not LVIS; use COCO's AP instead")
    kept = best_per_category(results) if fixed else best_per_image(results)
    truth = ground_truth.to_coco()
    # capped already: -1 keeps hotcoco from doing it again over all categories, max_dets within each
    evaluation = hotcoco.LVISeval(truth, hotcoco.LVISResults(truth, plain(kept), max_dets=-1), "bbox")
    evaluation.params.max_dets = [PER_CATEGORY if fixed else PER_IMAGE]
    numbers = {key.split("@")[0]: number for key, number in accumulated(evaluation).items()}
    summary = {key: numbers[key] for key in LVIS_KEYS}
    protocol = "LVIS Fixed AP" if fixed else "LVIS AP"
    return BoxScores(protocol, summary, class_scores(ground_truth, kept, evaluation), evaluation)


def best_per_category(results: Sequence[CocoResult], limit: int = PER_CATEGORY) -> list[CocoResult]:
    """The best of each category over all images; of equal scores those that came first."""
    return _best(results, "category_id", limit)


def best_per_image(results: Sequence[CocoResult], limit: int = PER_IMAGE) -> list[CocoResult]:
    """The best of each image over all categories; of equal scores those that came first."""
    return _best(results, "image_id", limit)


def _best(results: Sequence[CocoResult], key: Literal["category_id", "image_id"], limit: int) -> list[CocoResult]:
    groups: dict[int, list[CocoResult]] = {}
    for result in results:
        groups.setdefault(result[key], []).append(result)
    return [row for group in groups.values() for row in sorted(group, key=_minus_score)[:limit]]


def _minus_score(result: CocoResult) -> float:
    return -result["score"]
