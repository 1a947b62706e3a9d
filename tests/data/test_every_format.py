"""One set in every format, written as the tools write it: the same boxes come out, and the same scores."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hotcoco import mask

from glip_cli.data.issues import DataIssue
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import GroundTruth, read_ground_truth
from glip_cli.evaluation.scores import coco_scores
from glip_cli.training.dataset import DetectionItem, read_train_set
from tests.training.examples import SIZES, coco, images

CLASSES = ("star", "disk")
BOXES = {
    "a.png": [("disk", [10, 5, 30, 35]), ("star", [50, 20, 100, 50])],
    "b.png": [("disk", [0, 0, 60, 80])],
    "c.png": [],
}
"""Image -> class and corners, in pixels, x2 and y2 one past the last."""
Write = Callable[[Path], Path]


def files(folder: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


# ---------------------------------------------------------------------------------------------------------------- COCO


def whole_coco(**changes: Any) -> dict[str, Any]:
    content = coco()
    content["images"].append({"id": 3, "file_name": "c.png", "width": 64, "height": 64})
    return content | changes


def coco_file(content: dict[str, Any], place: str = "_annotations.coco.json") -> Write:
    return lambda folder: files(folder, {place: json.dumps(content)})


def with_text_ids() -> dict[str, Any]:
    content = whole_coco()
    for row in content["images"]:
        row["id"] = f"image-{row['id']}"
    for row in content["categories"]:
        row["id"] = f"c{row['id']}"
    for row in content["annotations"]:
        row |= {"id": f"b{row['id']}", "image_id": f"image-{row['image_id']}", "category_id": f"c{row['category_id']}"}
    return content


def without_boxes(segmentation: Callable[[list[int], tuple[int, int]], Any]) -> dict[str, Any]:
    """`segmentation` makes one of [x, y, width, height] and the (width, height) of the image."""
    content = whole_coco()
    sizes = {row["id"]: (row["width"], row["height"]) for row in content["images"]}
    for row in content["annotations"]:
        row["segmentation"] = segmentation(row.pop("bbox"), sizes[row["image_id"]])
    return content


def polygons(box: list[int], _: tuple[int, int]) -> list[list[float]]:
    """Two parts that reach the edges of the box together."""
    x, y, width, height = box
    return [[x, y, x + width / 2, y, x, y + height], [x + width, y + height, x + width, y + 1, x + width / 2, y + 3]]


def rle(box: list[int], size: tuple[int, int]) -> dict[str, Any]:
    """As pycocotools encodes it."""
    x, y, width, height = box
    pixels = np.zeros(size[::-1], np.uint8, order="F")
    pixels[y : y + height, x : x + width] = 1
    encoded = mask.encode(pixels)
    return {"size": list(encoded["size"]), "counts": bytes(encoded["counts"]).decode()}


def counted_rle(box: list[int], size: tuple[int, int]) -> dict[str, Any]:
    """As COCO has crowds: lengths of runs, column by column, beginning with zeros."""
    x, y, width, height = box
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[y : y + height, x : x + width] = 1
    flat = pixels.T.ravel()
    ends = [*np.flatnonzero(np.diff(flat)) + 1, flat.size]
    runs = np.diff([0, *ends]).tolist()
    return {"size": list(size[::-1]), "counts": [0, *runs] if flat[0] else runs}


# ---------------------------------------------------------------------------------------------------------------- YOLO


def fractions(name: str, corners: list[int]) -> list[float]:
    width, height = SIZES[name]
    x1, y1, x2, y2 = (side / whole for side, whole in zip(corners, (width, height) * 2, strict=True))
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def lines(name: str, form: Callable[[list[float]], list[float]] = lambda box: box) -> str:
    rows = ([CLASSES.index(label), *form(fractions(name, corners))] for label, corners in BOXES[name])
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def outline(box: list[float]) -> list[float]:
    x, y, width, height = box
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    return [left, top, right, top, right, bottom, x, bottom, left, bottom]


def keypoints(box: list[float]) -> list[float]:
    return [*box, box[0], box[1], 2, 0, 0, 0]


def yolo_labels(folder: str, form: Callable[[list[float]], list[float]] = lambda box: box) -> dict[str, str]:
    return {f"{folder}/{Path(name).stem}.txt": lines(name, form) for name in BOXES}


LIST = "".join(f"data/obj_train_data/{name}\n" for name in BOXES)
DARKNET = "classes = 2\ntrain  = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n"


def yolo(place: str, *contents: dict[str, str]) -> Write:
    """`place` is that of the images."""

    def write(folder: Path) -> Path:
        images(folder / place)
        return files(folder, {name: text for one in contents for name, text in one.items()})

    return write


def two_folders(folder: Path) -> Path:
    for name, size in SIZES.items():
        part = "one" if name == "a.png" else "two"
        images(folder / part / "images", {name: size})
        files(folder, {f"{part}/labels/{Path(name).stem}.txt": lines(name)})
    return files(folder, {"data.yaml": "path: .\ntrain:\n- one/images\n- two/images\nnames: {0: star, 1: disk}"})


# ---------------------------------------------------------------------------------------------------- a file per image


def voc(name: str) -> str:
    width, height = SIZES[name]
    things = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for label, (x1, y1, x2, y2) in BOXES[name]
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{things}</annotation>"


def per_image(place: str, annotations: str, suffix: str, text: Callable[[str], str]) -> Write:
    return yolo(place, {f"{annotations}/{Path(name).stem}{suffix}": text(name) for name in BOXES})


def at_two_depths(
    annotations: str, suffix: str, text: Callable[[str], str], top: tuple[str, ...] = ("a.png",)
) -> Write:
    """The files of some images at the top, those of the others below, and what tools and systems hide there."""
    hidden = {f"{annotations}/.tool/a{suffix}": "?", f"{annotations}/._a{suffix}": "?"}
    return yolo("images", hidden, {
        f"{annotations}/{'' if name in top else 'day 1/'}{Path(name).stem}{suffix}": text(name) for name in BOXES
    })  # fmt: skip


def labelme(shape: Callable[[str, list[int]], list[dict[str, Any]]]) -> Callable[[str], str]:
    """The fields of labelme 6's `LabelFile.save`."""

    def text(name: str) -> str:
        shapes = [part for label, corners in BOXES[name] for part in shape(label, corners)]
        width, height = SIZES[name]
        content = {
            "version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": f"..\\images\\{name}",
            "imageData": base64.b64encode(b"?").decode(), "imageHeight": height, "imageWidth": width,
        }  # fmt: skip
        return json.dumps(content)

    return text


