"""Annotation files with anything in the wrong place: read, or a DataError of one line that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_cli.data.synthetic import draw_scene
from glip_cli.errors import DataError
from glip_cli.evaluation.calibrate import read_thresholds
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.evaluation.results import read_predictions
from glip_cli.evaluation.scores import coco_scores
from glip_cli.training.dataset import read_train_set
from tests.hardening.mutate import altered, damaged
from tests.hardening.robustness import COCO, CSV, GROUNDING, RECORD, RESULTS, THRESHOLDS, VOC, YAML, YOLO

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images, and room for one file."""
    folder = tmp_path_factory.mktemp("json")
    for number in (1, 2):
        draw_scene(np.random.default_rng(number)).image.save(folder / f"{number}.png")
    return folder


def write(path: Path, content: Any) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode("utf-8", "surrogatepass"))
    return path


def attempt(read: Callable[[Path], Any], path: Path) -> Any:
    """What was read, or None; any other exception than DataError goes through."""
    try:
        return read(path)
    except DataError as error:
        return one_line(error, path)


def one_line(error: DataError, path: Path) -> None:
    text = str(error)
    assert len(text.splitlines()) == 1, text
    assert path.name in text
    assert len(text) < 1000


def scored(path: Path) -> None:
    """Read as ground truth, and everything that an evaluation does with it."""
    truth = read_ground_truth(path)
    truth.to_coco()
    assert len(truth.labels) == len(truth.promptable)
    known = [row for row in RESULTS if row["image_id"] in {image.id for image in truth.images}]
    known = [row for row in known if row["category_id"] in {category.id for category in truth.categories}]
    coco_scores(truth, read_predictions(write(path.with_name("plain.json"), known), truth).results)


def trained(path: Path) -> None:
    found, findings = read_train_set(path)
    assert findings.boxes == sum(len(item.boxes) for item in found.items)


def fuzz(strategy: st.SearchStrategy[Any], read: Callable[[Path], Any], path: Path, count: int) -> None:
    @settings(max_examples=count, database=None, suppress_health_check=QUIET)
    @given(strategy)
    def check(content: Any) -> None:
        attempt(read, write(path, content))

    check()


def results_of(path: Path) -> None:
    read_predictions(path, read_ground_truth(write(path.with_name("truth.json"), COCO)))


CASES: dict[str, tuple[Any, Callable[[Path], Any]]] = {
    "ground truth": (COCO, scored),
    "results": (RESULTS, results_of),
    "training, COCO": (COCO, trained),
    "training, grounding": (GROUNDING, trained),
}


@pytest.mark.parametrize("case", CASES)
def test_whole(folder: Path, case: str) -> None:
    whole, read = CASES[case]
    read(write(folder / "case.json", whole))


@pytest.mark.parametrize("case", CASES)
def test_altered(folder: Path, case: str) -> None:
    whole, read = CASES[case]
    fuzz(altered(whole), read, folder / "case.json", 80)


@pytest.mark.parametrize("case", CASES)
def test_damaged(folder: Path, case: str) -> None:
    whole, read = CASES[case]
    fuzz(damaged(json.dumps(whole).encode()), read, folder / "case.json", 40)


def test_a_name_that_no_file_can_have_is_a_image_that_is_missing(folder: Path) -> None:
    rows = [{**COCO["images"][0], "file_name": "a" * 300}, COCO["images"][1]]
    found, findings = read_train_set(write(folder / "case.json", COCO | {"images": rows}))
    assert len(found) == 1
    assert findings.rows[0].count == 1


@given(altered(RECORD))
@settings(max_examples=100, derandomize=True, suppress_health_check=QUIET)
def test_altered_records(folder: Path, record: Any) -> None:
    attempt(results_of, write(folder / "case.jsonl", record))


@given(damaged(THRESHOLDS))
@settings(max_examples=100, derandomize=True, suppress_health_check=QUIET)
def test_damaged_thresholds(folder: Path, content: bytes) -> None:
    attempt(read_thresholds, write(folder / "case.toml", content))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image as YOLO and as VOC have it."""
    root = tmp_path_factory.mktemp("others")
    files = {"yolo/data.yaml": YAML, "yolo/labels/1.txt": YOLO, "voc/Annotations/1.xml": VOC, "csv/x.csv": CSV}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    for name in ("yolo/images", "voc/JPEGImages", "csv"):
        (root / name).mkdir(exist_ok=True)
        draw_scene(np.random.default_rng(1)).image.save(root / name / "1.png")
    return root


@pytest.mark.parametrize(
    ("name", "whole"),
    [("yolo/data.yaml", YAML), ("yolo/labels/1.txt", YOLO), ("voc/Annotations/1.xml", VOC), ("csv/x.csv", CSV)],
)
def test_damaged_training_sets(others: Path, name: str, whole: bytes) -> None:
    root = others / name.partition("/")[0]

    def read(path: Path) -> None:
        trained(root)

    try:
        read(write(others / name, whole))
        fuzz(damaged(whole), read, others / name, 60)
    finally:
        write(others / name, whole)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_altered_for_long(folder: Path, case: str) -> None:
    whole, read = CASES[case]
    fuzz(altered(whole, most=5), read, folder / "case.json", 4000)
    fuzz(damaged(json.dumps(whole).encode()), read, folder / "case.json", 2000)
