from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import GroundTruth, read_ground_truth
from glip_cli.evaluation.results import Results, read_predictions
from glip_cli.evaluation.scores import coco_scores
from glip_cli.outputs.coco import CocoResultsWriter, CocoWriter
from glip_cli.outputs.formats import JsonlWriter
from glip_cli.outputs.records import AnyRecord, error_record, record
from glip_cli.types import Detections
from tests.evaluation.datasets import damaged, hit, random_set, read, saved, two_images
from tests.evaluation.test_ground_truth import JSON

ONE = hit(1, 3, [1, 2, 30, 40], 0.5)


@pytest.fixture
def truth(tmp_path: Path) -> GroundTruth:
    return read(tmp_path, two_images())


def of_words(image: str, label: str, labels: tuple[str, ...] = ("dog", "cat")) -> AnyRecord:
    """A record of one detection, the box of `ONE`, as glip makes them; the labels in an order of their own."""
    found = Detections(
        boxes=np.array([[1, 2, 31, 42]], dtype=np.float32),
        scores=np.array([0.5], dtype=np.float32),
        label_ids=np.array([labels.index(label)], dtype=np.int64),
        labels=labels,
        text=". ".join(labels),
        spans=tuple((0, 1) for _ in labels),
        size=(200, 100),
    )
    return record(image, found, "glip-mini")


def written(folder: Path, writer: type, records: list[AnyRecord]) -> Path:
    out = writer(folder)
    for item in records:
        out.add(item, "")
    out.close()
    return folder / {JsonlWriter: "results.jsonl", CocoWriter: "coco.json"}.get(writer, "coco_results.json")


def read_results(path: Path, truth: GroundTruth) -> Results:
    return read_predictions(path, truth).results


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_list_comes_back_as_it_is(tmp_path: Path, seed: int) -> None:
    content, results = random_set(seed)
    assert read_results(saved(tmp_path, results, "results.json"), read(tmp_path, content)) == results


def test_ids_in_words_and_keys_too_many(tmp_path: Path, truth: GroundTruth) -> None:
    entry = {**ONE, "image_id": "1", "category_id": "3", "area": 7, "id": 12, "segmentation": []}
    assert read_results(saved(tmp_path, [entry], "results.json"), truth) == [ONE]


@pytest.mark.parametrize("odd", [[150, 60, 180, 90], [0.1, 0.2, 0.3, 0.4]], ids=["corners", "shares"])
def test_results_of_which_most_boxes_do_not_lie_in_their_images(
    tmp_path: Path, truth: GroundTruth, odd: list[float]
) -> None:
    few = read_predictions(saved(tmp_path, [ONE, hit(1, 3, odd, 0.5)], "results.json"), truth)
    assert few.notes == ()
    (note,) = read_predictions(
        saved(tmp_path, [ONE, hit(1, 3, odd, 0.5), hit(1, 3, odd, 0.4)], "results.json"), truth
    ).notes
    assert note.startswith("2 of 3 boxes of the results reach over the edge or are no larger than a pixel; first [")
    assert note.endswith("] in 200 x 100; a box is [x, y, width, height] in pixels")


def test_no_results(tmp_path: Path, truth: GroundTruth) -> None:
    assert read_results(saved(tmp_path, [], "results.json"), truth) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, r"entry 1: truth\.json has no image 9; these are results of other images"),
        ({"category_id": 1}, r"entry 1: truth\.json has no category 1; these are results of other categories"),
        ({"image_id": "a"}, r'entry 1: image_id is "a"; ids must be whole numbers'),
        ({"score": float("nan")}, r"entry 1: score is NaN; it must be a finite number"),
        ({"score": None}, r"entry 1: score is null"),
        ({"score": "0.5"}, r'entry 1: score is "0\.5"; it must be a finite number, without quotes'),
        ({"score": True}, r"entry 1: score is true"),
        ({"bbox": ["1", "2", "3", "4"]}, r'entry 1: bbox is "1"; it must be a finite number, without quotes'),
        ({"bbox": [1, 2, -3, 4]}, r"entry 1: bbox is \[1, 2, -3, 4\]; its width and height must not be negative"),
        ({"bbox": [1, 2, 3, -0.5]}, r"entry 1: bbox is \[1, 2, 3, -0\.5\]; its width and height must not"),
        ({"bbox": [1, 2, True, 4]}, r"entry 1: bbox is true"),
        ({"bbox": [[1, 2, 3, 4]]}, r"entry 1: bbox is \[\[1, 2, 3, 4\]\]; a box is"),
        ({"bbox": [1, 2, [3], 4]}, r"entry 1: bbox is \[3\]"),
        ({"bbox": {"x": 1}}, r"entry 1: bbox is .*; a box is"),
        ({"bbox": "1 2 3 4"}, r'entry 1: bbox is "1 2 3 4"; a box is'),
        ({"bbox": [1, 2, 3]}, r"entry 1: bbox is \[1, 2, 3\]; a box is"),
        ({"bbox": [1, 2, 3, float("inf")]}, r"entry 1: bbox is Infinity"),
    ],
)
def test_entries_that_cannot_be_are_numbered(
    tmp_path: Path, truth: GroundTruth, change: dict[str, Any], message: str
) -> None:
    path = saved(tmp_path, [ONE, {**ONE, **change}], "results.json")
    with pytest.raises(DataError, match=message) as caught:
        read_results(path, truth)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([ONE, 3], "entry 1 is 3, not an object"),
        ([{"image_id": 1, "category_id": 3, "score": 1}], "entry 0 has no 'bbox'"),
        ({"annotations": []}, "this is ground truth"),
        ({"a": 1}, "is no list of results"),
        ("text", '"text" is no list of results'),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, truth: GroundTruth, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_results(saved(tmp_path, content, "results.json"), truth)


