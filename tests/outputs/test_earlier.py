"""A second run into a folder: numbers of classes keep their meaning, and files that others wrote stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from glip_cli.errors import UsageError
from glip_cli.outputs.earlier import check_earlier, clear_earlier, kept_images
from glip_cli.outputs.formats import WRITERS
from tests.outputs.examples import image, left_in, write

BOX = [[0, 0, 64, 48]]


def names_in(folder: Path) -> list[str]:
    return list(yaml.safe_load((folder / "data.yaml").read_text())["names"].values())


def test_yolo_classes_keep_their_numbers_and_images_their_names(tmp_path: Path) -> None:
    write(WRITERS["yolo"], tmp_path, image("dogs/x.jpg", BOX, ["red square"]))
    labels = ["green ring", "red square"]
    second = [image("dogs/y.jpg", BOX, labels), image("dogs/x.jpg", BOX, labels, [1])]
    files = write(WRITERS["yolo"], tmp_path, *second)
    assert names_in(tmp_path) == ["red square", "green ring"]
    assert {name: text[0] for name, text in files.items() if name.endswith(".txt")} == {
        "labels/dogs/x.txt": "0",
        "labels/dogs/y.txt": "1",
    }
    assert files["yolo_images.csv"] == "name,image\r\ndogs/x,dogs/x.jpg\r\ndogs/y,dogs/y.jpg\r\n"
    assert write(WRITERS["yolo"], tmp_path, *second) == files


def test_yolo_does_not_replace_the_labels_of_another_image(tmp_path: Path) -> None:
    for name, label in (("dogs/x.jpg", "dog"), ("cats/x.jpg", "cat"), ("cats/x.jpg", "cat")):
        writer = WRITERS["yolo"](tmp_path)
        writer.add(image(name, BOX, [label]), "x")  # both folders were the root of their run
        writer.close()
    files = left_in(tmp_path)
    assert [files[f"labels/{name}.txt"][0] for name in ("x", "x-2")] == ["0", "1"]
    assert files["yolo_images.csv"] == "name,image\r\nx,dogs/x.jpg\r\nx-2,cats/x.jpg\r\n"


def test_yolo_that_was_killed_leaves_no_line_without_a_name(tmp_path: Path) -> None:
    write(WRITERS["yolo"], tmp_path, image("x.jpg", BOX, ["dog"]))
    killed = WRITERS["yolo"](tmp_path)
    killed.add(image("y.jpg", BOX, ["cat"]), "y")
    assert names_in(tmp_path) == ["dog", "cat"]
    killed.close()


@pytest.mark.parametrize(
    ("form", "labels", "files", "words"),
    [
        ("yolo", ["a"], {"data.yaml": "names: [mine]"}, "data.yaml was not written by glip; choose another --out-dir"),
        ("yolo", ["a"], {"data.yaml": "names: {"}, "data.yaml was not written by glip"),
        ("yolo", ["a"], {"labels/train/x.txt": "0 0 0 1 1"}, r"labels/train/x\.txt was not written by this format"),
        ("yolo", ["a"], {"yolo_images.csv": "name,image\n", "data.yaml": "names: [b, b]"}, "its names cannot be read"),
        (
            "coco",
            ["a"],
            {"coco.json": '{"images": [], "annotations": []}'},
            r"coco\.json was not written by this format",
        ),
        ("coco-results", ["a"], {"coco_results.json": '[{"image_id": 1}]'}, r"coco_results\.json was not written"),
        ("csv", ["a"], {"results.csv": "name,price\n"}, r"results\.csv was not written by this format of glip"),
        ("jsonl", ["a"], {"results.jsonl": "{}\n"}, r"results\.jsonl was not written by this format of glip"),
        ("cvat", ["a"], {"cvat.xml": "<annotations/>"}, r"cvat\.xml was not written by this format of glip"),
        ("labelstudio", ["a"], {"labelstudio.json": "[{}]"}, r"labelstudio\.json was not written by this format"),
        ("voc", ["a"], {"Annotations/x.xml": "<annotation/>"}, r"x\.xml was not written by this format of glip"),
        ("grounding", ["a"], {"grounding.json": '{"images": []}'}, r"grounding\.json was not written by this format"),
        ("yolo", ["a"], {"yolo_images.csv": "image,price\n"}, r"yolo_images\.csv was not written by this format"),
        ("html", ["a"], {"index.html": "<p>mine</p>"}, r"index\.html was not written by this format of glip"),
        ("grid", ["a"], {"grid.jpg": "mine"}, r"grid\.jpg was not written by this format of glip"),
        ("vis", ["a"], {"vis/train/x.jpg": "mine"}, r"vis/train/x\.jpg was not written by glip; choose another"),
        ("crops", ["a"], {"crops/cat/x-0.jpg": "mine"}, r"crops/cat/x-0\.jpg was not written by glip; choose another"),
        ("mmdet", ["a"], {"mmdet_classes.json": '{"a": 0}'}, r"mmdet_classes\.json was not written by this format"),
        ("json", ["a"], {"preds/x.json": "{}"}, r"preds/x\.json was not written"),
        ("mmdet", ["a"], {"preds/x.json": "{}"}, r"preds/x\.json was not written"),
        (
            "mmdet",
            ["a" * 99],
            {"mmdet_classes.json": '["b"]', "preds/x.json": "{}"},
            r"holds results of other labels \('b'",
        ),
        ("mmdet", ["b", "a"], {"mmdet_classes.json": '["b", "c"]'}, r"holds results of other labels \('c', not 'a'\)"),
        ("json", ["b"], {"mmdet_classes.json": '["b"]', "preds/x.json": "{}"}, r"preds/x\.json was not written"),
    ],
)
def test_what_would_mix_is_refused(
    form: str, labels: list[str], files: dict[str, str], words: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        check_earlier(tmp_path, [form], labels)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == files


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("data.yaml", b"names: [b, b]", "its names cannot be read"), ("data.yaml", b"\xff", "its names cannot be read"),
     ("yolo_images.csv", b"name,image\r\nx,caf\xe9.jpg\r\n", "its rows cannot be read")],
)  # fmt: skip
def test_a_data_set_that_was_damaged_is_refused_before_the_work_and_overwritten(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    write(WRITERS["yolo"], tmp_path, image("x.jpg", BOX))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name}: {words}; choose another --out-dir, or --overwrite"):
        check_earlier(tmp_path, ["yolo"], ["cat"])
    check_earlier(tmp_path, ["yolo"], ["cat"], overwrite=True)
    clear_earlier(tmp_path)
    assert left_in(tmp_path) == {}


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    """It begins as every parquet file does."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    parquet.write_table(pyarrow.table({"image": ["x.jpg"], "price": [1.0]}), path)
    mine = path.read_bytes()
    with pytest.raises(UsageError, match=r"results\.parquet was not written by this format of glip"):
        check_earlier(tmp_path, ["parquet"], [], overwrite=True)
    clear_earlier(tmp_path)
    assert path.read_bytes() == mine


