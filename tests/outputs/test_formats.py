"""Records, and the formats for programs: round trips, known answers, files that are whole or not there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tracemalloc
from itertools import count
from pathlib import Path

import hotcoco
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from glip_cli.data.formats import read_dataset
from glip_cli.outputs.coco import CocoIds
from glip_cli.outputs.files import file_stem
from glip_cli.outputs.formats import WRITERS, CsvWriter, JsonWriter
from glip_cli.outputs.records import Record, error_record, record
from tests.outputs.examples import FOUND, HOSTILE, NOTHING, corners, image, images, left_in, on_disk, write, written_by

# --- records


def test_a_record_is_schema_glip_1() -> None:
    assert record("a.jpg", FOUND, "glip-t@c24ce662") == {
        "schema": "glip/1",
        "image": "a.jpg",
        "width": 640,
        "height": 480,
        "model": "glip-t@c24ce662",
        "prompt": "cat . remote . 犬 .",
        "labels": ["cat", "remote", "犬"],
        "detections": [
            {
                "label": "cat",
                "label_id": 0,
                "score": 0.93,
                "span": [0, 3],
                "box": {"xmin": 1.2, "ymin": 3.4, "xmax": 50.1, "ymax": 60.0},
            },
            {
                "label": "犬",
                "label_id": 2,
                "score": 0.3,
                "span": [15, 16],
                "box": {"xmin": 0.0, "ymin": 0.123, "xmax": 640.0, "ymax": 480.0},
            },
        ],
    }


def test_floats_stay_floats_and_an_empty_image_has_an_empty_list() -> None:
    assert '"ymax": 480.0}' in json.dumps(record("a.jpg", FOUND, "m"))
    assert record("a.jpg", NOTHING, "m")["detections"] == []


def test_an_error_record() -> None:
    expected = {"schema": "glip/1", "image": "a.jpg", "model": "m", "error": "a.jpg: no such file"}
    assert error_record("a.jpg", "a.jpg: no such file", "m") == expected


@given(st.text(st.characters()))
def test_any_name_makes_valid_json(name: str) -> None:
    json.dumps(record(name, NOTHING, "m"), ensure_ascii=False).encode("utf-8")
    json.dumps(error_record(name, name, "m"), ensure_ascii=False).encode("utf-8")


# --- writers


def test_jsonl_round_trip(tmp_path: Path) -> None:
    records = [record("a.jpg", FOUND, "m"), error_record("b.jpg", "b.jpg: empty", "m"), record("c.jpg", NOTHING, "m")]
    files = write(WRITERS["jsonl"], tmp_path, *records)
    assert list(files) == ["results.jsonl"]
    assert [json.loads(line) for line in files["results.jsonl"].splitlines()] == records
    assert "犬" in files["results.jsonl"]


def test_json_round_trip(tmp_path: Path) -> None:
    records = [record("a/x.jpg", FOUND, "m"), record("b/x.png", NOTHING, "m"), error_record("y.jpg", "y.jpg: bad", "m")]
    files = write(WRITERS["json"], tmp_path, *records)
    assert list(files) == ["preds/a/x.json", "preds/b/x.json", "preds/y.json"]
    assert [json.loads(files[f"preds/{name}.json"]) for name in ("a/x", "b/x", "y")] == records


def test_mmdet(tmp_path: Path) -> None:
    files = write(
        WRITERS["mmdet"],
        tmp_path,
        record("x.jpg", FOUND, "m"),
        error_record("b.jpg", "bad", "m"),
        record("c.jpg", NOTHING, "m"),
    )
    assert json.loads(files.pop("mmdet_classes.json")) == ["cat", "remote", "犬"]
    assert list(files) == ["preds/c.json", "preds/x.json"]
    assert json.loads(files["preds/c.json"]) == {"labels": [], "scores": [], "bboxes": []}
    assert json.loads(files["preds/x.json"]) == {
        "labels": [0, 2],
        "scores": [0.93, 0.3],
        "bboxes": [[1.2, 3.4, 50.1, 60.0], [0.0, 0.123, 640.0, 480.0]],
    }


def test_coco_results(tmp_path: Path) -> None:
    names = ["val/000000039769.jpg", "dog.jpg", "a/2.jpg", "b/2.jpg"]
    files = write(
        WRITERS["coco-results"],
        tmp_path,
        *(record(name, FOUND, "m") for name in names),
        error_record("7.jpg", "bad", "m"),
    )
    results, images = json.loads(files["coco_results.json"]), json.loads(files["coco_images.json"])
    assert results[0] == {"image_id": 39769, "category_id": 1, "bbox": [1.2, 3.4, 48.9, 56.6], "score": 0.93}
    assert results[1]["category_id"] == 3
    assert [image["id"] for image in images["images"]] == [39769, 2, 3, 4]
    assert images["images"][1] == {"id": 2, "file_name": "dog.jpg", "width": 640, "height": 480}
    assert images["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "remote"}, {"id": 3, "name": "犬"}]


@given(st.lists(st.sampled_from(["1.jpg", "2.jpg", "a/1.png", "x.jpg", "3.jpg", "٣.jpg", "²"]), max_size=12))
def test_coco_image_ids_are_never_shared(names: list[str]) -> None:
    """The place in the run, or the next number that is free, however long the row of those that are taken."""
    ids, taken = CocoIds(), set[int]()
    for place, name in enumerate(names, 1):
        number = int(file_stem(name)) if file_stem(name) in ("1", "2", "3") else place
        if number in taken:
            number = next(free for free in count(place) if free not in taken)
        taken.add(number)
        assert ids.image(record(name, NOTHING, "m"))["id"] == number


def test_coco_gives_a_label_that_repeats_one_category(tmp_path: Path) -> None:
    repeated = image("1.jpg", [[0, 0, 1, 1]] * 3, ["cat", "dog", "cat"], [0, 1, 2])
    files = write(WRITERS["coco-results"], tmp_path, repeated)
    assert [result["category_id"] for result in json.loads(files["coco_results.json"])] == [1, 2, 1]
    assert json.loads(files["coco_images.json"])["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def test_coco_keeps_categories_apart_where_images_have_labels_of_their_own(tmp_path: Path) -> None:
    first, second = (
        image("1.jpg", [[0, 0, 1, 1]], ["cat"]),
        image("2.jpg", [[0, 0, 1, 1]] * 2, ["dog", "cat"], [0, 1]),
    )
    files = write(WRITERS["coco-results"], tmp_path, first, second)
    assert [result["category_id"] for result in json.loads(files["coco_results.json"])] == [1, 2, 1]
    assert [category["name"] for category in json.loads(files["coco_images.json"])["categories"]] == ["cat", "dog"]


def test_the_coco_files_load_as_data_set_and_results(tmp_path: Path) -> None:
    write(WRITERS["coco-results"], tmp_path, record("17.jpg", FOUND, "m"), record("x.jpg", NOTHING, "m"))
    data = hotcoco.COCO(str(tmp_path / "coco_images.json"))
    results = data.load_res(str(tmp_path / "coco_results.json"))
    assert {row["file_name"] for row in data.load_imgs(data.get_img_ids())} == {"17.jpg", "x.jpg"}
    assert {row["image_id"] for row in results.load_anns(results.get_ann_ids())} == {17}


def test_coco_is_a_data_set(tmp_path: Path) -> None:
    names = ["val/000000039769.jpg", "dog.jpg"]
    made = [
        *(record(name, FOUND, "m") for name in names),
        error_record("7.jpg", "bad", "m"),
        record("x.jpg", NOTHING, "m"),
    ]
    (text,) = write(WRITERS["coco"], tmp_path, *made).values()
    data = json.loads(text)
    assert data["annotations"][0] == {
        "id": 1, "image_id": 39769, "category_id": 1, "bbox": [1.2, 3.4, 48.9, 56.6], "area": 2767.74,
        "segmentation": [], "iscrowd": 0, "score": 0.93,
    }  # fmt: skip
    assert [box["id"] for box in data["annotations"]] == [1, 2, 3, 4]
    assert [(image["id"], image["file_name"]) for image in data["images"]] == [
        (39769, "val/000000039769.jpg"), (2, "dog.jpg"), (4, "x.jpg")
    ]  # fmt: skip
    assert [category["name"] for category in data["categories"]] == ["cat", "remote", "犬"]
    read = hotcoco.COCO(str(tmp_path / "coco.json"))
    assert len(read.load_anns(read.get_ann_ids())) == 4


def test_a_coco_data_set_is_read_as_one(tmp_path: Path) -> None:
    """What finetune and eval read."""
    write(WRITERS["coco"], tmp_path, record("1.jpg", FOUND, "m"), record("2.jpg", NOTHING, "m"))
    data = read_dataset(tmp_path / "coco.json", tmp_path)
    assert [image.file_name for image in data.images] == ["1.jpg", "2.jpg"]
    assert [row["bbox"] for row in data.annotations] == [[1.2, 3.4, 48.9, 56.6], [0.0, 0.123, 640.0, 479.877]]


def test_parquet(tmp_path: Path) -> None:
    made = [record("x.jpg", FOUND, "m"), error_record("b.jpg", "bad", "m"), record("c.jpg", NOTHING, "m")]
    writer = WRITERS["parquet"](tmp_path)
    for one in made:
        writer.add(one, "")
    writer.close()
    assert parquet.read_table(tmp_path / "results.parquet").to_pylist() == [
        {"image": "x.jpg", "width": 640, "height": 480, "label": "cat", "label_id": 0, "score": 0.93,
         "xmin": 1.2, "ymin": 3.4, "xmax": 50.1, "ymax": 60.0},
        {"image": "x.jpg", "width": 640, "height": 480, "label": "犬", "label_id": 2, "score": 0.3,
         "xmin": 0.0, "ymin": 0.123, "xmax": 640.0, "ymax": 480.0},
    ]  # fmt: skip


def test_csv(tmp_path: Path) -> None:
    files = write(
        WRITERS["csv"],
        tmp_path,
        record("x.jpg", FOUND, "m"),
        error_record("b.jpg", "bad", "m"),
        record("c.jpg", NOTHING, "m"),
    )
    assert files == {
        "results.csv": "image,label,score,xmin,ymin,xmax,ymax\r\n"
        "x.jpg,cat,0.93,1.2,3.4,50.1,60.0\r\n"
        "x.jpg,犬,0.3,0.0,0.123,640.0,480.0\r\n"
    }


def test_csv_quotes_what_needs_it_and_changes_nothing(tmp_path: Path) -> None:
    made = image("=a,b.jpg", [[0, 0, 1, 1]] * 2, ['say "hi"', "-x"], [0, 1])
    lines = write(CsvWriter, tmp_path, made)["results.csv"].splitlines()
    assert lines[1:] == ['"=a,b.jpg","say ""hi""",0.9,0.0,0.0,1.0,1.0', '"=a,b.jpg",-x,0.1,0.0,0.0,1.0,1.0']