def shape(label: str, kind: str, points: list[list[float]], group: int | None = None) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": group, "description": "", "shape_type": kind, "flags": {},
            "mask": None}  # fmt: skip


def rectangle(label: str, corners: list[int]) -> list[dict[str, Any]]:
    x1, y1, x2, y2 = corners
    return [shape(label, "rectangle", [[x2, y1], [x1, y2]])]


def grouped(label: str, corners: list[int]) -> list[dict[str, Any]]:
    """An object in two parts: a polygon, and a mask, whose second point is its last pixel."""
    x1, y1, x2, y2 = corners
    parts = [[x1, y1], [x2 - 5, y1], [x1, y1 + 5]], [[x1 + 2, y1 + 2], [x2 - 1, y2 - 1]]
    return [shape(label, kind, points, 7) for kind, points in zip(("polygon", "mask"), parts, strict=True)]


def imagefolder(folder: Path, prefix: str = "", numbered: bool = False) -> Path:
    rows = []
    for name, things in BOXES.items():
        boxes = [[x1, y1, x2 - x1, y2 - y1] for _, (x1, y1, x2, y2) in things]
        classes = [CLASSES.index(label) if numbered else label for label, _ in things]
        rows.append(json.dumps({"file_name": prefix + name, "objects": {"bbox": boxes, "categories": classes}}))
    images(folder / prefix)
    return files(folder, {"metadata.jsonl": "\n".join(rows)} | ({"classes.txt": "star\ndisk\n"} if numbered else {}))


