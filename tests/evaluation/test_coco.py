from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.evaluation.results import read_predictions
from glip_cli.evaluation.scores import COCO_KEYS, BoxScores, coco_scores
from tests.evaluation.datasets import box, hit, random_set, read, two_images
from tests.shared import shared


def pycocotools_stats(content: dict[str, Any], results: list[dict[str, Any]]) -> tuple[dict[str, float], Any]:
    """The twelve numbers and the evaluation of pycocotools."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = copy.deepcopy(content)
        truth.createIndex()
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(COCO_KEYS, map(float, evaluation.stats), strict=True)), evaluation


def test_one_hit_of_two_by_hand(tmp_path: Path) -> None:
    """Of two cats one is found exactly: recall 1/2 with precision 1, so precision is 1 at 51 of 101 recalls."""
    scores = coco_scores(read(tmp_path, two_images()), [hit(1, 3, [0, 0, 50, 50], 0.9)])
    cat, dog = scores.per_class
    assert (cat.name, cat.boxes, cat.detections) == ("cat", 2, 1)
    assert pytest.approx(51 / 101) == cat.AP
    assert (dog.AP, dog.boxes, dog.detections) == (0, 1, 0)
    assert scores.summary["AP"] == pytest.approx(51 / 101 / 2)
    assert scores.summary["AR100"] == pytest.approx(1 / 4)


def test_iou_decides_which_thresholds_a_box_passes(tmp_path: Path) -> None:
    """50 x 50 against 50 x 40 is IoU 0.8: it passes 0.50 to 0.80, seven of ten."""
    content = two_images()
    content["annotations"] = content["annotations"][:1]
    scores = coco_scores(read(tmp_path, content), [hit(1, 3, [0, 0, 50, 40], 0.9)])
    assert scores.summary["AP"] == pytest.approx(0.7)
    assert (scores.summary["AP50"], scores.summary["AP75"]) == (pytest.approx(1), pytest.approx(1))
    assert pytest.approx(1) == scores.per_class[0].AP50
    assert scores.per_class[1].AP == -1


def test_a_image_without_boxes_counts(tmp_path: Path) -> None:
    content = two_images()
    content["annotations"] = content["annotations"][:1]
    right, elsewhere = hit(1, 3, [0, 0, 50, 50], 0.8), hit(2, 3, [0, 0, 50, 50], 0.9)
    truth = read(tmp_path, content)
    assert coco_scores(truth, [right]).summary["AP"] == pytest.approx(1)
    assert coco_scores(truth, [right, elsewhere]).summary["AP"] == pytest.approx(0.5)


def test_what_lies_in_a_crowd_is_not_false(tmp_path: Path) -> None:
    content = two_images()
    content["annotations"] = [box(1, 1, 3, [0, 0, 50, 50]), box(2, 1, 3, [60, 0, 100, 100], iscrowd=1)]
    results = [hit(1, 3, [0, 0, 50, 50], 0.5), hit(1, 3, [80, 20, 10, 10], 0.9)]
    scores = coco_scores(read(tmp_path, content), results)
    assert scores.summary["AP"] == pytest.approx(1)
    assert (scores.per_class[0].boxes, scores.per_class[0].detections) == (1, 2)


def test_no_result_is_zero_and_no_truth_is_minus_one(tmp_path: Path) -> None:
    scores = coco_scores(read(tmp_path, two_images()), [])
    assert tuple(scores.summary) == COCO_KEYS
    assert (scores.summary["AP"], scores.summary["AR100"], scores.summary["APl"]) == (0, 0, -1)
    assert [score.AP for score in scores.per_class] == [0, 0]
    empty = coco_scores(read(tmp_path, {**two_images(), "annotations": []}), [hit(1, 3, [0, 0, 5, 5], 0.5)])
    assert set(empty.summary.values()) == {-1}


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = two_images()
    content["annotations"][1]["id"] = 1
    content["categories"][0]["name"] = None
    coco_scores(read(tmp_path, content), [hit(1, 3, [0, 0, 50, 50], 0.9)])
    assert capfd.readouterr() == ("", "")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_as_pycocotools_on_random_sets(tmp_path: Path, seed: int) -> None:
    content, results = random_set(seed)
    if not results:
        return  # pycocotools cannot
    expected, reference = pycocotools_stats(content, results)
    scores = coco_scores(read(tmp_path, content), results)
    assert scores.summary == pytest.approx(expected, abs=1e-9)
    for i, score in enumerate(scores.per_class):
        precision = reference.eval["precision"][:, :, i, 0, 2]
        assert pytest.approx(precision[precision > -1].mean() if (precision > -1).any() else -1, abs=1e-9) == score.AP
        precision = precision[0]
        assert pytest.approx(precision[precision > -1].mean() if (precision > -1).any() else -1, abs=1e-9) == score.AP50


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": [50, 50, -50, -50]},
        {"bbox": [0, 0, 0, 50]},
        {"area": -3},
        {"id": 2},
        {"id": 3},
        {"iscrowd": 2},
        {"ignore": 1},
        {"image_id": 99},
        {"category_id": 99},
        {"area": 2e10},
        {"image_id": 99, "id": 2},
        {"id": 2, "image_id": 2},
    ],
    ids=str,
)
def test_as_pycocotools_on_odd_annotations(tmp_path: Path, change: dict[str, Any]) -> None:
    content = two_images()
    content["annotations"][0].update(change)
    results = [hit(i, c, row["bbox"], 0.5 + i / 10) for row in content["annotations"] for i in (1, 2) for c in (3, 5)]
    expected, _ = pycocotools_stats(content, results)
    assert coco_scores(read(tmp_path, content), results).summary == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("table", ["images", "categories"])
def test_as_pycocotools_where_rows_repeat(tmp_path: Path, table: str) -> None:
    content = two_images()
    content[table] += content[table][:1]
    results = [hit(1, 3, [0, 0, 50, 40], 0.9), hit(2, 5, [0, 0, 50, 50], 0.8)]
    expected, _ = pycocotools_stats(content, results)
    assert coco_scores(read(tmp_path, content), results).summary == pytest.approx(expected, abs=1e-9)


def test_annotation_id_0_counts_as_found(tmp_path: Path) -> None:
    """The one number that differs: pycocotools takes a match with the id 0 for none."""
    content = two_images()
    results = [hit(row["image_id"], row["category_id"], row["bbox"], 0.9) for row in content["annotations"]]
    content["annotations"][0]["id"] = 0
    truth = read(tmp_path, content)
    assert coco_scores(truth, results).summary["AP"] == pytest.approx(1)
    assert pycocotools_stats(content, results)[0]["AP"] < 0.9
    assert any("id 0" in note for note in truth.notes)


# Numbers of the reference material; its README names their sources (pycocotools 2.0.11; cocoapi's and
# faster_coco_eval's published ones for the first and third).
PAIRS = [
    ("coco/instances_val2014_100.json", "coco/instances_val2014_fakebbox100_results.json"),
    ("../coco128/all.json", "coco/coco128_derived_results.json"),
    ("../coco128val/all.json", "coco/coco128val_derived_results.json"),
    ("faster_coco_eval/gt_ignore_test_int_ids.json", "faster_coco_eval/dt_ignore_test.json"),
    ("faster_coco_eval/gt_dataset.json", "faster_coco_eval/dt_dataset.json"),
    ("sahi/dataset.json", "sahi/result.json"),
]


def scored(truth: str, results: str) -> BoxScores:
    ground_truth = read_ground_truth(shared(f"data/eval/{truth}").resolve())
    return coco_scores(ground_truth, read_predictions(shared(f"data/eval/{results}"), ground_truth).results)


def expected(truth: str, results: str) -> dict[str, float]:
    folder = Path(results).parent
    table = json.loads(shared(f"data/eval/{folder}/expected.json").read_text())
    (entry,) = (table[name] for name in table if _is_pair(name, truth, results))
    return {key: entry.get("stats", entry)[key] for key in COCO_KEYS}


def _is_pair(name: str, truth: str, results: str) -> bool:
    """The tables name the two files with or without their folder."""
    return name.split(" + ")[0] in (truth, Path(truth).name) and name.split("/")[-1].endswith(Path(results).name)


@pytest.mark.parametrize(("truth", "results"), PAIRS)
def test_published_and_recorded_numbers(truth: str, results: str) -> None:
    assert scored(truth, results).summary == pytest.approx(expected(truth, results), abs=1e-9)


def test_text_ids_give_the_numbers_of_integer_ids() -> None:
    results = "faster_coco_eval/dt_ignore_test.json"
    recorded = expected("faster_coco_eval/gt_ignore_test_int_ids.json", results)
    assert scored("faster_coco_eval/gt_ignore_test.json", results).summary == pytest.approx(recorded, abs=1e-9)