def test_a_list_cut_short(tmp_path: Path, truth: GroundTruth) -> None:
    path = saved(tmp_path, [ONE], "results.json")
    path.write_text(path.read_text()[:-5])
    with pytest.raises(DataError, match="not a whole JSON file"):
        read_results(path, truth)


# --- what glip itself writes: ids that mean something else, or names


@pytest.mark.parametrize("writer", [CocoWriter, CocoResultsWriter, JsonlWriter])
@pytest.mark.parametrize("image", ["1.jpg", "/data/images/1.jpg", "C:\\images\\1.jpg", "http://host/a/1.jpg?size=9#x"])
def test_what_glip_writes_is_read_by_names(tmp_path: Path, truth: GroundTruth, writer: type, image: str) -> None:
    """2.jpg comes first and cat second: neither id of the files is the ground truth's."""
    records = [of_words("2.jpg", "dog"), error_record("3.jpg", "cut short", "glip-mini"), of_words(image, "cat")]
    path = written(tmp_path / "out", writer, records)
    assert read_results(path, truth) == [{**ONE, "image_id": 2, "category_id": 5}, ONE]


def test_coco_images_beside_decide_over_ids(tmp_path: Path) -> None:
    """Ids of the run's own, each of which means another thing in the ground truth."""
    content = two_images()
    content["images"][0]["file_name"], content["images"][1]["file_name"] = "first.jpg", "second.jpg"
    path = written(tmp_path / "out", CocoResultsWriter, [of_words("second.jpg", "dog"), of_words("first.jpg", "cat")])
    assert json.loads(path.read_text())[0]["image_id"] == 1
    assert [row["image_id"] for row in read_results(path, read(tmp_path, content))] == [2, 1]


@pytest.mark.parametrize("writer", [CocoWriter, CocoResultsWriter, JsonlWriter])
def test_images_of_one_name_are_told_apart_by_folders(tmp_path: Path, writer: type) -> None:
    content = two_images()
    content["images"][0]["file_name"], content["images"][1]["file_name"] = "a/x.jpg", "b/x.jpg"
    truth = read(tmp_path, content)
    path = written(tmp_path / "out", writer, [of_words("in/b/x.jpg", "cat"), of_words("in/a/x.jpg", "cat")])
    assert [row["image_id"] for row in read_results(path, truth)] == [2, 1]
    path = written(tmp_path / "out", writer, [of_words("x.jpg", "cat")])
    with pytest.raises(DataError, match=r'"x\.jpg": truth\.json has 2 images of this name; give paths with folders'):
        read_results(path, truth)


def test_many_images_of_one_name_are_found_without_looking_at_all_of_them(tmp_path: Path) -> None:
    """Frames of clips: the time must not rise with the square of their number, or this test takes minutes."""
    count = 20_000
    content = two_images()
    content["images"] = [{"id": i, "file_name": f"clips/{i}/0.jpg"} for i in range(1, count + 1)]
    content["annotations"] = []
    nothing = [
        {**error_record(f"in/clips/{i}/0.jpg", "cut short", "glip-mini"), "image": f"in/clips/{i}/0.jpg"}
        for i in range(1, count)
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in nothing))
    found = read_predictions(path, read(tmp_path, content))
    assert (len(found.failed), found.absent) == (count - 1, (count,))


def test_lvis_images_are_known_by_their_url(tmp_path: Path) -> None:
    content = two_images()
    content["images"][0].update(file_name="COCO_val2014_1.jpg", coco_url="http://images/val2017/1.jpg")
    path = written(tmp_path / "out", JsonlWriter, [of_words("val2017/1.jpg", "cat")])
    assert read_results(path, read(tmp_path, content)) == [ONE]