SETS: dict[str, Write] = {
    "coco": lambda folder: coco_file(whole_coco())(images(folder)),
    "coco-text-ids": lambda folder: coco_file(with_text_ids())(images(folder)),
    "coco-polygons": lambda folder: coco_file(without_boxes(polygons))(images(folder)),
    "coco-flat-polygon": lambda folder: coco_file(without_boxes(lambda *a: [*chain(*polygons(*a))]))(images(folder)),
    "coco-rle": lambda folder: coco_file(without_boxes(rle))(images(folder)),
    "coco-counted-rle": lambda folder: coco_file(without_boxes(counted_rle))(images(folder)),
    "coco-as-published": yolo(
        "train2017",
        {
            "annotations/instances_train2017.json": json.dumps(whole_coco()),
            "annotations/captions_train2017.json": "{}",
            "annotations/instances_val2017.json": "{}",
        },
    ),
    "coco-file-of-a-split": lambda folder: (
        yolo(
            "images/train",
            {"annotations/instances_train.json": json.dumps(whole_coco()), "images/val/a.png": "", "x/b.png": ""},
        )(folder)
        / "annotations/instances_train.json"
    ),
    "coco-of-cvat": yolo("images/train", {"annotations/instances_default.json": json.dumps(whole_coco())}),
    "yolo-folders": two_folders,
    "yolo-polygons": yolo("images", {"data.yaml": "names: [star, disk]"}, yolo_labels("labels", outline)),
    "yolo-keypoints": yolo(
        "images", {"dataset.yaml": "names: [star, disk]\nkpt_shape: [2, 3]"}, yolo_labels("labels", keypoints)
    ),
    "label-studio": yolo("images", {"classes.txt": "star\ndisk\n", "notes.json": "{}"}, yolo_labels("labels")),
    "labelimg": yolo(".", {"classes.txt": "star\ndisk\n"}, yolo_labels(".")),
    "labelimg-in-labels": yolo("images", {"labels/classes.txt": "star\r\ndisk\r\n\r\n"}, yolo_labels("labels")),
    "cvat-yolo-1.1": yolo(
        "obj_train_data",
        {"obj.data": DARKNET, "obj.names": "star\ndisk\n", "train.txt": LIST},
        yolo_labels("obj_train_data"),
    ),
    "obj.names": yolo("obj", {"obj.names": "star\ndisk\n"}, yolo_labels("obj")),
    "yolo-in-a-folder": yolo("set/train/images", {"set/classes.txt": "star\ndisk"}, yolo_labels("set/train/labels")),
    "voc": per_image("JPEGImages", "Annotations", ".xml", voc),
    "voc-lower-case": per_image("images", "annotations", ".xml", voc),
    "voc-devkit": per_image("VOCdevkit/VOC2007/JPEGImages", "VOCdevkit/VOC2007/Annotations", ".xml", voc),
    "voc-nested": per_image("photos/day 1", "boxes/day 1", ".xml", voc),
    "voc-two-depths": at_two_depths(".", ".xml", voc),
    "voc-two-depths-annotations": lambda folder: at_two_depths("Annotations", ".xml", voc)(folder) / "Annotations",
    "labelme-two-depths": at_two_depths("boxes", ".json", labelme(rectangle)),
    "labelme-two-at-the-top": at_two_depths("boxes", ".json", labelme(rectangle), ("a.png", "c.png")),
    "labelme": per_image("images", "labels", ".json", labelme(rectangle)),
    "labelme-beside": per_image(".", ".", ".json", labelme(rectangle)),
    "labelme-groups": per_image(".", ".", ".json", labelme(grouped)),
    "imagefolder": imagefolder,
    "imagefolder-splits": lambda folder: imagefolder(folder, "train/"),
    "imagefolder-numbers": lambda folder: imagefolder(folder, numbered=True),
}


@pytest.mark.parametrize("name", SETS)
def test_the_boxes_are_the_same(tmp_path: Path, name: str) -> None:
    train_set, findings = read_train_set(SETS[name](tmp_path))
    found = {
        item.image.name: sorted(
            (train_set.labels[label], [round(float(x), 3) for x in box])
            for label, box in zip(item.labels, item.boxes, strict=True)
        )
        for item in train_set.items
        if isinstance(item, DetectionItem)
    }
    assert found == BOXES
    assert [row.what for row in findings.rows] == [DataIssue.IMAGE_EMPTY.what]


def scores(truth: GroundTruth) -> dict[str, float]:
    """Of detections that miss one box by a little and one entirely."""
    ids = {row.file_name.rpartition("/")[2]: row.id for row in truth.images}
    classes = {row.name: row.id for row in truth.categories}
    found = [("a.png", "disk", [10, 5, 24, 30], 0.9), ("b.png", "disk", [0, 0, 60, 80], 0.8)]
    found.append(("c.png", "star", [0, 0, 9, 9], 0.7))
    rows = [
        {"image_id": ids[image], "category_id": classes[name], "bbox": box, "score": score}
        for image, name, box, score in found
    ]
    return coco_scores(truth, rows).summary


