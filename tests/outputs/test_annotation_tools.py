"""YOLO, Pascal VOC and Label Studio: known answers, boxes that come back, names and labels that try to break out.

Checked by hand in November 2026 with what these files are for: ultralytics 8.4.190 (`check_det_dataset` on the
folder after it was moved, `verify_image_label`) and label-studio-sdk 2.1.2
(`LabelInterface.validate_prediction` on every prediction against the configuration, labels of `HOSTILE`).
"""

from __future__ import annotations

import csv
import io
import json
import os
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glip_cli.outputs.annotation_tools import CvatWriter, LabelStudioWriter, VocWriter
from glip_cli.outputs.files import xml_text
from glip_cli.outputs.records import Record, error_record
from glip_cli.outputs.yolo import YoloWriter
from tests.outputs.examples import HOSTILE, corners, image, images, on_disk, texts, write, written_by

QUARTER = [[64, 48, 320, 240]]  # of 640 x 480: centre (0.3, 0.3), size (0.4, 0.4)
BEYOND = [[-5, -7.5, 700, 481]]
ALL_HOSTILE = image("x.jpg", [[0, 0, 9, 9]] * len(HOSTILE), HOSTILE, range(len(HOSTILE)))
RUN = [
    image("a/x.jpg", QUARTER, ["cat", "dog"], [1]),
    image("b/x.png", BEYOND, ["cat", "dog"], [0]),
    error_record("bad.jpg", "bad.jpg: cannot be read", "m"),
    image("none.jpg", [], ["cat", "dog"]),
]


def yaml_names(data_yaml: str) -> list[str]:
    """The names of `data.yaml`, read as JSON strings; every line must be `  <number>: "..."`."""
    lines = data_yaml.split("names:\n")[1].splitlines(keepends=True)
    found = [line.split(": ", 1) for line in lines]
    assert [number for number, _ in found] == [f"  {i}" for i in range(len(found))]
    return [json.loads(text) for _, text in found]


# --- YOLO


def test_yolo(tmp_path: Path) -> None:
    files = write(YoloWriter, tmp_path, *RUN)
    assert files.pop("data.yaml").endswith('\ntrain: images\nval: images\nnames:\n  0: "cat"\n  1: "dog"\n')
    assert files == {
        "labels/a/x.txt": "1 0.300000 0.300000 0.400000 0.400000\n",
        "labels/b/x.txt": "0 0.500000 0.500000 1.000000 1.000000\n",
        "labels/none.txt": "",
        "yolo_images.csv": "name,image\r\na/x,a/x.jpg\r\nb/x,b/x.png\r\nnone,none.jpg\r\n",
    }


@on_disk
@given(images())
def test_yolo_boxes_come_back(made: Record) -> None:
    files = written_by(partial(YoloWriter, with_scores=True), made)
    ((name, image),) = list(csv.reader(io.StringIO(files["yolo_images.csv"], newline="")))[1:]
    assert image == made["image"]
    rows = np.array([line.split() for line in files[f"labels/{name}.txt"].splitlines()], float).reshape(-1, 6)
    names = yaml_names(files["data.yaml"])
    assert [names[int(row)] for row in rows[:, 0]] == [found["label"] for found in made["detections"]]
    assert rows[:, 5].tolist() == [found["score"] for found in made["detections"]]
    centre, half = rows[:, 1:3], rows[:, 3:5] / 2
    back = np.concatenate([centre - half, centre + half], 1) * ([made["width"], made["height"]] * 2)
    wanted = np.array(corners(made)).reshape(-1, 4)
    # half a millionth of the side from the centre, half of that from the size; float32 corners at most 1e-3 outside
    np.testing.assert_allclose(back, wanted, rtol=0, atol=1e-6 * max(made["width"], made["height"]) + 1e-3)


def test_cvat(tmp_path: Path) -> None:
    (text,) = write(CvatWriter, tmp_path, *RUN).values()
    root = ElementTree.fromstring(text)
    assert [name.text for name in root.findall("meta/task/labels/label/name")] == ["cat", "dog"]
    assert root.findall("image")[0].attrib == {
        "id": "0", "name": "a/x.jpg", "width": "640", "height": "480"
    }  # fmt: skip
    boxes = [[box.attrib["label"] for box in image] for image in root.findall("image")]
    assert boxes == [["dog"], ["cat"], []]
    assert root.find("image/box").attrib == {
        "label": "dog", "source": "auto", "occluded": "0", "z_order": "0",
        "xtl": "64.00", "ytl": "48.00", "xbr": "320.00", "ybr": "240.00",
    }  # fmt: skip


def test_yolo_of_labels_given_twice_and_of_labels_that_change(tmp_path: Path) -> None:
    repeated = image("1.jpg", QUARTER * 3, ["cat", "dog", "cat"], [0, 1, 2])
    changed = image("2.jpg", QUARTER * 2, ["fox", "dog"], [0, 1])
    files = write(YoloWriter, tmp_path, repeated, changed)
    assert [line[0] for line in files["labels/1.txt"].splitlines()] == ["0", "1", "0"]
    assert [line[0] for line in files["labels/2.txt"].splitlines()] == ["2", "1"]
    assert yaml_names(files["data.yaml"]) == ["cat", "dog", "fox"]