@pytest.mark.parametrize("writer", [CocoWriter, CocoResultsWriter, JsonlWriter])
@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([of_words("9.jpg", "cat")], r'"9\.jpg": truth\.json has no image of this name'),
        ([of_words("1.jpg", "cow", ("cow",))], r'label "cow": truth\.json has no such category'),
        ([of_words("a/1.jpg", "cat"), of_words("b/1.jpg", "cat")], r'"b/1\.jpg" and "a/1\.jpg" are both image 1'),
    ],
)
def test_names_that_mean_nothing_or_two_things(
    tmp_path: Path, truth: GroundTruth, writer: type, records: list[AnyRecord], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_results(written(tmp_path / "out", writer, records), truth)


def test_a_image_without_detections_need_not_be_known(tmp_path: Path, truth: GroundTruth) -> None:
    none: Any = {**of_words("9.jpg", "cat"), "detections": []}
    path = written(tmp_path / "out", JsonlWriter, [none, of_words("1.jpg", "cat")])
    assert read_results(path, truth) == [ONE]


@pytest.mark.parametrize("kind", ["list", CocoWriter, CocoResultsWriter, JsonlWriter])
def test_results_given_twice_are_noted(tmp_path: Path, truth: GroundTruth, kind: Any) -> None:
    """Alike in class, box and score; another score is another result."""
    others = [{**ONE, "score": 0.4}, {**ONE, "category_id": 5}, {**ONE, "image_id": 2}]
    if kind == "list":
        path = saved(tmp_path, [ONE, *others, ONE, ONE])
    else:
        once = of_words("1.jpg", "cat")
        twice: Any = {**once, "detections": [*once["detections"]] * 3}  # type: ignore[typeddict-item]
        path = written(tmp_path / "out", kind, [twice, of_words("2.jpg", "cat")])
    found = read_predictions(path, truth)
    assert found.results.count(ONE) == 3  # type: ignore[arg-type]
    note = (
        "results given twice with one class, box and score: 2, first image 1, [1.0, 2.0, 30.0, 40.0] (each is counted)"
    )
    assert found.notes == (note,)


@pytest.mark.parametrize("writer", [CocoWriter, CocoResultsWriter])
def test_an_image_that_a_file_of_results_lists_under_two_ids_is_noted(
    tmp_path: Path, truth: GroundTruth, writer: type
) -> None:
    found = read_predictions(written(tmp_path / "out", writer, [of_words("1.jpg", "cat")] * 2), truth)
    assert found.results == [ONE, ONE]
    assert found.notes == (
        "results given twice with one class, box and score: 1, first image 1, [1.0, 2.0, 30.0, 40.0] (each is counted)",
        'images that the file of results lists under several ids: 1, first "1.jpg", ids 1 and 2 (their results are '
        "taken together)",
    )


def test_a_image_on_two_lines(tmp_path: Path, truth: GroundTruth) -> None:
    failed, right = error_record("1.jpg", "cut short", "glip-mini"), of_words("1.jpg", "cat")
    assert read_results(written(tmp_path / "out", JsonlWriter, [failed, right]), truth) == [ONE]
    with pytest.raises(DataError, match=r'line 3: "1\.jpg" is in line 2 too'):
        read_results(written(tmp_path / "out", JsonlWriter, [failed, right, right]), truth)


def test_two_categories_of_one_name(tmp_path: Path) -> None:
    content = two_images()
    content["categories"][1]["name"] = "cat"
    truth = read(tmp_path, content)
    with pytest.raises(DataError, match="has 2 categories of this name"):
        read_results(written(tmp_path / "out", JsonlWriter, [of_words("1.jpg", "cat")]), truth)
    out = tmp_path / "same ids"
    out.mkdir()
    (out / "coco_results.json").write_text(json.dumps([ONE]))
    assert read_results(out / "coco_results.json", truth) == [ONE]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"schema": "glip/1", "ima', "line 2 is no JSON"),
        ('{"schema": "glip/2", "image": "1.jpg"}', "line 2 is no glip/1 record"),
        ("[]", "line 2 is no glip/1 record"),
        ('{"schema": "glip/1", "image": "2.jpg", "detections": [{"label": "cat"}]}', "line 2: detection 0 lacks"),
        ('{"schema": "glip/1", "image": "2.jpg", "detections": 3}', "line 2: its detections are no list"),
        (
            '{"schema": "glip/1", "image": "2.jpg", "detections": [{"label": "cat", "score": 0.5, "box": {"xmin": 9, '
            '"ymin": 0, "xmax": 1, "ymax": 5}}]}',
            "line 2: detection 0: box is .*; its width and height must not be negative",
        ),
    ],
)
def test_lines_that_are_no_records(tmp_path: Path, truth: GroundTruth, line: str, message: str) -> None:
    path = written(tmp_path / "out", JsonlWriter, [of_words("1.jpg", "cat")])
    path.write_text(path.read_text() + line)
    with pytest.raises(DataError, match=message):
        read_results(path, truth)


