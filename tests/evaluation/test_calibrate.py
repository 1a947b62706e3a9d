from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_cli.errors import DataError, OutputError
from glip_cli.evaluation.calibrate import (
    Threshold,
    best_thresholds,
    of_another_model,
    read_thresholds,
    write_thresholds,
)
from glip_cli.evaluation.ground_truth import GroundTruth
from tests.evaluation.datasets import box, hit, random_set, read, two_images

HERE, ELSEWHERE = [0, 0, 50, 50], [150, 50, 20, 20]
RANDOM = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def own_thresholds(truth: GroundTruth, results: list[dict[str, Any]], iou: float = 0.5) -> dict[str, Threshold]:
    """Each label's own, whatever the others'."""
    return best_thresholds(truth, results, iou, few=0)


def test_by_hand(tmp_path: Path) -> None:
    """Right at .9, wrong at .8, right at .7, wrong at .4; two cats. F1: 2/3, 1/2, 4/5, 2/3: keep three, from .7."""
    results = [
        hit(1, 3, HERE, 0.9),
        hit(1, 3, ELSEWHERE, 0.8),
        hit(2, 3, HERE, 0.7),
        hit(2, 3, ELSEWHERE, 0.4),
    ]
    thresholds = own_thresholds(read(tmp_path, two_images()), results)
    assert list(thresholds) == ["cat", "dog"]
    assert thresholds["cat"] == Threshold(0.55, pytest.approx(0.8), pytest.approx(2 / 3), 1.0, 2)
    assert thresholds["dog"] == Threshold(None, 0, 0, 0, 1, "none of its boxes was found")


def test_a_label_without_boxes(tmp_path: Path) -> None:
    content = two_images()
    content["annotations"].pop()
    thresholds = own_thresholds(read(tmp_path, content), [hit(1, 5, HERE, 0.9)])
    assert thresholds["dog"] == Threshold(None, 0, 0, 0, 0, "no box in the ground truth")


def test_a_second_box_on_the_same_object_is_wrong(tmp_path: Path) -> None:
    results = [hit(1, 3, HERE, 0.9), hit(1, 3, HERE, 0.8), hit(2, 3, HERE, 0.3)]
    cat = own_thresholds(read(tmp_path, two_images()), results)["cat"]
    assert (cat.f1, cat.precision, cat.recall) == pytest.approx((0.8, 2 / 3, 1.0))


def test_a_score_of_zero_exceeds_no_threshold(tmp_path: Path) -> None:
    truth = read(tmp_path, two_images())
    assert own_thresholds(truth, [hit(1, 3, HERE, 0.0)])["cat"].reason == "none of its boxes was found"
    assert own_thresholds(truth, [hit(1, 3, HERE, 0.5), hit(2, 3, HERE, 0.0)])["cat"].recall == 0.5


def test_iou_is_the_one_asked_for(tmp_path: Path) -> None:
    truth, results = read(tmp_path, two_images()), [hit(1, 3, [0, 0, 50, 35], 0.9)]
    assert own_thresholds(truth, results, iou=0.7)["cat"].threshold is not None
    assert own_thresholds(truth, results, iou=0.71)["cat"].threshold is None


def test_crowds_count_neither_way(tmp_path: Path) -> None:
    content = two_images()
    content["annotations"][1] = box(2, 2, 3, [0, 0, 100, 100], iscrowd=1)
    results = [hit(2, 3, [10, 10, 10, 10], 0.9), hit(1, 3, HERE, 0.5)]
    cat = own_thresholds(read(tmp_path, content), results)["cat"]
    assert (cat.f1, cat.precision, cat.recall, cat.boxes) == (1, 1, 1, 1)


def test_in_lvis_what_was_not_looked_for_does_not_count(tmp_path: Path) -> None:
    content = two_images()
    content["annotations"] = content["annotations"][:1]
    for image in content["images"]:
        image["neg_category_ids"] = []
    results = [hit(2, 3, HERE, 0.9), hit(1, 3, HERE, 0.5)]
    assert own_thresholds(read(tmp_path, content), results)["cat"].precision == 1
    content["images"][1]["neg_category_ids"] = [3]
    assert own_thresholds(read(tmp_path, content), results)["cat"].precision == 0.5


def test_equal_scores_stand_or_fall_together(tmp_path: Path) -> None:
    results = [hit(1, 3, HERE, 0.5), hit(1, 3, ELSEWHERE, 0.5), hit(2, 3, HERE, 0.5)]
    cat = own_thresholds(read(tmp_path, two_images()), results)["cat"]
    assert (cat.precision, cat.recall) == (pytest.approx(2 / 3), 1)