@pytest.mark.parametrize("name", SETS)
def test_the_scores_are_the_same(tmp_path: Path, name: str) -> None:
    expected = scores(read_ground_truth(SETS["coco"](tmp_path / "reference")))
    assert 0 < expected["AP"] < 1
    assert scores(read_ground_truth(SETS[name](tmp_path / "set"), split="train")) == pytest.approx(expected, abs=1e-9)


# ------------------------------------------------------------------------------------------------------------- details


def test_images_of_cvat_elsewhere(tmp_path: Path) -> None:
    """CVAT exports labels without images by default."""
    path = SETS["cvat-yolo-1.1"](tmp_path / "set")
    for image in (path / "obj_train_data").glob("*.png"):
        image.unlink()
    truth = read_ground_truth(path, images=images(tmp_path / "photos"), split="train")
    assert scores(truth) == scores(read_ground_truth(SETS["cvat-yolo-1.1"](tmp_path / "whole"), split="train"))
    with pytest.raises(DataError, match=r"obj\.data: no image for 'test': it names train, val alone"):
        read_ground_truth(path, split="test")


def test_labels_of_label_studio_without_images(tmp_path: Path) -> None:
    path = files(tmp_path / "set", {"classes.txt": "star\ndisk\n"} | yolo_labels("labels"))
    with pytest.raises(DataError, match=r"classes\.txt: no image in images/ or beside it; give the folder of the im"):
        read_ground_truth(path)
    assert len(read_ground_truth(path, images=images(tmp_path / "photos")).annotations) == 3