def test_images_of_a_run_are_not_read_again(tmp_path: Path) -> None:
    """The run's folder is its own, and may hold a million."""
    (tmp_path / "vis").mkdir()
    (tmp_path / "vis/x.jpg").write_bytes(b"of an earlier version")
    (tmp_path / "run.json").touch()
    check_earlier(tmp_path, ["vis"], [])


@pytest.mark.parametrize("form", WRITERS)
def test_the_same_labels_go_on_and_what_glip_wrote_is_cleared(form: str, tmp_path: Path) -> None:
    foreign = {"labels.txt": "cat", "Annotations.bak/x.xml": "<annotation/>", "run.json": "{}"}
    for name, text in foreign.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    write(WRITERS[form], tmp_path, image("a/x.jpg", BOX, ["cat", "dog"]))
    for labels in (["cat", "dog"], ["cat"], ["cat", "dog", "fox"]):
        check_earlier(tmp_path, [form], labels)
    check_earlier(tmp_path, [form], ["other"], overwrite=True)
    clear_earlier(tmp_path)
    kept = left_in(tmp_path)
    kept.pop("results.jsonl", None)  # a journal, which is for `glip batch` to remove
    assert kept == foreign
    assert not [path for path in tmp_path.iterdir() if path.name in ("labels", "preds", "Annotations")]


def test_the_files_of_others_are_not_cleared(tmp_path: Path) -> None:
    files = {
        "data.yaml": "names: [mine]",
        "labels/x.txt": "0 0 0 1 1",
        "Annotations/x.xml": "<annotation/>",
        "preds/x.json": "{}",
        "coco.json": '{"images": []}',
        "results.csv": "name,price\n",
        "cvat.xml": "<annotations/>",
        "grounding.json": '{"images": []}',
        "mmdet_classes.json": '{"cat": 0}',
        "partial.jsonl": "mine",
        "yolo_images.csv": "image,price\n",
        "index.html": "<p>mine</p>",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    clear_earlier(tmp_path)
    assert left_in(tmp_path) == files


def test_mmdet_classes_grow_where_the_first_agree(tmp_path: Path) -> None:
    for labels in (["cat"], ["cat", "dog"], ["cat"]):
        check_earlier(tmp_path, ["mmdet"], labels)
        files = write(WRITERS["mmdet"], tmp_path, image("x.jpg", BOX, labels))
    assert files["mmdet_classes.json"] == '["cat", "dog"]\n'


def test_images_stay_and_are_named(tmp_path: Path) -> None:
    """They may be what the next run reads: crops of one label, say."""
    assert kept_images(tmp_path) == ()
    (tmp_path / "crops" / "dog").mkdir(parents=True)
    (tmp_path / "vis").mkdir()
    assert kept_images(tmp_path) == ()
    (tmp_path / "crops" / "dog" / "x-0.jpg").write_bytes(b"x")
    (note,) = kept_images(tmp_path)
    assert note.startswith(f"{tmp_path / 'crops'} may keep images of an earlier run")
    clear_earlier(tmp_path)
    assert (tmp_path / "crops" / "dog" / "x-0.jpg").exists()
