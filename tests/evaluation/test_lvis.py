from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.evaluation.results import read_predictions
from glip_cli.evaluation.scores import LVIS_KEYS, best_of_each, lvis_scores
from tests.evaluation.datasets import box, hit, random_set, read, saved, two_images
from tests.shared import shared

RANDOM = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def lvis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package lvis 0.5.3, for which numpy must have its old name of float."""
    monkeypatch.setattr(np, "float", float, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports cv2 and matplotlib
        yield pytest.importorskip("lvis")


def lvis_stats(lvis: Any, truth: Path, results: list[dict[str, Any]], max_dets: int) -> dict[str, float]:
    """What the package says; `max_dets` boxes per image, -1 for all."""
    ground_truth = lvis.LVIS(str(truth))
    copies = [dict(result) for result in results]
    evaluation = lvis.LVISEval(ground_truth, lvis.LVISResults(ground_truth, copies, max_dets=max_dets), "bbox")
    evaluation.run()
    return {key.split("@")[0]: float(value) for key, value in evaluation.get_results().items()}


def federated() -> dict[str, Any]:
    """Two images with a cat; a dog was looked for in vain in the second only."""
    content = two_images()
    content["annotations"] = content["annotations"][:2]
    for category, frequency in zip(content["categories"], "fr", strict=True):
        category["frequency"] = frequency
    for image, negative in zip(content["images"], ([], [5]), strict=True):
        image.update(neg_category_ids=negative, not_exhaustive_category_ids=[])
    content["annotations"].append(box(3, 2, 5, [60, 0, 40, 40]))
    content["images"].append({"id": 7, "file_name": "7.jpg", "neg_category_ids": [], "not_exhaustive_category_ids": []})
    return content


PERFECT = [hit(1, 3, [0, 0, 50, 50], 0.5), hit(2, 3, [0, 0, 50, 50], 0.5), hit(2, 5, [60, 0, 40, 40], 0.5)]


@pytest.mark.parametrize("fixed", [True, False])
def test_a_box_of_a_category_not_looked_for_is_not_false(tmp_path: Path, fixed: bool) -> None:
    truth = read(tmp_path, federated())
    for image, category in ((7, 3), (1, 5), (7, 5)):
        stray = hit(image, category, [150, 50, 20, 20], 0.9)
        assert lvis_scores(truth, [stray, *PERFECT], fixed=fixed).summary["AP"] == pytest.approx(1)


def test_a_box_of_a_category_looked_for_in_vain_is_false(tmp_path: Path) -> None:
    content = federated()
    content["images"][2]["neg_category_ids"] = [3]
    summary = lvis_scores(read(tmp_path, content), [hit(7, 3, [0, 0, 9, 9], 0.9), *PERFECT], fixed=True).summary
    assert summary["APf"] == pytest.approx(2 / 3)  # one false box before both cats
    assert (summary["APr"], summary["APc"]) == (pytest.approx(1), -1)


def test_a_stray_box_where_not_all_are_marked_is_not_false(tmp_path: Path) -> None:
    content, stray = federated(), hit(1, 3, [150, 50, 20, 20], 0.9)
    assert lvis_scores(read(tmp_path, content), [stray, *PERFECT], fixed=True).summary["APf"] < 0.7
    content["images"][0]["not_exhaustive_category_ids"] = [3]
    assert lvis_scores(read(tmp_path, content), [stray, *PERFECT], fixed=True).summary["APf"] == pytest.approx(1)


def test_the_cap_of_a_image_cuts_only_where_it_applies(tmp_path: Path) -> None:
    """Of dogs that nobody looked for and that score more than the cat, 299 do no harm, 300 push it out."""
    truth = read(tmp_path, federated())
    dogs = [hit(1, 5, [i % 100, 0, 20, 20], 0.9) for i in range(300)]
    fixed, capped = (lvis_scores(truth, dogs + PERFECT, fixed=fixed) for fixed in (True, False))
    assert fixed.summary["APf"] == pytest.approx(1)
    assert capped.summary["APf"] == pytest.approx(51 / 101)
    assert lvis_scores(truth, dogs[1:] + PERFECT, fixed=False).summary["APf"] == pytest.approx(1)
    assert (fixed.per_class[0].detections, capped.per_class[0].detections) == (2, 1)


def test_the_cap_of_a_category_is_over_all_images(tmp_path: Path) -> None:
    """9,999 false boxes leave room for one of the two cats."""
    strays = [hit(1 + i % 2, 3, [150, 50, 20, 20], 0.9) for i in range(9999)]
    scores = lvis_scores(read(tmp_path, federated()), strays + PERFECT, fixed=True)
    assert [score.detections for score in scores.per_class] == [10_000, 1]
    assert scores.summary["AR"] == pytest.approx((1 / 2 + 1) / 2)


@pytest.mark.parametrize("max_dets", [300, -1])
def test_many_boxes_of_one_category_in_a_image(tmp_path: Path, lvis: Any, max_dets: int) -> None:
    """600 boxes of one category in one image, the right ones last: without a cap they count."""
    content, strays = federated(), [hit(1, 3, [150, 50, 20, 20], 0.9) for _ in range(600)]
    path = saved(tmp_path, content)
    summary = lvis_scores(read_ground_truth(path), strays + PERFECT, fixed=max_dets == -1).summary
    assert summary == pytest.approx(lvis_stats(lvis, path, strays + PERFECT, max_dets), abs=1e-9)
    assert summary["AR"] == pytest.approx((1 + 1) / 2 if max_dets == -1 else (1 / 2 + 1) / 2)


def test_best_per_category_keeps_the_first_of_equal_scores() -> None:
    results = [hit(i, i % 2, [0, 0, 1, 1], score) for i, score in enumerate([0.1, 0.5, 0.5, 0.9, 0.5, 0.5])]
    assert [row["image_id"] for row in best_of_each("category_id", results, 2)] == [2, 4, 3, 1]
    assert best_of_each("category_id", results, 9) == sorted(
        results, key=lambda row: (row["category_id"], -row["score"])
    )


def test_best_per_image_looks_across_categories() -> None:
    results = [hit(1, 3, [0, 0, 1, 1], 0.2), hit(1, 5, [0, 0, 1, 1], 0.4), hit(2, 3, [0, 0, 1, 1], 0.1)]
    assert best_of_each("image_id", results, 1) == results[1:]


@pytest.mark.parametrize("fixed", [True, False])
def test_no_result_is_zero(tmp_path: Path, fixed: bool) -> None:
    scores = lvis_scores(read(tmp_path, federated()), [], fixed=fixed)
    assert tuple(scores.summary) == LVIS_KEYS
    assert (scores.summary["AP"], scores.summary["AR"], scores.summary["APc"]) == (0, 0, -1)


@pytest.mark.parametrize("fixed", [True, False])
def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str], fixed: bool) -> None:
    lvis_scores(read(tmp_path, federated()), PERFECT, fixed=fixed)
    assert capfd.readouterr() == ("", "")


def test_coco_ground_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"truth\.json: no neg_category_ids"):
        lvis_scores(read(tmp_path, two_images()), [], fixed=True)


@given(seed=st.integers(0, 2**32))
@RANDOM
def test_as_the_lvis_package_on_random_sets(tmp_path: Path, lvis: Any, seed: int) -> None:
    content, results = random_set(seed, crowds=False, federated=True)
    if not results:
        return  # the package cannot
    path = saved(tmp_path, content)
    truth = read_ground_truth(path)
    fixed, capped = (lvis_scores(truth, results, fixed=fixed).summary for fixed in (True, False))
    assert fixed == pytest.approx(lvis_stats(lvis, path, best_of_each("category_id", results, 10_000), -1), abs=1e-9)
    assert capped == pytest.approx(lvis_stats(lvis, path, results, 300), abs=1e-9)


@pytest.mark.parametrize("max_dets", [300, -1])
def test_as_the_lvis_package_where_caps_cut(tmp_path: Path, lvis: Any, max_dets: int) -> None:
    """700 boxes in one image, many of them of one category, scores that tie."""
    content, _ = random_set(5, crowds=False, federated=True)
    rng = np.random.default_rng(1)
    rows = content["annotations"] * (700 // len(content["annotations"]) + 1)
    image = rows[0]["image_id"]
    results = [
        hit(
            image, row["category_id"], [float(n) for n in np.abs(np.add(row["bbox"], rng.normal(0, 5, 4)))], i % 50 / 50
        )
        for i, row in enumerate(rows)
    ]
    path = saved(tmp_path, content)
    scores = lvis_scores(read_ground_truth(path), results, fixed=max_dets == -1)
    assert scores.summary == pytest.approx(lvis_stats(lvis, path, results, max_dets), abs=1e-9)


def real() -> tuple[Path, list[dict[str, Any]]]:
    path = shared("data/eval/lvis/lvis_val_100.json")
    return path, read_predictions(shared("data/eval/lvis/derived_results_100.json"), read_ground_truth(path)).results


def test_recorded_numbers() -> None:
    """Of lvis 0.5.3 with 300 boxes per image; the reference material's README says how they were made."""
    path, results = real()
    (entry,) = json.loads(shared("data/eval/lvis/expected.json").read_text()).values()
    expected = {key.split("@")[0]: value for key, value in entry["stats"].items()}
    assert lvis_scores(read_ground_truth(path), results, fixed=False).summary == pytest.approx(expected, abs=1e-9)


def test_fixed_ap_on_real_ground_truth(lvis: Any) -> None:
    path, results = real()
    expected = lvis_stats(lvis, path, best_of_each("category_id", results, 10_000), -1)
    assert lvis_scores(read_ground_truth(path), results, fixed=True).summary == pytest.approx(expected, abs=1e-9)
