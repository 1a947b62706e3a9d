"""Records and the files made from them: round trips, names that collide, files that are whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_cli.output.formats import WRITERS, CocoWriter, FileNames, JsonWriter, Writer, file_stem, safe_name, written
from glip_cli.output.records import AnyRecord, error_record, record
from glip_cli.types import Detections

FOUND = Detections(
    boxes=np.array([[1.2, 3.4, 50.1, 60.0], [0.0, 0.1234567, 640.0, 480.0]], np.float32),
    scores=np.array([0.93, 0.3000001], np.float32),
    label_ids=np.array([0, 2]),
    labels=("cat", "remote", "犬"),
    spans=((0, 3), (6, 12), (15, 16)),
    text="cat . remote . 犬 .",
    size=(640, 480),
)
NOTHING = Detections(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("cat",), ((0, 3),), "cat .", (8, 6)
)


def write(writer: Callable[[Path], Writer], folder: Path, *records: AnyRecord) -> dict[str, object]:
    """Every file that the writer left, by its path in the folder; none is temporary."""
    opened = writer(folder)
    for one in records:
        opened.add(one)
    opened.close()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


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


def test_floats_stay_floats_and_an_empty_picture_has_an_empty_list() -> None:
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
    assert list(files) == ["preds/x-2.json", "preds/x.json", "preds/y.json"]
    assert [json.loads(files[f"preds/{name}.json"]) for name in ("x", "x-2", "y")] == records


def test_mmdet(tmp_path: Path) -> None:
    files = write(
        WRITERS["mmdet"],
        tmp_path,
        record("x.jpg", FOUND, "m"),
        error_record("b.jpg", "bad", "m"),
        record("c.jpg", NOTHING, "m"),
    )
    assert list(files) == ["preds/c.json", "preds/x.json"]
    assert json.loads(files["preds/c.json"]) == {"labels": [], "scores": [], "bboxes": []}
    assert json.loads(files["preds/x.json"]) == {
        "labels": [0, 2],
        "scores": [0.93, 0.3],
        "bboxes": [[1.2, 3.4, 50.1, 60.0], [0.0, 0.123, 640.0, 480.0]],
    }


def test_coco(tmp_path: Path) -> None:
    names = ["val/000000039769.jpg", "dog.jpg", "a/2.jpg", "b/2.jpg"]
    files = write(
        WRITERS["coco"], tmp_path, *(record(name, FOUND, "m") for name in names), error_record("7.jpg", "bad", "m")
    )
    results, images = json.loads(files["coco_results.json"]), json.loads(files["coco_images.json"])
    assert results[0] == {"image_id": 39769, "category_id": 1, "bbox": [1.2, 3.4, 48.9, 56.6], "score": 0.93}
    assert results[1]["category_id"] == 3
    assert [image["id"] for image in images["images"]] == [39769, 2, 3, 4]
    assert images["images"][1] == {"id": 2, "file_name": "dog.jpg", "width": 640, "height": 480}
    assert images["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "remote"}, {"id": 3, "name": "犬"}]


def test_coco_with_the_categories_of_a_dataset(tmp_path: Path) -> None:
    files = write(lambda folder: CocoWriter(folder, [17, 75, 18]), tmp_path, record("1.jpg", FOUND, "m"))
    assert [result["category_id"] for result in json.loads(files["coco_results.json"])] == [17, 18]


@given(st.lists(st.sampled_from(["1.jpg", "2.jpg", "a/1.png", "x.jpg", "3.jpg", "٣.jpg", "²"]), max_size=12))
def test_coco_image_ids_are_never_shared(names: list[str]) -> None:
    ids = CocoWriter.__new__(CocoWriter)
    ids._taken, ids._count = set(), 0
    given_ids = []
    for name in names:
        ids._count += 1
        given_ids.append(ids._image_id(name))
    assert len(set(given_ids)) == len(names)


@pytest.mark.parametrize("form", WRITERS)
def test_a_run_without_a_picture_leaves_files_that_can_be_read(form: str, tmp_path: Path) -> None:
    for text in write(WRITERS[form], tmp_path).values():
        assert not text or json.loads(text) in ([], {"images": [], "categories": []})


@pytest.mark.parametrize("form", ["jsonl", "coco"])
def test_nothing_appears_before_it_is_whole(form: str, tmp_path: Path) -> None:
    old = write(WRITERS[form], tmp_path, record("old.jpg", FOUND, "m"))
    writer = WRITERS[form](tmp_path)
    writer.add(record("new.jpg", NOTHING, "m"))
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in old} == old
    writer.close()
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in old} != old


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    with written(path) as stream:
        stream.write(b"old")
    with pytest.raises(TypeError), written(path) as stream:
        stream.writelines([b"new, but", None])  # type: ignore[list-item]
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("a.json", b"old")]


def test_a_name_that_is_not_unicode_is_written(tmp_path: Path) -> None:
    files = write(JsonWriter, tmp_path, record("caf\udce9.jpg", NOTHING, "m"))
    (text,) = files.values()
    assert json.loads(text)["image"] == "caf\\udce9.jpg"


# --- names


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/b/cat.jpg", "cat"),
        ("a\\b\\cat.tar.jpg", "cat.tar"),
        ("https://host/p/cat.jpg?size=1/2#x", "cat"),
        ("https://host/", "host"),
        ("https://host/image?id=3", "image"),
        ("C:\\x\\a:b.png", "a_b"),
        ("con.jpg", "_con"),
        (".jpg", "jpg"),
        ("..", "_"),
        ("", "_"),
        ("a#b?.jpg", "a#b_"),
        ("名前.jpg", "名前"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert file_stem(name) == stem


@given(st.text(st.characters()))
def test_safe_names_are_safe(text: str) -> None:
    name = safe_name(text)
    assert name == Path(name).name
    assert 0 < len(name.encode("utf-8")) <= 181


@given(st.lists(st.sampled_from(["x.jpg", "a/x.png", "X.jpg", "x-2.jpg", "x-3.jpg", "y.jpg"]), max_size=15))
def test_no_two_pictures_share_a_name(images: list[str]) -> None:
    names, again = FileNames(), FileNames()
    given_names = [names.of(image) for image in images]
    assert len({name.casefold() for name in given_names}) == len(images)
    assert given_names == [again.of(image) for image in images]
