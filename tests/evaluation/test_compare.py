from __future__ import annotations

import platform
import resource
from pathlib import Path

import pytest

from glip_cli.errors import UsageError
from glip_cli.evaluation.compare import Comparison, MetricChange, compare_metrics, compare_scores
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.scores import coco_scores, lvis_scores
from tests.evaluation.datasets import box, hit, read

COUNT = 30


@pytest.fixture
def truth(tmp_path: Path) -> GroundTruth:
    """A cat in each of thirty images, where a dog was looked for in vain; all cats are medium."""
    images = [{"id": i, "neg_category_ids": [4], "not_exhaustive_category_ids": []} for i in range(1, COUNT + 1)]
    return read(
        tmp_path,
        {
            "images": images,
            "categories": [{"id": 3, "name": "cat", "frequency": "c"}, {"id": 4, "name": "dog", "frequency": "r"}],
            "annotations": [box(i, i, 3, [0, 0, 50, 50]) for i in range(1, COUNT + 1)],
        },
    )


def found(*images: int) -> list[dict[str, object]]:
    return [hit(i, 3, [0, 0, 50, 50], 0.5) for i in images]


def test_the_interval_of_a_share_of_images(truth: GroundTruth) -> None:
    """With all boxes right, AR is the share of images found, so the interval is a binomial's: 20 of 30 more found,
    standard deviation sqrt(2/9/30) = .086, 95 % within about 2/3 -+ .17.
    """
    a, b = coco_scores(truth, found(*range(1, 6))), coco_scores(truth, found(*range(1, 26)))
    comparison = compare_scores(a, b, samples=500)
    rows = {row.metric: row for row in comparison.rows}
    assert list(rows) == list(a.summary)
    recall = rows["AR100"]
    assert (recall.a, recall.b, recall.difference) == pytest.approx((5 / 30, 25 / 30, 20 / 30))
    assert recall.low == pytest.approx(2 / 3 - 0.17, abs=0.04)
    assert recall.high == pytest.approx(2 / 3 + 0.17, abs=0.04)
    assert (comparison.samples, comparison.images) == (500, COUNT)


def test_the_second_is_better_when_the_difference_is_positive(truth: GroundTruth) -> None:
    better, worse = coco_scores(truth, found(*range(1, 26))), coco_scores(truth, found(1, 2))
    (row,) = (row for row in compare_scores(better, worse, samples=50).rows if row.metric == "AP")
    assert row.difference is not None
    assert row.high is not None
    assert row.difference < row.high < 0


def test_a_run_and_itself(truth: GroundTruth) -> None:
    scores = coco_scores(truth, found(1, 2, 3))
    for row in compare_scores(scores, scores, samples=20).rows:
        assert (row.difference, row.low, row.high) == ((0, 0, 0) if row.a != -1 else (None, None, None))


def test_the_seed_decides(truth: GroundTruth) -> None:
    a, b = coco_scores(truth, found(1, 2, 3)), coco_scores(truth, found(3, 4, 5, 6))
    assert compare_scores(a, b, seed=1, samples=40) == compare_scores(a, b, seed=1, samples=40)
    assert compare_scores(a, b, seed=1, samples=40) != compare_scores(a, b, seed=2, samples=40)


def test_no_samples_no_intervals(truth: GroundTruth) -> None:
    a, b = coco_scores(truth, found(1)), coco_scores(truth, found(1, 2))
    comparison = compare_scores(a, b, samples=0)
    assert comparison.samples == comparison.images == 0
    assert {row.low for row in comparison.rows} == {None}
    assert comparison == compare_metrics(a.summary, b.summary)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is glibc's to keep")
def test_resampling_asks_the_kernel_for_little_memory(tmp_path: Path) -> None:
    """Curves of 80 classes take 10 x 101 x 80 x 4 x 3 numbers of 8 bytes, in two runs twice each: 7,575 pages of 4 kB
    for a sample, were they new ones. Some hundred samples need hardly more pages than a few do.
    """
    many = read(
        tmp_path,
        {
            "images": [{"id": i} for i in range(1, 5)],
            "categories": [{"id": i, "name": f"thing {i}"} for i in range(1, 81)],
            "annotations": [box(i, i, i, [0, 0, 50, 50]) for i in range(1, 5)],
        },
    )
    a, b = coco_scores(many, [hit(1, 1, [0, 0, 50, 50], 0.5)]), coco_scores(many, [hit(2, 2, [0, 0, 50, 50], 0.5)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    compare_scores(a, b, samples=100)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 10 * 7575


@pytest.mark.parametrize("fixed", [True, False])
def test_lvis_runs(truth: GroundTruth, fixed: bool) -> None:
    a, b = (lvis_scores(truth, found(*images), fixed=fixed) for images in (range(1, 6), range(1, 26)))
    rows = {row.metric: row for row in compare_scores(a, b, samples=200).rows}
    assert rows["APr"] == MetricChange("APr", -1, -1, None)
    recall = rows["AR"]
    assert recall.difference == pytest.approx(2 / 3)
    assert recall.low is not None
    assert recall.high is not None
    assert 0.3 < recall.low < 2 / 3 < recall.high < 0.9


def test_what_cannot_be_compared(truth: GroundTruth, tmp_path: Path) -> None:
    a = coco_scores(truth, found(1))
    with pytest.raises(UsageError, match="COCO AP and LVIS AP cannot be compared"):
        compare_scores(a, lvis_scores(truth, found(1), fixed=False))
    other = read(tmp_path, {**truth.to_coco().dataset, "annotations": []})
    with pytest.raises(UsageError, match="different ground truth"):
        compare_scores(a, coco_scores(other, found(1)))


def test_tables_of_numbers() -> None:
    a = {"AP": 0.5, "APs": -1.0, "model": "glip-t", "AP50": 0.7, "same": True, "bad": float("nan"), "seconds": 3}
    b = {"APs": 0.2, "AP": 0.25, "AP50": None, "model": "glip-l", "same": True, "bad": 1.0, "seconds": 5}
    rows = (
        MetricChange("AP", 0.5, 0.25, -0.25),
        MetricChange("APs", -1.0, 0.2, None),
        MetricChange("seconds", 3, 5, 2),
    )
    assert compare_metrics(a, b) == Comparison(rows)
    with pytest.raises(UsageError, match="no metric in common"):
        compare_metrics({"AP": 1.0}, {"AP": "high"})
