"""Everything that is wrong with a set is found, counted, shown, and handled as the table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glip_cli.data.issues import DataIssue, Findings, Issue
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.training.dataset import TrainSet, read_train_set
from tests.training.examples import coco, written

IMAGES: list[dict[str, Any]] = coco()["images"]
BOXES: list[dict[str, Any]] = coco()["annotations"]
CLASSES: list[dict[str, Any]] = coco()["categories"]


def box(*bbox: float, image_id: int = 1, category_id: int = 3, number: int = 9, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": category_id, "bbox": list(bbox), **more}


def read(folder: Path, **changes: Any) -> tuple[TrainSet, Findings]:
    return read_train_set(written(folder, coco(**changes)))


def only(findings: Findings, fault: DataIssue) -> Issue:
    """The one row."""
    (row,) = findings.rows
    assert (row.what, row.action) == (fault.what, fault.action)
    return row


@pytest.mark.parametrize(
    ("wrong", "fault", "example"),
    [
        (box(200, 0, 30, 30), DataIssue.BOX_OUTSIDE, "a.png"),
        (box(-50, 0, 50.5, 30), DataIssue.BOX_OUTSIDE, "a.png"),
        (box(10, 10, 0, 20), DataIssue.BOX_SIZE, "[10.0, 10.0, 0.0, 20.0]"),
        (box(10, 10, 20, 1), DataIssue.BOX_SIZE, "a.png"),
        (box(10, 10, -20, 20), DataIssue.BOX_SIZE, "a.png"),
        (box(10, 10, 20, 20, category_id=7), DataIssue.BOX_CATEGORY, "class 7"),
        (box(10, 10, 20, 20, image_id=7), DataIssue.BOX_IMAGE, "image 7"),
        (box(10, 10, 20, 20, iscrowd=1), DataIssue.BOX_CROWD, "a.png"),
    ],
)
def test_boxes_that_are_dropped(tmp_path: Path, wrong: dict[str, Any], fault: DataIssue, example: str) -> None:
    train_set, findings = read(tmp_path, annotations=[*BOXES, wrong, {**wrong, "id": 10}])
    row = only(findings, fault)
    assert (row.count, row.action) == (2, "dropped")
    assert example in row.example
    assert [len(item.boxes) for item in train_set.items] == [2, 1]
    assert not findings.stops


def test_boxes_over_the_edge_are_cut(tmp_path: Path) -> None:
    over = [box(-5, 10, 20, 60), box(-0.5, 0, 100.9, 50.5, number=10)]  # the second only by rounding
    train_set, findings = read(tmp_path, annotations=[*BOXES, *over])
    row = only(findings, DataIssue.BOX_CLIPPED)
    assert (row.count, row.action) == (1, "cut")
    assert train_set.items[0].boxes[2:].tolist() == [[0, 10, 15, 50], [0, 0, 100, 50]]


def test_box_ids_may_repeat(tmp_path: Path) -> None:
    """An id of a box means nothing in training; evaluation would lose one of them."""
    train_set, findings = read(tmp_path, annotations=[*BOXES, box(1, 1, 20, 20, number=3)])
    assert only(findings, DataIssue.BOX_ID).count == 1
    assert len(train_set.items[0].boxes) == 3


def test_missing_and_damaged_images(tmp_path: Path) -> None:
    images = [*IMAGES, {"id": 3, "file_name": "gone.png"}, {"id": 4, "file_name": "text.png"}]
    path = written(tmp_path, coco(images=images, annotations=[*BOXES, box(1, 1, 9, 9, image_id=3)]))
    (tmp_path / "text.png").write_text("no image")
    train_set, findings = read_train_set(path)
    assert [(row.what, row.count, row.action) for row in findings.rows] == [
        (DataIssue.IMAGE_MISSING.what, 1, "dropped"),
        (DataIssue.IMAGE_UNREADABLE.what, 1, "dropped"),
    ]
    assert "gone.png" in findings.rows[0].example
    assert [item.image.name for item in train_set.items] == ["a.png", "b.png"]


def test_no_image_is_there(tmp_path: Path) -> None:
    path = written(tmp_path / "here", coco())
    (tmp_path / "there").mkdir()
    train_set, findings = read_train_set(path, tmp_path / "there")
    assert not train_set.items
    assert findings.stops
    assert [row.action for row in findings.rows if row.what == DataIssue.NOTHING.what] == ["stops"]


def test_fractions_instead_of_pixels_stop(tmp_path: Path) -> None:
    _, findings = read(tmp_path, annotations=[box(0.1, 0.1, 0.5, 0.5)])
    assert findings.stops


def test_sizes_are_the_image_s_own(tmp_path: Path) -> None:
    images = [{**IMAGES[0], "width": 50, "height": 100}, IMAGES[1]]
    train_set, findings = read(tmp_path, images=images)
    assert only(findings, DataIssue.IMAGE_SIZE).count == 1
    assert train_set.items[0].boxes[1].tolist() == [50, 20, 100, 50]


def test_boxes_of_resized_and_turned_images_are_moved_to_their_pixels(tmp_path: Path) -> None:
    """As `glip eval` moves the results: one rule for both."""
    images = [
        {**IMAGES[0], "width": 200, "height": 100},
        {**IMAGES[1], "file_name": "turned.jpg", "width": 100, "height": 50},
    ]
    boxes = [box(100, 20, 50, 60), box(10, 20, 30, 10, image_id=2, category_id=1, number=10)]
    path = written(tmp_path, coco(images=images, annotations=boxes))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 50)).save(tmp_path / "turned.jpg", exif=exif)
    train_set, findings = read_train_set(path)
    row = only(findings, DataIssue.IMAGE_SCALED)
    assert (row.count, row.example) == (2, "a.png: 100 x 50, stated 200 x 100")
    assert train_set.items[0].boxes.tolist() == [[50, 10, 75, 40]]
    assert train_set.items[1].boxes.tolist() == [[20, 10, 30, 40]]  # 50 x 100 upright


def test_turned_images_are_measured_upright(tmp_path: Path) -> None:
    path = written(tmp_path, coco(images=[{**IMAGES[0], "file_name": "turned.jpg"}, IMAGES[1]]))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (50, 100)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_train_set(path)[1].rows == ()


def test_image_ids(tmp_path: Path) -> None:
    _, findings = read(tmp_path, images=[*IMAGES, IMAGES[0]])
    assert only(findings, DataIssue.IMAGE_REPEATED).action == "dropped"
    assert not findings.stops
    _, findings = read(tmp_path, images=[*IMAGES, {**IMAGES[0], "file_name": "c.png"}])
    assert [row.count for row in findings.rows if row.what == DataIssue.IMAGE_ID.what] == [1]
    assert findings.stops


def test_images_without_a_box_stay(tmp_path: Path) -> None:
    train_set, findings = read(tmp_path, images=[*IMAGES, {"id": 3, "file_name": "c.png"}])
    assert only(findings, DataIssue.IMAGE_EMPTY).action == "kept"
    assert train_set.items[2].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("more", "others", "fault"),
    [
        ({"id": 0, "name": "__background__"}, {}, DataIssue.CATEGORY_BACKGROUND),
        ({"id": 9, "name": "Background"}, {}, DataIssue.CATEGORY_BACKGROUND),
        (
            {"id": 0, "name": "shapes", "supercategory": "none"},
            {"supercategory": "shapes"},
            DataIssue.CATEGORY_BACKGROUND,
        ),
        ({"id": 0, "name": "ring"}, {}, DataIssue.CATEGORY_EMPTY),
        ({"id": 5, "name": "  "}, {}, DataIssue.CATEGORY_UNNAMED),
    ],
)
def test_classes(tmp_path: Path, more: dict[str, Any], others: dict[str, Any], fault: DataIssue) -> None:
    train_set, findings = read(tmp_path, categories=[more, *({**row, **others} for row in CLASSES)])
    row = only(findings, fault)
    assert row.count == 1
    dropped = row.action == "dropped"
    assert train_set.labels == (("star", "disk") if dropped else (more["name"], "star", "disk"))


def test_class_0_with_a_name_of_its_own_is_a_class(tmp_path: Path) -> None:
    classes = [{"id": 0, "name": "ring"}, *CLASSES]
    train_set, findings = read(tmp_path, categories=classes, annotations=[*BOXES, box(1, 1, 9, 9, category_id=0)])
    assert findings.rows == ()
    assert train_set.labels == ("ring", "star", "disk")
    assert train_set.items[0].labels.tolist() == [2, 1, 0]  # type: ignore[union-attr]


def test_a_background_that_boxes_use_is_a_class(tmp_path: Path) -> None:
    """Whoever drew boxes of it meant something."""
    classes = [{"id": 0, "name": "background"}, *CLASSES]
    train_set, findings = read(tmp_path, categories=classes, annotations=[*BOXES, box(1, 1, 9, 9, category_id=0)])
    assert findings.rows == ()
    assert train_set.labels == ("background", "star", "disk")


def test_names_that_repeat(tmp_path: Path) -> None:
    _, findings = read(tmp_path, categories=[*CLASSES, {"id": 8, "name": "Disk"}])
    assert {row.what for row in findings.rows} == {DataIssue.CATEGORY_SAME.what, DataIssue.CATEGORY_EMPTY.what}
    assert not findings.stops
    _, findings = read(tmp_path, categories=[*CLASSES, {"id": 3, "name": "ring"}])
    assert only(findings, DataIssue.CATEGORY_ID).count == 1
    assert findings.stops


def test_boxes_of_an_unnamed_class(tmp_path: Path) -> None:
    train_set, findings = read(
        tmp_path, categories=[*CLASSES, {"id": 5}], annotations=[*BOXES, box(1, 1, 9, 9, category_id=5)]
    )
    assert {row.what for row in findings.rows} == {DataIssue.BOX_UNNAMED.what, DataIssue.CATEGORY_UNNAMED.what}
    assert train_set.labels == ("star", "disk")


def test_unknown_yolo_class(tmp_path: Path) -> None:
    written(tmp_path, {})
    (tmp_path / "a.txt").write_text("0 .5 .5 .2 .2\n4 .5 .5 .2 .2\n-1 .5 .5 .2 .2\n0.5 .5 .5 .2 .2\n")
    (tmp_path / "data.yaml").write_text("names: [star]\ntrain: .")
    _, findings = read_train_set(tmp_path)
    row = next(row for row in findings.rows if row.what == DataIssue.BOX_CATEGORY.what)
    assert row.count == 3
    assert "a.txt, line 2" in row.example


def test_evaluation_finds_the_same_when_it_reads_a_set(tmp_path: Path) -> None:
    """One list for both; what happens to an issue may differ."""
    wrong = [box(1, 1, 9, 9, image_id=7), box(1, 1, 9, 9, category_id=7, number=10), box(1, 1, 9, number=11)]
    more = [{"id": 8, "name": "Disk"}, {"id": 9, "name": " "}, {"id": 10, "name": "background"}]
    boxes = [*BOXES, *wrong, box(1, 1, 19, 19, number=3, area="big"), box(3, 3, 9, 9, category_id=8, number=12)]
    path = written(tmp_path, coco(annotations=boxes, categories=[*CLASSES, *more], images=[*IMAGES, IMAGES[0]]))
    findings = read_train_set(path)[1]
    notes = [note.rpartition(" (")[0] for note in read_ground_truth(path).notes]
    assert notes == [f"{row.what}: {row.count}, first {row.example}" for row in findings.rows]
    assert len(notes) == 9


@pytest.mark.parametrize("caption", ["", " ", None, 7, "\ud800"])
def test_captions_that_are_none(tmp_path: Path, caption: object) -> None:
    images = [{**IMAGES[0], "caption": "a disk"}, {**IMAGES[1], "caption": caption}]
    boxes = [{**BOXES[0], "tokens_positive": [[2, 6]]}, {**BOXES[2], "tokens_positive": [[0, 1]]}]
    train_set, findings = read(tmp_path, images=images, annotations=boxes)
    assert only(findings, DataIssue.CAPTION).action == "dropped"
    assert len(train_set) == 1


@pytest.mark.parametrize("spans", [None, [], [[6, 2]], [[1, 2]], [[0, 99]], "x", [[0, 1.5]]])
def test_spans_that_are_none(tmp_path: Path, spans: object) -> None:
    images = [{**row, "caption": "a disk"} for row in IMAGES]
    boxes = [{**BOXES[0], "tokens_positive": [[2, 6]]}, {**BOXES[1], "tokens_positive": spans}]
    _, findings = read(tmp_path, images=images[:1], annotations=boxes)
    assert only(findings, DataIssue.SPAN).action == "dropped"
    assert findings.boxes == 1