def test_nothing_is_known_below_the_lowest_score(tmp_path: Path) -> None:
    """Results cut at 0.3 say nothing of 0.2: the threshold stays at or above 0.3 where it can, just below else."""
    truth = read(tmp_path, two_images())
    above = own_thresholds(truth, [hit(1, 3, HERE, 0.5), hit(1, 5, ELSEWHERE, 0.3)])["cat"].threshold
    assert above == pytest.approx(0.4)
    at = own_thresholds(truth, [hit(1, 3, HERE, 0.3)])["cat"].threshold
    assert at is not None
    assert 0.29999 < at < 0.3


def kept_f1(truth: GroundTruth, results: list[dict[str, Any]], label: str, threshold: float) -> tuple[float, ...]:
    """F1, precision and recall at IoU 0.5 of what scores more than `threshold`, counted anew, box by box."""
    (category,) = (category.id for category in truth.categories if category.name == label)
    kept = [row for row in results if row["category_id"] == category and row["score"] > threshold]
    boxes = [row for row in truth.annotations if row["category_id"] == category]
    free, right = [True] * len(boxes), 0
    for row in sorted(kept, key=lambda row: -row["score"]):
        candidates = [
            (overlap, i)
            for i, other in enumerate(boxes)
            if free[i] and other["image_id"] == row["image_id"] and (overlap := iou(row["bbox"], other["bbox"])) >= 0.5
        ]
        if candidates:
            free[max(candidates)[1]] = False
            right += 1
    return 2 * right / (len(kept) + len(boxes)), right / len(kept) if kept else 0, right / len(boxes)


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    return inner / (a[2] * a[3] + b[2] * b[3] - inner)


@given(seed=st.integers(0, 2**32))
@RANDOM
def test_no_other_threshold_is_better(tmp_path: Path, seed: int) -> None:
    content, results = random_set(seed, crowds=False)
    truth = read(tmp_path, content)
    scores = [1.1, *(row["score"] for row in results if row["score"] > 0)]  # in tenths
    for label, best in own_thresholds(truth, results).items():
        if not best.boxes:
            assert best.threshold is None
            continue
        others = max(kept_f1(truth, results, label, score - 0.05)[0] for score in scores)
        assert best.f1 == pytest.approx(others)
        if best.threshold is not None:
            counted = kept_f1(truth, results, label, best.threshold)
            assert counted == pytest.approx((best.f1, best.precision, best.recall))


# --- what few boxes lean on


def boxes_of(cats: int, dogs: int) -> dict[str, Any]:
    """So many cats and dogs, one in each image, and a bird that is in none."""
    content = two_images()
    content["images"] = [{"id": i, "file_name": f"{i}.jpg"} for i in range(1, cats + dogs + 1)]
    content["annotations"] = [box(i, i, 3 if i <= cats else 5, HERE) for i in range(1, cats + dogs + 1)]
    content["categories"].append({"id": 7, "name": "bird"})
    return content


@pytest.mark.parametrize(("dogs", "share"), [(1, 1 / 11), (10, 1 / 2), (30, 3 / 4)])
def test_few_boxes_lean_on_the_pooled_threshold(tmp_path: Path, dogs: int, share: float) -> None:
    """Cats are right at 0.4 and false at 0.2: 0.3; dogs are right at 0.9, false at 0.7: 0.8, alone. Together 0.3."""
    results = [hit(i, 3, HERE, 0.4) for i in range(1, 101)] + [hit(i, 3, ELSEWHERE, 0.2) for i in range(1, 101)]
    results += [hit(i, 5, HERE, 0.9) for i in range(101, 101 + dogs)] + [hit(101, 5, ELSEWHERE, 0.7)]
    found = best_thresholds(read(tmp_path, boxes_of(100, dogs)), results)
    cat, dog, bird = found["cat"], found["dog"], found["bird"]
    assert (cat.threshold, cat.own, cat.pooled) == (0.3, 0.3, 0.3)
    assert (dog.own, dog.pooled) == (0.8, 0.3)
    assert dog.threshold == pytest.approx(share * 0.8 + (1 - share) * 0.3, abs=5e-4)
    wrong = dog.threshold < 0.7
    assert (dog.recall, dog.precision) == (1, dogs / (dogs + wrong))
    assert dog.f1 == pytest.approx(2 * dogs / (2 * dogs + wrong))
    assert (bird.threshold, bird.own, bird.boxes, bird.reason) == (0.3, None, 0, "no box in the ground truth")


def test_a_label_that_was_not_found_takes_the_pooled_threshold(tmp_path: Path) -> None:
    results = [hit(i, 3, HERE, 0.4) for i in range(1, 5)] + [hit(5, 5, ELSEWHERE, 0.9), hit(1, 3, ELSEWHERE, 0.2)]
    dog = best_thresholds(read(tmp_path, boxes_of(4, 1)), results)["dog"]
    assert dog == Threshold(0.3, 0, 0, 0, 1, "none of its boxes was found", None, 0.3)


