"""What kind of data set a file or folder is, and what is said of one that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glip_cli.data.dataset import Category, ImageRow
from glip_cli.data.formats import read_dataset
from glip_cli.data.issues import DataIssue
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import read_ground_truth
from tests.data.test_voc import thing as voc_thing
from tests.data.test_voc import written, xml
from tests.data.test_yolo import BOX_160, corners, image
from tests.evaluation.datasets import two_images

CSV = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def read(path: Path, split: str = "train"):  # type: ignore[no-untyped-def]
    dataset = read_dataset(path, None, split)
    return dataset, dataset.issues.rows()


@pytest.mark.parametrize(
    "text",
    [
        f"{CSV}a.png,160,160,star,40,40,120,120\n",
        f"\ufeff{CSV}a.png,160,160,star,40,40,120,120\n\n".replace("\n", "\r\n"),
        f"{CSV}a.png,160,160,star,40,40,120,120".replace(",", ";"),
        f"{CSV}a.png,160,160,star,40,40,120,120".replace(",", "\t"),
        'Class,Filename,XMin,YMin,XMax,YMax\n"star" , a.png, 40.0,4e1,120,120\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "x.csv").write_bytes(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    image(tmp_path / "a.png")
    for path in (tmp_path / "x.csv", tmp_path):
        dataset, found = read(path)
        assert found == []
        assert dataset.categories == (Category(1, "star"),)
        assert [row.file_name for row in dataset.images] == ["a.png"]
        assert corners(dataset) == [BOX_160]


def test_csv_with_odd_lines(tmp_path: Path) -> None:
    lines = 'sub\\b.png,0,0,"ring,\u2028red",0,0,10,10\na.png,160,160,star,40,40,120,120\na.png,160,160,star,40,,120\n'
    (tmp_path / "x.csv").write_text(f"{CSV}\n{lines}", "utf-8")
    dataset, (row,) = read(tmp_path / "x.csv")
    assert (row.what, row.count) == (DataIssue.BOX_FORM.what, 1)
    assert "x.csv, line 5: ymin" in row.example
    assert [one.name for one in dataset.categories] == ["ring,\u2028red", "star"]
    assert dataset.images[0] == ImageRow(1, "sub/b.png")
    assert len(dataset.annotations) == 2


@pytest.mark.parametrize("odd", ['a.png,160,160,"star,40,40,120,120', "a.png,160,160,star,40,40,120,120, red"])
def test_csv_with_a_line_that_would_be_read_as_another(tmp_path: Path, odd: str) -> None:
    (tmp_path / "x.csv").write_text(f"{CSV}{odd}\na.png,160,160,star,40,40,120,120\n")
    dataset, (row,) = read(tmp_path / "x.csv")
    assert (row.what, row.count) == (DataIssue.BOX_FORM.what, 1)
    assert "x.csv, line 2: " in row.example
    assert corners(dataset) == [BOX_160]


@pytest.mark.parametrize("text", ["", "a.png,1,2,3,4,star\n", "filename,class\na,b\n"])
def test_csv_of_other_columns(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=r"x\.csv: its columns are .*; a csv of boxes has filename,class,xmin,"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("split", "folder"),
    [("train", "train"), ("val", "valid"), ("val", "validation"), ("test", "test"), ("mine", "mine")],
)
def test_a_folder_with_a_folder_for_each_split(tmp_path: Path, split: str, folder: str) -> None:
    """As Roboflow packs every format."""
    for name in {folder, "other"}:
        written(tmp_path / name, {"a.xml": xml("a.png", voc_thing(name)), "a.png": b""})
    dataset, _ = read(tmp_path, split)
    assert dataset.categories == (Category(1, folder),)


def test_a_folder_with_one_json(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(two_images()))
    dataset, _ = read(tmp_path)
    assert (dataset.folder, len(dataset.annotations)) == (tmp_path / "train", 3)


@pytest.mark.parametrize(
    ("files", "has_test"),
    [
        ({"a.json": json.dumps(two_images())}, False),
        ({"test/a.json": json.dumps(two_images())}, True),
        ({"a.xml": xml("a.png", voc_thing()), "ImageSets/Main/train.txt": "a"}, False),
        ({"a.xml": xml("a.png", voc_thing()), "ImageSets/Main/test.txt": "a"}, True),
        ({"data.yaml": "names: [star]", "images/a.png": ""}, False),
        ({"data.yaml": "names: [star]\ntest: images", "images/a.png": ""}, True),
    ],
)
def test_a_part_that_there_is_none_of_is_noted(tmp_path: Path, files: dict[str, str], has_test: bool) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    note = f'{tmp_path} has no part called "test"; all of it is read'
    assert (note in read_ground_truth(tmp_path, split="test").notes) is not has_test
    assert has_test or note not in read_ground_truth(tmp_path).notes  # "val" is asked of every set


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "neither data.yaml, obj.names or classes.txt (YOLO) nor xml files (VOC) nor json (COCO, labelme) nor "),
        (["a.json", "b.json", "c.csv", "d.json"], "holds a.json, b.json, c.csv and 1 more; give the one that has"),
        (["train/x", "test/y"], "holds train, test, but nothing for 'val'; give the folder or file that is meant"),
    ],
)
def test_folders_that_are_none(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError) as caught:
        read(tmp_path, "val")
    assert message in str(caught.value)
