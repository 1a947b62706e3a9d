"""Boxes come out of every kind of file as they went in."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_cli.data.issues import DataIssue
from glip_cli.errors import DataError
from glip_cli.outputs.annotation_tools import VocWriter
from glip_cli.training.dataset import DetectionItem, GroundingItem, TrainSet, read_train_set
from tests.outputs.examples import image
from tests.shared import shared
from tests.training.examples import coco, images, written

BOXES = {"a.png": [(1, [10, 5, 30, 35]), (0, [50, 20, 100, 50])], "b.png": [(1, [0, 0, 60, 80])]}
"""What all these files say: image -> (class, corners), x2 and y2 one past the last pixel."""


def said(train_set: TrainSet) -> dict[str, list[tuple[int, list[float]]]]:
    items = [item for item in train_set.items if isinstance(item, DetectionItem)]
    return {
        item.image.name: [
            (int(label), [round(float(x), 3) for x in box]) for label, box in zip(item.labels, item.boxes, strict=True)
        ]
        for item in items
    }


def test_coco(tmp_path: Path) -> None:
    train_set, findings = read_train_set(written(tmp_path, coco()))
    assert train_set.labels == ("star", "disk")  # in the order of their ids
    assert said(train_set) == BOXES
    assert [item.image_id for item in train_set.items] == [1, 2]
    assert findings.rows == ()
    assert (findings.images, findings.boxes, findings.stops) == (2, 3, False)


def test_images_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(coco()))
    train_set, _ = read_train_set(path, images(tmp_path / "somewhere" / "else"))
    assert said(train_set) == BOXES


@pytest.mark.parametrize(
    "names",
    ["names: [star, disk]", "names:\n- star\n- disk", "names:\n  1: disk\n  0: 'star'", "names: {0: star, 1: disk}"],
)
def test_yolo_in_all_spellings(tmp_path: Path, names: str) -> None:
    images(tmp_path / "images" / "train")
    yolo_labels(tmp_path / "labels" / "train")
    (tmp_path / "data.yaml").write_text(f"{names}\ntrain: images/train\nval: images/val\n")
    train_set, findings = read_train_set(tmp_path)
    assert train_set.labels == ("star", "disk")
    assert said(train_set) == BOXES | {"c.png": []}  # without a .txt, so nothing is in it
    assert [row.count for row in findings.rows if "without a box" in row.what] == [1]


def yolo_labels(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("1 0.2 0.4 0.2 0.6\n0 0.75 0.7 0.5 0.6\n")
    (folder / "b.txt").write_text("1 0.5 0.5 1 1")


def test_yolo_as_roboflow_and_glip_lay_it_out(tmp_path: Path) -> None:
    images(tmp_path / "train" / "images")
    yolo_labels(tmp_path / "train" / "labels")
    (tmp_path / "data.yaml").write_text("names: [star, disk]\ntrain: ../train/images\n")
    assert said(read_train_set(tmp_path / "data.yaml")[0])["a.png"] == BOXES["a.png"]
    (tmp_path / "data.yaml").write_text("path:\nnames: [star, disk]\ntrain: images\n")
    (tmp_path / "train" / "images").rename(tmp_path / "images")
    (tmp_path / "train" / "labels").rename(tmp_path / "labels")
    assert said(read_train_set(tmp_path)[0])["a.png"] == BOXES["a.png"]
    assert said(read_train_set(tmp_path, tmp_path / "images")[0])["b.png"] == BOXES["b.png"]


def test_yolo_splits_are_never_mixed_up(tmp_path: Path) -> None:
    """What is validated on must not be what was trained on, whatever is missing."""
    images(tmp_path / "train" / "images")
    images(tmp_path / "valid" / "images", {"v.png": (20, 20)})
    (tmp_path / "train" / "images" / "a.txt").write_text("0 .5 .5 .5 .5")
    (tmp_path / "valid" / "images" / "v.txt").write_text("0 .5 .5 .5 .5")
    (tmp_path / "data.yaml").write_text("names: [star]\ntrain: train/images\nval: ../valid/images")
    assert set(said(read_train_set(tmp_path)[0])) == {"a.png", "b.png", "c.png"}
    assert set(said(read_train_set(tmp_path, tmp_path, "val")[0])) == {"v.png"}
    for val in ("", "val: nowhere"):
        (tmp_path / "data.yaml").write_text(f"names: [star]\ntrain: train/images\n{val}")
        with pytest.raises(DataError, match="no image for 'val'"):
            read_train_set(tmp_path, None, "val")
    assert len(read_train_set(tmp_path, tmp_path / "valid", "val")[0]) == 1  # stated, but only --images leads there
    (tmp_path / "data.yaml").write_text("names: [star]\ntrain: train/images")
    with pytest.raises(DataError, match="no image for 'val'"):
        read_train_set(tmp_path, tmp_path, "val")
    (tmp_path / "list.txt").write_text("valid/images/v.png\n\ntrain/images/a.png\n")
    (tmp_path / "data.yaml").write_text("names: [star]\ntrain: list.txt")
    assert set(said(read_train_set(tmp_path)[0])) == {"a.png", "v.png"}


def test_yolo_scores_polygons_and_turned_images(tmp_path: Path) -> None:
    """Polygons become the boxes around them; fractions are of the upright image (60 x 80 here)."""
    images(tmp_path / "images", {"a.png": (100, 50)})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "images" / "turned.jpg", exif=exif)
    (tmp_path / "images" / "a.txt").write_text("0 0.2 0.4 0.2 0.6 0.91\n0 .1 .2 .3 .2 .3 .6 .2 .8\n")
    (tmp_path / "images" / "turned.txt").write_text("0 0.5 0.25 1 0.5")
    (tmp_path / "data.yaml").write_text("names: [star]")
    assert said(read_train_set(tmp_path)[0]) == {
        "a.png": [(0, [10, 5, 30, 35]), (0, [10, 10, 30, 40])],
        "turned.jpg": [(0, [0, 0, 60, 40])],
    }


VOC = (
    "<annotation><filename>{}</filename><size><width>{}</width><height>{}</height><depth>3</depth></size>"
    "{}</annotation>"
)
OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)


def test_voc(tmp_path: Path) -> None:
    """Corners count from 1 and are pixels of the box: 11 .. 30 is twenty wide."""
    images(tmp_path / "JPEGImages")
    (tmp_path / "Annotations").mkdir()
    things = OBJECT.format("disk &amp; ring", 0, 11, 6, 30, 35) + OBJECT.format("a &lt;star&gt;", 0, 51, 21, 100, 50)
    (tmp_path / "Annotations" / "a.xml").write_text(VOC.format("a.png", 100, 50, things))
    things = OBJECT.format("disk &amp; ring", 0, 1, 1, 60, 80) + OBJECT.format("disk &amp; ring", 1, 1, 1, 9, 9)
    (tmp_path / "Annotations" / "b.xml").write_text(VOC.format("b", 60, 80, things))
    train_set, findings = read_train_set(tmp_path)
    assert train_set.labels == ("a <star>", "disk & ring")
    assert said(train_set) == BOXES
    assert [(row.what, row.count, row.action) for row in findings.rows] == [
        (DataIssue.IMAGE_UNLISTED.what, 1, "dropped"),  # c.png
        (DataIssue.BOX_CROWD.what, 1, "dropped"),  # the difficult one
    ]


@pytest.mark.parametrize("older", [False, True])
def test_voc_that_glip_wrote_comes_back(older: bool, tmp_path: Path) -> None:
    """Older files of glip count from 0; they name it, but do not say where their pixels begin."""
    images(tmp_path)
    wanted = [[10, 5, 30, 35], [0, 0, 100, 50]]
    writer = VocWriter(tmp_path)
    writer.add(image("a.png", wanted, size=(100, 50)), "a")
    if older:
        (xml,) = (tmp_path / "Annotations").glob("*.xml")
        text = re.sub(r"<annotation>glip.*?</annotation>", "", xml.read_text())
        xml.write_text(re.sub(r"min>(\d+)<", lambda match: f"min>{int(match[1]) - 1}<", text))
    assert [box for _, box in said(read_train_set(tmp_path)[0])["a.png"]] == wanted


def test_voc_with_many_classes_and_a_list_of_them(tmp_path: Path) -> None:
    """Eleven: as text, "10" stands before "2"; labels.txt gives the order, also of a class that no box has."""
    images(tmp_path)
    names = [f"thing {letter}" for letter in "kjihgfedcba"]
    things = "".join(OBJECT.format(name, 0, 1, 1, 10 + i, 20) for i, name in enumerate(names))
    (tmp_path / "a.xml").write_text(VOC.format("a.png", 100, 50, things))
    train_set, _ = read_train_set(tmp_path)
    assert train_set.labels == tuple(sorted(names))
    assert {train_set.labels[label]: box[2] for label, box in said(train_set)["a.png"]} == {
        name: 10 + i for i, name in enumerate(names)
    }
    (tmp_path / "labels.txt").write_text("thing z\n" + "\n".join(names))
    train_set, _ = read_train_set(tmp_path)
    assert train_set.labels == ("thing z", *names)
    assert [label for label, _ in said(train_set)["a.png"]] == list(range(1, 12))


def test_grounding(tmp_path: Path) -> None:
    """MDETR's format: one row of `images` per caption, so an image comes again with another."""
    caption, other = "a red disk, left of two stars", "the disk"
    images = [
        {"id": 4, "file_name": "a.png", "caption": caption, "width": 100, "height": 50, "tokens_negative": [[0, 29]]},
        {"id": 9, "file_name": "a.png", "caption": other, "width": 100, "height": 50},
    ]
    annotations = [
        {"id": 1, "image_id": 4, "category_id": 1, "bbox": [10, 5, 20, 30], "tokens_positive": [[2, 5], [6, 10]]},
        {"id": 2, "image_id": 4, "category_id": 1, "bbox": [50, 20, 50, 30], "tokens_positive": [[20, 29]]},
        {"id": 3, "image_id": 9, "category_id": 1, "bbox": [10, 5, 20, 30], "tokens_positive": [[0, 8]]},
        {"id": 4, "image_id": 9, "category_id": 1, "bbox": [10, 5, 20, 30], "tokens_positive": [[0, 80]]},
    ]
    path = written(
        tmp_path, {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    )
    train_set, findings = read_train_set(path)
    assert train_set.labels == ()
    first, second = train_set.items
    assert isinstance(first, GroundingItem)
    assert isinstance(second, GroundingItem)
    assert [item.caption for item in (first, second)] == [caption, other]
    assert first.spans == (((2, 5), (6, 10)), ((20, 29),))
    assert first.boxes.tolist() == [[10, 5, 30, 35], [50, 20, 100, 50]]
    assert second.spans == (((0, 8),),)
    assert [(row.count, row.action) for row in findings.rows] == [(1, "dropped")]  # the span past the end


def test_real_cells() -> None:
    """The counts of stats.json, which was made with the file."""
    folder = shared("data/bccd")
    stats = json.loads((folder / "stats.json").read_text())
    for split in ("train", "test"):
        train_set, findings = read_train_set(folder / f"{split}.json")
        assert train_set.labels == ("RBC", "WBC", "Platelets")
        assert (findings.images, findings.boxes) == (stats[split]["images"], stats[split]["boxes"])
        labels = np.concatenate([item.labels for item in train_set.items if isinstance(item, DetectionItem)])
        counts = Counter(train_set.labels[i] for i in labels)
        assert counts == stats[split]["per_class"]
        assert findings.rows == ()


def test_real_photographs() -> None:
    train_set, findings = read_train_set(shared("data/coco128") / "all.json")
    assert len(train_set.labels) == 80
    assert train_set.labels[-1] == "toothbrush"
    assert (len(train_set), findings.stops) == (128, False)
    for item in train_set.items:
        assert (item.boxes >= 0).all()
        assert (item.boxes[:, 2:] - item.boxes[:, :2] > 1).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "[1, 2]", "a list, as results are"),
        ("x.json", '{"images": []}', "has no 'annotations' (a test set, published without them?)"),
        ("x.json", '{"images": [], "annotations": [], "categories": []}', "names no image or no category"),
        ("x.json", '{"images": [3], "annotations": [], "categories": [{"id": 1}]}', "images[0] is 3, not an object"),
        ("x.json", '{"images": [{"id": 1}', "not a whole JSON file"),
        ("x.yaml", "names: 5", "'names' is \"5\""),
        ("x.yaml", "names: [a", "no YAML"),
        ("x.yaml", "names: [a]\ntrain: nowhere", "no image for 'train'"),
    ],
)
def test_what_is_no_training_set(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        read_train_set(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither data"):
        read_train_set(tmp_path)
    (tmp_path / "a.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"a\.xml: not a whole xml"):
        read_train_set(tmp_path)