def test_nothing_is_found_at_all(tmp_path: Path) -> None:
    thresholds = best_thresholds(read(tmp_path, two_images()), [hit(1, 3, ELSEWHERE, 0.9)])
    assert {one.threshold for one in thresholds.values()} == {None}


@given(seed=st.integers(0, 2**32))
@RANDOM
def test_what_is_written_beside_a_threshold_is_what_it_keeps(tmp_path: Path, seed: int) -> None:
    content, results = random_set(seed, crowds=False)
    truth = read(tmp_path, content)
    for label, one in best_thresholds(truth, results).items():
        if one.threshold is None:
            continue
        assert one.pooled is not None
        assert min(one.own or one.pooled, one.pooled) - 1e-3 <= one.threshold <= max(one.own or 0, one.pooled) + 1e-3
        if one.boxes:
            assert kept_f1(truth, results, label, one.threshold) == pytest.approx((one.f1, one.precision, one.recall))


# --- the file

ODD = [
    "cat",
    'a "quoted" \\ one',
    "two\nlines",
    "tab\t",
    "dotted.name",
    "[table]",
    "ü猫🐈",
    "\x7f\x00\x1b",
    "",
    "# no",
]
SOME = Threshold(0.25, 0.5, 0.4, 0.6, 10)
NONE = Threshold(None, 0, 0, 0, 0, "no box in the ground truth")


@given(
    st.dictionaries(
        st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.one_of(st.none(), st.floats(0, 1)),
        max_size=5,
    )
)
@RANDOM
def test_what_is_written_is_read_back(tmp_path: Path, values: dict[str, float | None]) -> None:
    path = tmp_path / "new folder" / "thresholds.toml"
    table = {label: Threshold(value, 0.5, 0.5, 0.5, 3, "nothing") for label, value in values.items()}
    write_thresholds(path, table, source="line\nend")
    assert read_thresholds(path) == {label: value for label, value in values.items() if value is not None}


def test_the_file_is_for_people_too(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    write_thresholds(path, {"cat": SOME, "dog": NONE}, source="truth.json")
    assert path.read_text() == (
        '# Score thresholds with the best F1 for each label, measured on "truth.json"\n\n'
        "[thresholds]\n"
        '"cat" = 0.25  # F1 0.500, precision 0.400, recall 0.600, 10 boxes\n'
        '# "dog": no box in the ground truth\n'
    )
    assert tomllib.loads(path.read_text()) == {"thresholds": {"cat": 0.25}}


def test_half_a_character_in_a_label_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    write_thresholds(path, {"\ud800": SOME})
    assert read_thresholds(path) == {"?": 0.25}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*; choose another"):
        write_thresholds(tmp_path / "file" / "thresholds.toml", {"cat": SOME})


def test_the_file_says_what_a_threshold_leans_on_and_with_which_model(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    leaning = Threshold(0.345, 1, 1, 1, 1, own=0.8, pooled=0.3)
    bird = Threshold(0.3, 0, 0, 0, 0, "no box in the ground truth", None, 0.3)
    write_thresholds(path, {"dog": leaning, "bird": bird}, source="truth.json", model="glip-mini@12345678")
    assert path.read_text() == (
        '# Score thresholds with the best F1 for each label, measured on "truth.json"\n'
        "# A label with n boxes has n / (n + 10) of its own best one and the rest of the pooled one, 0.300\n\n"
        'model = "glip-mini@12345678"\n\n'
        "[thresholds]\n"
        '"dog" = 0.345  # F1 1.000, precision 1.000, recall 1.000, 1 box; its own 0.800\n'
        '"bird" = 0.3  # F1 0.000, precision 0.000, recall 0.000, 0 boxes; no box in the ground truth, so pooled\n'
    )
    assert read_thresholds(path) == {"dog": 0.345, "bird": 0.3}
    assert of_another_model(path, "glip-mini@12345678") == ""
    assert of_another_model(path, "glip-t@0") == (
        f'{path} was measured with "glip-mini@12345678", whose scores are not those of glip-t@0'
    )
    write_thresholds(path, {"dog": leaning})
    assert of_another_model(path, "glip-t@0") == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[thresholds\n", "not TOML"),
        ("cat = 0.5\n", r"has no table \[thresholds\]"),
        ("thresholds = 0.5\n", r"has no table \[thresholds\]"),
        ('[thresholds]\ncat = "high"\n', 'the threshold of "cat" is "high"; it must be from 0 to 1'),
        ("[thresholds]\ncat = 50\n", "is 50; it must be from 0 to 1"),
        ("[thresholds]\ncat = nan\n", "is NaN"),
        ("[thresholds]\ncat = true\n", "is true"),
        ("[thresholds]\ncat.a = 0.5\n", 'the threshold of "cat" is'),
    ],
)
def test_files_that_are_no_thresholds(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "thresholds.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_thresholds(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_thresholds(tmp_path / "missing.toml")