@pytest.mark.parametrize("content", [[], {"images": 3, "categories": []}, {"images": [{"id": 1}], "categories": []}])
def test_coco_images_that_say_nothing(tmp_path: Path, truth: GroundTruth, content: object) -> None:
    saved(tmp_path, content, "coco_images.json")
    with pytest.raises(DataError, match=r"coco_images\.json: .*write the results again as format coco"):
        read_results(saved(tmp_path, [ONE], "coco_results.json"), truth)


def test_coco_images_of_another_run(tmp_path: Path, truth: GroundTruth) -> None:
    """As older versions wrote it, without the digest of its results."""
    path = written(tmp_path / "out", CocoResultsWriter, [of_words("1.jpg", "cat")])
    beside = json.loads((tmp_path / "out" / "coco_images.json").read_text())
    del beside["results_sha256"]
    saved(tmp_path / "out", beside, "coco_images.json")
    assert read_results(path, truth) == [ONE]
    saved(tmp_path / "out", [{**ONE, "image_id": 77}], "coco_results.json")
    with pytest.raises(DataError, match=r"coco_images\.json beside it does not have the id 77"):
        read_results(path, truth)


@pytest.mark.parametrize("name", ["yolo.json", "coco_results.json"])
@pytest.mark.parametrize("with_digest", [True, False])
def test_coco_images_serve_their_own_file_only(
    tmp_path: Path, truth: GroundTruth, name: str, with_digest: bool
) -> None:
    """Another tool's results, with the ids of the ground truth: beside a run's own, or in their place."""
    written(tmp_path / "out", CocoResultsWriter, [of_words("2.jpg", "dog"), of_words("1.jpg", "cat")])
    if not with_digest:
        beside = json.loads((tmp_path / "out" / "coco_images.json").read_text())
        del beside["results_sha256"]
        saved(tmp_path / "out", beside, "coco_images.json")
        if name == "coco_results.json":
            pytest.skip("of the name alone nothing can be told")
    theirs = [hit(1, 3, [0, 0, 50, 50], 0.9), hit(2, 3, [0, 0, 50, 50], 0.9), hit(1, 5, [100, 0, 40, 40], 0.9)]
    found = read_predictions(saved(tmp_path / "out", theirs, name), truth)
    assert found.results == theirs
    assert coco_scores(truth, found.results).summary["AP"] == pytest.approx(1)
    assert found.notes == (
        f"{tmp_path}/out/coco_images.json is of another file; the ids of {name} are taken as those of truth.json",
    )


def test_a_run_s_own_results_under_another_name(tmp_path: Path, truth: GroundTruth) -> None:
    path = written(tmp_path / "out", CocoResultsWriter, [of_words("2.jpg", "dog"), of_words("1.jpg", "cat")])
    found = read_predictions(path.rename(path.with_name("mine.json")), truth)
    assert found.results == [{**ONE, "image_id": 2, "category_id": 5}, ONE]
    assert found.notes == ()


@pytest.mark.parametrize("writer", [CocoWriter, CocoResultsWriter, JsonlWriter])
def test_images_that_were_not_evaluated(tmp_path: Path, writer: type) -> None:
    content = two_images()
    content["images"] += [{"id": i, "file_name": f"{i}.jpg"} for i in (3, 4)]
    nothing: Any = {**of_words("2.jpg", "cat"), "detections": []}
    records = [of_words("1.jpg", "cat"), nothing, error_record("3.jpg", "cut short", "glip-mini")]
    found = read_predictions(written(tmp_path / "out", writer, records), read(tmp_path, content))
    lost = ((3,), (4,)) if writer is JsonlWriter else ((), (3, 4))  # COCO's files have no errors
    assert (found.failed, found.absent) == lost


@given(place=st.integers(0, 10_000), value=JSON, kind=st.sampled_from(["list", "images", "lines", "data set"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_read_or_refused_in_one_line(tmp_path: Path, place: int, value: object, kind: str) -> None:
    truth = read_ground_truth(saved(tmp_path, two_images()))
    records = [of_words("1.jpg", "cat"), of_words("2.jpg", "dog")]
    if kind == "lines":
        lines = [damaged(records[0], place, value), records[1]]
        path = tmp_path / "results.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
    else:
        path = written(tmp_path / kind, CocoWriter if kind == "data set" else CocoResultsWriter, records)
        target = path.with_name("coco_images.json") if kind == "images" else path
        saved(target.parent, damaged(json.loads(target.read_text()), place, value), target.name)
    try:
        for row in read_results(path, truth):
            assert row["image_id"] in (1, 2)
            assert row["category_id"] in (3, 5)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