@on_disk
@given(st.lists(images(), max_size=3))
def test_csv_round_trip(made: list[Record]) -> None:
    text = written_by(CsvWriter, *made)["results.csv"]
    rows = [
        (
            row["image"],
            row["label"],
            float(row["score"]),
            [float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")],
        )
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]
    assert rows == [
        (one["image"], found["label"], found["score"], box)
        for one in made
        for found, box in zip(one["detections"], corners(one), strict=True)
    ]


# --- all


@pytest.mark.parametrize("form", WRITERS)
def test_a_run_without_a_image_leaves_files_that_can_be_read(form: str, tmp_path: Path) -> None:
    of_nothing = hashlib.sha256(b"[]\n").hexdigest()
    nothing: dict[str, object] = {"images": [], "categories": []}
    info = {"description": "Detections of glip", "version": "glip/1"}
    empty = ([], {**nothing, "results_sha256": of_nothing}, {**nothing, "annotations": [], "info": info})
    for name, text in write(WRITERS[form], tmp_path).items():
        assert not name.endswith(".json") or json.loads(text) in empty


@pytest.mark.parametrize("form", WRITERS)
def test_hostile_names_and_labels_leave_no_temporary_file_and_valid_utf8(form: str, tmp_path: Path) -> None:
    everything = image("x", [[0, 0, 9, 9]] * len(HOSTILE), HOSTILE, range(len(HOSTILE)))
    files = write(WRITERS[form], tmp_path, *(Record({**everything, "image": name}) for name in HOSTILE))
    assert files
    assert not [name for name in files if name.endswith(".tmp")]


@pytest.mark.parametrize("form", ["jsonl", "coco", "coco-results", "csv", "cvat", "labelstudio", "html"])
def test_what_was_written_is_not_kept_in_memory(form: str, tmp_path: Path) -> None:
    boxes = [[x, x, x + 9, x + 9] for x in range(100)]
    writer = WRITERS[form](tmp_path)
    writer.add(image("first.jpg", boxes), "first")
    tracemalloc.start()
    for i in range(200):
        writer.add(image(f"{i}.jpg", boxes), str(i))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    writer.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 500_000
    assert kept < 100_000


@pytest.mark.parametrize("form", ["jsonl", "coco", "coco-results", "yolo", "cvat", "labelstudio", "csv", "html"])
def test_nothing_appears_before_it_is_whole(form: str, tmp_path: Path) -> None:
    old = write(WRITERS[form], tmp_path, record("old.jpg", FOUND, "m"))
    writer = WRITERS[form](tmp_path)
    writer.add(record("new.jpg", NOTHING, "m"), "new")
    before = left_in(tmp_path)
    writer.close()
    assert {name: before[name] for name in old} == old
    assert {name: left_in(tmp_path)[name] for name in old} != old


def test_a_name_that_is_not_unicode_is_written(tmp_path: Path) -> None:
    files = write(JsonWriter, tmp_path, record("caf\udce9.jpg", NOTHING, "m"))
    (text,) = files.values()
    assert json.loads(text)["image"] == "caf\\udce9.jpg"