def test_yolo_names_are_an_empty_mapping_where_every_image_failed(tmp_path: Path) -> None:
    files = write(YoloWriter, tmp_path, error_record("a.jpg", "bad", "m"))
    assert sorted(files) == ["data.yaml", "yolo_images.csv"]
    assert files["data.yaml"].endswith("\nnames: {}\n")


@on_disk
@given(st.lists(texts, min_size=1, max_size=5))
@example(list(HOSTILE))
def test_a_yaml_reader_gets_the_labels_as_typed(labels: list[str]) -> None:
    yaml = pytest.importorskip("yaml")  # not a dependency of its own; most environments have it
    read = yaml.safe_load(written_by(YoloWriter, image("x.jpg", [], labels))["data.yaml"])
    assert read == {"path": None, "train": "images", "val": "images", "names": dict(enumerate(dict.fromkeys(labels)))}


# --- Pascal VOC


def test_voc(tmp_path: Path) -> None:
    files = write(VocWriter, tmp_path, *RUN)
    assert sorted(files) == ["Annotations/a/x.xml", "Annotations/b/x.xml", "Annotations/none.xml"]
    assert (
        files["Annotations/a/x.xml"]
        == """\
<annotation>
  <folder>a</folder>
  <filename>x.jpg</filename>
  <path>a/x.jpg</path>
  <source>
    <database>glip glip-t@c24ce662</database>
    <annotation>glip, pixels count from 1</annotation>
  </source>
  <size>
    <width>640</width>
    <height>480</height>
    <depth>3</depth>
  </size>
  <segmented>0</segmented>
  <object>
    <name>dog</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>0</difficult>
    <score>0.9</score>
    <bndbox>
      <xmin>65</xmin>
      <ymin>49</ymin>
      <xmax>320</xmax>
      <ymax>240</ymax>
    </bndbox>
  </object>
</annotation>
"""
    )
    assert not ElementTree.fromstring(files["Annotations/none.xml"]).findall("object")
    assert voc_boxes(files["Annotations/b/x.xml"]) == [[1, 1, 640, 480]]


def voc_boxes(xml: str) -> list[list[int]]:
    boxes = ElementTree.fromstring(xml).findall("object/bndbox")
    return [[int(box.findtext(side) or "") for side in ("xmin", "ymin", "xmax", "ymax")] for box in boxes]


@on_disk
@given(images())
def test_voc_boxes_come_back(made: Record) -> None:
    (xml,) = written_by(VocWriter, made).values()
    root = ElementTree.fromstring(xml)
    assert root.findtext("path") == xml_text(made["image"])
    assert [name.text for name in root.findall("object/name")] == [xml_text(d["label"]) for d in made["detections"]]
    assert [float(score.text or "") for score in root.findall("object/score")] == [
        found["score"] for found in made["detections"]
    ]
    back, wanted = np.array(voc_boxes(xml)).reshape(-1, 4), np.array(corners(made)).reshape(-1, 4)
    back[:, :2] -= 1  # pixels count from 1 and are part of the box
    assert (back >= 0).all()
    assert (back <= [made["width"], made["height"]] * 2).all()
    assert (back[:, 2:] > back[:, :2]).all()
    is_wide = wanted[:, 2:] - wanted[:, :2] > 1  # else a corner moved, so that one pixel is left
    assert (np.abs(back - wanted) <= 0.5).all(where=np.concatenate([is_wide, is_wide], 1))
    assert (np.abs(back - wanted) <= 1.5).all()


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ([10.4, 10.6, 20.4, 20.6], [11, 12, 20, 21]),
        ([10, 10, 10, 10], [11, 11, 11, 11]),
        ([640, 480, 640, 480], [640, 480, 640, 480]),
        ([-20, -20, -10, -10], [1, 1, 1, 1]),
    ],
)
def test_voc_pixels(box: list[float], pixels: list[int], tmp_path: Path) -> None:
    (xml,) = write(VocWriter, tmp_path, image("x.jpg", [box])).values()
    assert voc_boxes(xml) == [pixels]