def test_one_of_several_sets(tmp_path: Path) -> None:
    """Two are never read as one; of a set and other folders it is the set."""
    SETS["voc"](tmp_path / "b")
    SETS["label-studio"](tmp_path / "a")
    with pytest.raises(DataError, match=r"holds several data sets \(a, b\); give one$"):
        read_ground_truth(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b" / "a")
    images(tmp_path / "photos")
    assert len(read_ground_truth(tmp_path).annotations) == 3


@pytest.mark.parametrize("name", SETS)
def test_a_folder_of_images_that_is_not_there(tmp_path: Path, name: str) -> None:
    path = SETS[name](tmp_path)
    with pytest.raises(DataError, match=r"none: no such folder; give the one that holds the images"):
        read_train_set(path, tmp_path / "none")


def test_labels_without_names(tmp_path: Path) -> None:
    images(tmp_path / "images")
    with pytest.raises(DataError, match=r"labels of YOLO without the names of their classes; write them in classes"):
        read_ground_truth(files(tmp_path, yolo_labels("labels")))


def test_shapes_without_a_box(tmp_path: Path) -> None:
    things = [
        shape("star", "circle", [[20, 20], [23, 24]]),
        shape("star", "point", [[3, 3]]),
        shape("star", "rectangle", [[3, 3]]),
        shape("star", "rectangle", [[1, 2], ["x", 4]]),
        {"label": "disk", "shape_type": "rectangle", "points": [[1, 2], [9, 8]], "difficult": True, "group_id": None},
        "shape",
    ]
    images(tmp_path)
    path = files(tmp_path, {"a.json": json.dumps({"shapes": things, "imagePath": "/home/me/a.png"})}) / "a.json"
    truth = read_ground_truth(path)
    assert [(row["bbox"], row["iscrowd"]) for row in truth.annotations] == [([15, 15, 10, 10], 0), ([1, 2, 8, 6], 1)]
    (note,) = truth.notes
    assert note.startswith("boxes that are not four finite numbers, or of odd ids: 4, first ")
    assert 'a.json: shapes[1] is a "point" of 1 point, which has no box' in note


def test_a_json_of_another_kind_among_labelme(tmp_path: Path) -> None:
    SETS["labelme-beside"](tmp_path)
    files(tmp_path, {"coco.json": json.dumps(whole_coco())})
    _, findings = read_train_set(tmp_path)
    (row,) = (row for row in findings.rows if row.what == DataIssue.FILE_UNREADABLE.what)
    assert row.example.endswith("coco.json: has no list 'shapes', as labelme writes; move it to another folder")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"file_name": "a.png", "label": "cat"}, "no row has 'objects' with bbox and categories"),
        ({"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "categories": [5]}}, "category 5 has no name;"),
        ({"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]]}}, 'objects has ["bbox"]; it must have as many'),
        ({"file_name": "a.png", "objects": {"bbox": [], "categories": ["a"]}}, "it must have as many bbox as categ"),
        ({"file_name": "a.png", "objects": "cat"}, 'objects is "cat"; it must be lists of bbox and of categories'),
        ({"objects": {}}, "file_name is null; it must be the path of an image"),
        ([], 'line 1 is "[]", no JSON object; write it again'),
    ],
)
def test_rows_of_imagefolder_that_are_none(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_ground_truth(files(tmp_path, {"metadata.jsonl": json.dumps(row)}))
    assert message in str(caught.value)


def test_a_line_of_imagefolder_ends_where_json_says(tmp_path: Path) -> None:
    """And not at what only Python takes for the end of a line."""
    row = {"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "categories": ["a\u2028b\x85c"]}}
    truth = read_ground_truth(files(images(tmp_path), {"metadata.jsonl": json.dumps(row, ensure_ascii=False)}))
    assert truth.labels == ("a\u2028b\x85c",)


def test_objects_of_imagefolder_one_by_one(tmp_path: Path) -> None:
    objects = [{"bbox": [1, 2, 3, 4], "category": "star"}, {"bbox": [1, 2, 3], "category": "star"}]
    row = json.dumps({"file_name": "a.png", "objects": objects})
    truth = read_ground_truth(files(images(tmp_path), {"metadata.jsonl": row}))
    assert [one["bbox"] for one in truth.annotations] == [[1, 2, 3, 4]]
    assert "metadata.jsonl, line 1: bbox is [1, 2, 3]; a box is [x, y, width, height]" in truth.notes[0]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3]], ".segmentation is [[1, 2, 3]]; a polygon is [x1, y1, x2, y2, ...]"),
        ([[1, 2, "x", 4]], '.segmentation is "x"; it must be a finite number'),
        ({"size": [8, 10], "counts": "*"}, ".segmentation is no RLE mask ("),
        ({"size": [8, 10], "counts": [90]}, ".segmentation is no RLE mask ("),
        ({"size": [8, 10], "counts": [80]}, ".segmentation is a mask of nothing, which has no box"),
        ({"size": 8}, ".segmentation is no RLE mask ("),
        ([], ".bbox is null; a box is [x, y, width, height]"),
    ],
)
def test_segmentations_that_are_none(tmp_path: Path, segmentation: Any, message: str) -> None:
    """The others of the file are read."""
    content = whole_coco()
    content["annotations"][0] |= {"segmentation": segmentation, "bbox": None}
    truth = read_ground_truth(coco_file(content)(images(tmp_path)))
    assert len(truth.annotations) == 2
    assert f"annotations[0]{message}" in truth.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"id": 1, "data": {}, "annotations": []}], "tasks of Label Studio; export them as COCO or YOLO"),
        ({"info": {}, "items": [], "categories": {}}, "Datumaro's own json; export the set as COCO"),
        ({"_via_img_metadata": {}}, "a project of VIA; export its annotations as COCO"),
        ({"images": [], "annotations": [{"segments_info": []}]}, "panoptic segments without boxes of objects"),
        ({"images": [], "annotations": [{"caption": "a cat"}]}, "captions without boxes, for glip annotate"),
    ],
)
def test_json_of_other_tools(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_ground_truth(files(tmp_path, {"x.json": json.dumps(content)}) / "x.json")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.xml", "<annotation/>", "one file of several, as Pascal VOC has them; give the folder of the xml files"),
        ("annotations.xml", "<annotations/>", "its <annotations> is no <annotation> of Pascal VOC; export VOC or COCO"),
        (
            "train.txt",
            "a.png",
            "labels or a list of images, as YOLO has them; give the folder, or its data.yaml or obj",
        ),
        ("x.ZIP", "", "an archive; unpack it and give the folder"),
        ("x.parquet", "", "a format of boxes that is not read; export it as COCO or YOLO"),
        ("x.jpg", "", "an image; give the annotations, or the folder that holds them"),
        ("obj.data", "names = data/mine.names", 'names = "data/mine.names" is no file here; put the file of the cl'),
        ("obj.names", " \n", "names no class; write a class name per line"),
        ("a.png", "", "holds images, but neither data.yaml, obj.names or classes.txt (YOLO) nor xml files (VOC) nor"),
    ],
)
def test_what_files_do_not_hold(tmp_path: Path, name: str, text: str, message: str) -> None:
    files(tmp_path, {name: text})
    with pytest.raises(DataError) as caught:
        read_ground_truth(tmp_path / name if name[0] in "xt" else tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