@pytest.mark.skipif(os.name == "nt", reason="no such names")
def test_voc_names_a_file_with_a_backslash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such file, the backslash is a slash of a list from Windows."""
    monkeypatch.chdir(tmp_path)
    for place in (("b", "s.jpg"), ("odd", "b\\s.jpg")):
        (xml,) = write(VocWriter, tmp_path / f"run of {place[0]}", image("odd/b\\s.jpg", [])).values()
        root = ElementTree.fromstring(xml)
        assert (root.findtext("folder"), root.findtext("filename")) == place
        (tmp_path / "odd").mkdir(exist_ok=True)
        (tmp_path / "odd" / "b\\s.jpg").touch()


@pytest.mark.parametrize(
    ("name", "folder", "filename"),
    [
        ("x.jpg", "", "x.jpg"),
        ("/data/train/x.jpg", "train", "x.jpg"),
        ("https://host/set/x.jpg?size=1", "set", "x.jpg"),
        ("a&b/<x>.jpg", "a&b", "<x>.jpg"),
    ],
)
def test_voc_says_where_the_image_is(name: str, folder: str, filename: str, tmp_path: Path) -> None:
    (xml,) = write(VocWriter, tmp_path, image(name, [])).values()
    root = ElementTree.fromstring(xml)
    assert [root.findtext(tag) for tag in ("folder", "filename", "path")] == [folder, filename, name]


# --- Label Studio


def test_labelstudio(tmp_path: Path) -> None:
    files = write(LabelStudioWriter, tmp_path, *RUN)
    assert sorted(files) == ["labelstudio.json", "labelstudio.xml"]
    first, second, third = json.loads(files["labelstudio.json"])
    region = {
        "id": "box-0",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "value": {"x": 10, "y": 10, "width": 40, "height": 40, "rotation": 0, "rectanglelabels": ["dog"]},
        "score": 0.9,
    }
    assert first == {
        "data": {"image": "/data/local-files/?d=a/x.jpg"},
        "predictions": [{"model_version": "glip-t@c24ce662", "score": 0.9, "result": [region]}],
    }
    value = second["predictions"][0]["result"][0]["value"]
    assert [value[side] for side in ("x", "y", "width", "height")] == [0, 0, 100, 100]
    assert third["data"] == {"image": "/data/local-files/?d=none.jpg"}
    assert third["predictions"] == [{"model_version": "glip-t@c24ce662", "score": None, "result": []}]


def test_labelstudio_configuration(tmp_path: Path) -> None:
    assert (
        write(LabelStudioWriter, tmp_path, *RUN)["labelstudio.xml"]
        == """\
<View>
  <Image name="image" value="$image" />
  <RectangleLabels name="label" toName="image">
    <Label value="cat" />
    <Label value="dog" />
  </RectangleLabels>
</View>
"""
    )


@on_disk
@given(images())
@example(ALL_HOSTILE)
def test_labelstudio_boxes_come_back_under_labels_of_the_configuration(made: Record) -> None:
    files = written_by(LabelStudioWriter, made)
    (task,) = json.loads(files["labelstudio.json"])
    (prediction,) = task["predictions"]
    regions = prediction["result"]
    assert len({region["id"] for region in regions}) == len(regions)
    assert [region["score"] for region in regions] == [found["score"] for found in made["detections"]]

    config = ElementTree.fromstring(files["labelstudio.xml"])
    choices = [label.attrib["value"] for label in config.iter("Label")]
    assert choices == [xml_text(label) for label in dict.fromkeys(made["labels"])]
    assert all(region["value"]["rectanglelabels"][0] in choices for region in regions)

    sides = ("x", "y", "width", "height")
    percent = np.array([[region["value"][side] for side in sides] for region in regions]).reshape(-1, 4)
    assert ((percent >= 0) & (percent <= 100)).all()
    scale = np.array([made["width"], made["height"]] * 2) / 100
    back = np.concatenate([percent[:, :2], percent[:, :2] + percent[:, 2:]], 1) * scale
    wanted = np.array(corners(made)).reshape(-1, 4)
    np.testing.assert_allclose(back, wanted, rtol=0, atol=1e-8 * max(made["width"], made["height"]) + 1e-3)


def test_labelstudio_score_is_the_mean(tmp_path: Path) -> None:
    files = write(LabelStudioWriter, tmp_path, image("x.jpg", QUARTER * 3))  # scores 0.9, 0.5, 0.1
    assert json.loads(files["labelstudio.json"])[0]["predictions"][0]["score"] == 0.5


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("a/b.jpg", "/data/local-files/?d=a/b.jpg"),
        ("./a//b.jpg", "/data/local-files/?d=a/b.jpg"),
        ("/data/b.jpg", "/data/local-files/?d=data/b.jpg"),
        ("a b&c?d#e+f%.jpg", "/data/local-files/?d=a%20b%26c%3Fd%23e%2Bf%25.jpg"),
        ("犬.jpg", "/data/local-files/?d=%E7%8A%AC.jpg"),
        ("HTTPS://host/a b.jpg?x=1&y=2", "HTTPS://host/a b.jpg?x=1&y=2"),
    ],
)
def test_labelstudio_finds_the_image(name: str, served: str, tmp_path: Path) -> None:
    (task,) = json.loads(write(LabelStudioWriter, tmp_path, image(name, []))["labelstudio.json"])
    assert task["data"]["image"] == served


@on_disk
@given(st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1).filter(lambda text: text != "."))
def test_labelstudio_reads_the_path_back_from_the_query(name: str) -> None:
    (task,) = json.loads(written_by(LabelStudioWriter, image(f"a/{name}", []))["labelstudio.json"])
    (path,) = parse_qs(urlsplit(task["data"]["image"]).query)["d"]
    assert path == (f"a/{name}" if name != ".." else ".")
