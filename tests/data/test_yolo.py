"""YOLO sets as tools write them: every form of line, data.yaml in all spellings, every layout of folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_cli.data.dataset import Dataset
from glip_cli.data.issues import KEPT, STOPS, DataIssue, Issue, Issues
from glip_cli.data.yolo import read_yolo
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.outputs.files import FileNames
from glip_cli.outputs.formats import write_formats
from glip_cli.outputs.records import record
from glip_cli.types import Detections

BOX = "0.5 0.5 0.5 0.5"
BOX_160 = [40, 40, 120, 120]


def read(folder: Path, split: str = "train", images: Path | None = None) -> tuple[Dataset, list[Issue]]:
    issues = Issues()
    return read_yolo(folder / "data.yaml", images, split, issues), issues.rows()


def image(path: Path, size: tuple[int, int] = (160, 160)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def yolo(folder: Path, labels: str | bytes, yaml: str = "names: [star]") -> tuple[Dataset, list[Issue]]:
    """A set of one image of 160 x 160."""
    image(folder / "images" / "a.png")
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    (folder / "data.yaml").write_text(yaml, encoding="utf-8")
    return read(folder)


def corners(dataset: Dataset) -> list[list[int]]:
    boxes = (row["bbox"] for row in dataset.annotations)
    return [[round(v, 3) for v in (x, y, x + width, y + height)] for x, y, width, height in boxes]


def points(count: int) -> str:
    """Within the box of `BOX`."""
    return " ".join(f"{0.45 + 0.1 * (i % 2)} {0.3 + 0.4 * i / max(count - 1, 1)}" for i in range(count))


def seen(count: int) -> str:
    """Keypoints of three numbers, the first not seen."""
    return " ".join(["0 0 0"] + [f"{0.45 + 0.1 * (i % 2)} 0.5 {1 + i % 2}" for i in range(count - 1)])


# ------------------------------------------------------------------------------------------------------ forms of lines


@pytest.mark.parametrize(
    ("yaml", "rest"),
    [
        ("", ""),
        ("", " 0.9"),
        ("", " 0.9 7"),
        ("task: detect", " 0.9 1"),
        ("kpt_shape: [4, 2]", " 0.45 0.45 0.55 0.45 0.55 0.55 0.45 0.55"),
        ("kpt_shape: [4, 2]", " 0.45 0.45 0.55 0.45 0.55 0.55 0.45 0.55 0.9"),
        ("kpt_shape: [4, 2]", " 0.45 0.45 0.55 0.45 0.55 0.55 0.45 0.55 0.9 3"),
        ("kpt_shape: [4, 2]", ""),
        ("kpt_shape: [17, 3]", " " + seen(17)),
        ("kpt_shape: [5, 3]", " " + seen(5)),
        ("kpt_shape: [5, 2]", " " + points(5)),
        ("kpt_shape: [1, 2]", " 0.5 0.4"),
        ("kpt_shape: [1, 3]", " 0.5 0.4 2"),
        ("kpt_shape:\n- 2\n- 2", " " + points(2)),
        ("task: pose", " " + points(6)),
    ],
)
def test_boxes_with_more_columns(tmp_path: Path, yaml: str, rest: str) -> None:
    dataset, found = yolo(tmp_path, f"0 {BOX}{rest}", f"names: [star]\n{yaml}")
    assert found == []
    assert corners(dataset) == [BOX_160]


@pytest.mark.parametrize(
    ("yaml", "line"),
    [
        ("", "0 .25 .25 .75 .25 .75 .75 .25 .75"),  # four corners, or a polygon of four points
        ("", "0 .25 .25 .5 .3 .75 .25 .75 .75 .25 .75"),
        ("", "0 .25 .25 .75 .5 .25 .75"),  # a triangle: no id ends in .75
        ("task: segment", "0 .25 .25 .75 .75 .3 .7"),
        ("task: segment", "0 .25 .25 .75 .25 .75 .75 .25 .75 .9"),
        ("task: segment", "0 .5 .5 .5 .5 .9"),
        ("task: obb", "0 .25 .5 .5 .25 .75 .5 .5 .75"),
        ("task: obb", "0 .25 .5 .5 .25 .75 .5 .5 .75 .9"),
        ("task: obb", "0 .25 .5 .5 .25 .75 .5 .5 .75 .9 7"),
        ("", "0 .25 .5 .5 .25 .75 .5 .5 .75 .9 7\n0 .25 .5 .5 .25 .75 .5 .5 .75 .9 8"),
        ("task: detect", "0 .25 .25 .75 .25 .75 .75 .25 .75"),
    ],
)
def test_polygons_and_turned_boxes(tmp_path: Path, yaml: str, line: str) -> None:
    dataset, found = yolo(tmp_path, line, f"names: [star]\n{yaml}")
    assert found == []
    assert corners(dataset) == [BOX_160] * len(line.splitlines())


def test_triangles_among_polygons_end_in_coordinates(tmp_path: Path) -> None:
    dataset, found = yolo(tmp_path, "0 .25 .25 .5 .25 .75 1\n0 .1 .1 .2 .1 .2 .2 .3 .3 .1 .2")
    assert found == []
    assert corners(dataset) == [[40, 40, 120, 160], [16, 16, 48, 48]]


@pytest.mark.parametrize(
    "line",
    [
        f"0 {BOX} {points(4)}",  # of 13 numbers
        f"0 {BOX} {points(2)}",
        f"0 {BOX} {seen(17)}",
        "0 .5 .5 .5 .5 .9 1",  # confidence and id, or a triangle that touches the edge
    ],
)
def test_lines_that_may_be_two_things_stop(tmp_path: Path, line: str) -> None:
    """Whatever was guessed would be silently wrong for someone: data.yaml must say it."""
    (row,) = yolo(tmp_path, line)[1]
    assert (row.what, row.count, row.action) == (DataIssue.LINE_FORM.what, 1, STOPS)
    assert "a.txt, line 1: " in row.example
    with pytest.raises(DataError, match=r"say kpt_shape or task in data\.yaml; first .*a\.txt, line 1") as caught:
        read_ground_truth(tmp_path, split="train")
    assert len(str(caught.value)) < 300 + 2 * len(str(tmp_path))


@pytest.mark.parametrize(
    ("yaml", "line"),
    [
        ("", "0 .5 .5 .1"),
        ("", "0 .5 .5 x .1"),
        ("", "0 nan .5 .1 .1"),
        ("", "0 inf .5 .1 .1"),
        ("", "0 .1 .1 .2 .2 .3 .3 .4"),
        ("", "0 0,5 0,5 0,2 0,2"),  # decimal commas
        ("", "star .5 .5 .1 .1"),
        ("kpt_shape: [4, 2]", "0 .1 .1 .2 .2 .3 .3 .4 .4 .5 .5"),
        ("task: segment", "0 .1 .1 .2 .2 .3 .3 .4 .4\n"[:-5]),
        ("task: obb", "0 .1 .1 .2 .2 .3 .3 .4"),
        ("task: detect", "0 .1 .1 .2 .2 .3 .3 .4"),
    ],
)
def test_lines_that_are_none(tmp_path: Path, yaml: str, line: str) -> None:
    dataset, (row,) = yolo(tmp_path, f"\n{line}\n0 {BOX}\n", f"names: [star]\n{yaml}")
    assert (row.what, row.count, row.action) == (DataIssue.LINE.what, 1, "dropped")
    assert "a.txt, line 2" in row.example
    assert corners(dataset) == [BOX_160]


@pytest.mark.parametrize("text", ["[17]", "17", "[0, 2]", "[17, 4]", "[x, 2]", "[17, 3, 1]"])
def test_shapes_of_keypoints_that_are_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"kpt_shape is .*; write \[keypoints, 2\] or \[keypoints, 3\]"):
        yolo(tmp_path, f"0 {BOX}", f"names: [star]\nkpt_shape: {text}")


@pytest.mark.parametrize(
    "labels",
    [
        f"0 {BOX}\r\n0 {BOX}\r\n".encode(),
        f"\ufeff0 {BOX}\n0 {BOX}".encode(),
        f"0 {BOX}\n0 {BOX}\n".encode("utf-16"),
        f"0\t{BOX}  \n\n  0  {BOX}\t\n".replace("0.5 ", "0.5\t").encode(),
        f"0,{BOX}\n0, {BOX}".replace("0.5 ", "0.5,").encode(),
        f"0.0 {BOX}\n0 5e-1 +.5 0.50 .5".encode(),
    ],
)
def test_separators_and_encodings(tmp_path: Path, labels: bytes) -> None:
    dataset, found = yolo(tmp_path, labels)
    assert found == []
    assert corners(dataset) == [BOX_160, BOX_160]


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    (row,) = yolo(tmp_path, b"\xff\x00\x81")[1]
    assert (row.what, row.count) == (DataIssue.LINE.what, 1)


def test_classes_that_there_are_none_of(tmp_path: Path) -> None:
    dataset, (row,) = yolo(tmp_path, f"0 {BOX}\n1 {BOX}\n-1 {BOX}\n0.5 {BOX}")
    assert (row.what, row.count) == (DataIssue.BOX_CATEGORY.what, 3)
    assert "line 2: class 1" in row.example
    assert corners(dataset) == [BOX_160]


# ---------------------------------------------------------------------------------------------------------- data.yaml


def names_of(folder: Path, yaml: str) -> dict[int, str]:
    dataset, _ = yolo(folder, "", yaml)
    return {row.id: row.name for row in dataset.categories}


TYPED = ["on", "off", "yes", "no", "null", "~", "1.0", "1e3", "0x10", "0o7", "2026-11-28", "12:30:00", "1_000", ".inf"]


def test_names_stay_as_typed(tmp_path: Path) -> None:
    """YAML 1.1 makes truth values, numbers, dates and times of them."""
    wanted = dict(enumerate(TYPED))
    assert names_of(tmp_path, f"names: [{', '.join(TYPED)}]") == wanted
    assert names_of(tmp_path, "names:\n" + "".join(f"- {name}\n" for name in TYPED)) == wanted
    assert names_of(tmp_path, "names:\n" + "".join(f"  {i}: {name}\n" for i, name in wanted.items())) == wanted


def test_maps_of_names(tmp_path: Path) -> None:
    assert names_of(tmp_path, "names: {7: 'a b', 2: \"é: #1\", 0: 裂纹}") == {0: "裂纹", 2: "é: #1", 7: "a b"}
    assert names_of(tmp_path, "names:\n- \n- b") == {0: "", 1: "b"}
    dataset, _ = yolo(tmp_path, "", "names: {0: a, 0: b}")  # which is found to stand for two names
    assert [(row.id, row.name) for row in dataset.categories] == [(0, "a"), (0, "b")]


@pytest.mark.parametrize(
    "text", ["5", "{}", "[]", "", "{a: b}", "{-1: a}", "{0x1: a}", "[[a]]", "[a, {b: c}]", "&a [*a]"]
)
def test_names_that_are_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"data\.yaml: ('names' is|no YAML)") as caught:
        names_of(tmp_path, f"names: {text}")
    assert len(str(caught.value)) < 200 + len(str(tmp_path))


def test_aliases_unfold_to_nothing_endless(tmp_path: Path) -> None:
    nested = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 40))
    with pytest.raises(DataError, match="'names' is"):
        names_of(tmp_path, f"l0: &l0 [x, x]\n{nested}names: *l39\n")


def test_the_number_of_classes(tmp_path: Path) -> None:
    (row,) = yolo(tmp_path, "", "names: [a, b]\nnc: 80")[1]
    assert (row.what, row.action) == (DataIssue.CATEGORY_COUNT.what, KEPT)
    assert "nc is \"80\", and 'names' has 2" in row.example
    assert yolo(tmp_path, "", "names: [a, b]\nnc: 2")[1] == []


# ------------------------------------------------------------------------------------------------------------- folders


def layout(folder: Path, yaml: str, *pairs: tuple[str, str]) -> None:
    """Images with a box each, and where its labels lie."""
    for name, labels in pairs:
        image(folder / name)
        (folder / labels).parent.mkdir(parents=True, exist_ok=True)
        (folder / labels).write_text(f"0 {BOX}")
    (folder / "data.yaml").write_text(f"names: [star]\n{yaml}", encoding="utf-8")


@pytest.mark.parametrize(
    ("yaml", "pairs"),
    [
        ("train: images", [("images/a b/ü.JPG", "labels/a b/ü.txt"), ("images/x.y.png", "labels/x.y.TXT")]),
        ("train: images/train\nval: ~", [("images/train/a.png", "labels/train/a.txt")]),
        ("train: train", [("train/a.png", "train/a.txt"), ("train/deep/er/b.png", "train/deep/er/b.txt")]),
        ("train: images\\train", [("images/train/a.png", "labels/train/a.txt")]),
        ("path: .\ntrain: ./images/", [("images/a.png", "labels/a.txt")]),
        ("path: /content/datasets/mine\ntrain: images", [("images/a.png", "labels/a.txt")]),  # of another machine
        (
            "path: ~\ntrain: [images/a.png, images/b]",
            [("images/a.png", "labels/a.txt"), ("images/b/c.jpg", "labels/b/c.txt")],
        ),
        ("", [("images/a.png", "labels/a.txt")]),
        ("", [("a.png", "a.txt")]),
    ],
)
def test_layouts(tmp_path: Path, yaml: str, pairs: list[tuple[str, str]]) -> None:
    layout(tmp_path, yaml, *pairs)
    dataset, found = read(tmp_path)
    assert found == []
    assert sorted(row.file_name for row in dataset.images) == sorted(name for name, _ in pairs)
    assert corners(dataset) == [BOX_160] * len(pairs)


def test_a_path_of_its_own(tmp_path: Path) -> None:
    layout(tmp_path / "set", "", ("images/a.png", "labels/a.txt"))
    (tmp_path / "set" / "data.yaml").unlink()
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path / 'set'}\ntrain: images\nnames: [star]")
    assert corners(read(tmp_path)[0]) == [BOX_160]
    (tmp_path / "data.yaml").write_text("path: set\ntrain: images\nnames: [star]")
    assert corners(read(tmp_path)[0]) == [BOX_160]


def test_lists_of_images(tmp_path: Path) -> None:
    """With Windows separators, an image twice, and one that is not there."""
    layout(tmp_path, "train: lists/train.txt", ("images/a.png", "labels/a.txt"), ("images/b c.png", "labels/b c.txt"))
    (tmp_path / "lists").mkdir()
    text = f"./images/a.png\r\n\r\nimages\\b c.png\n{tmp_path / 'images' / 'a.png'}\nimages/gone.png\n"
    (tmp_path / "lists" / "train.txt").write_text(text)
    dataset, found = read(tmp_path)
    assert found == []
    assert [row.file_name for row in dataset.images] == ["images/a.png", "images/b c.png", "lists/images/gone.png"]
    assert set(dataset.paths) == {1, 2}
    assert corners(dataset) == [BOX_160, BOX_160]


def test_images_of_one_stem_have_labels_of_their_own(tmp_path: Path) -> None:
    """As glip writes them."""
    images = [image(tmp_path / "images" / name) for name in ("a.jpg", "a.png")]
    run = tmp_path / "run"
    found = [Detections(np.array([[place, 40, 120, 120]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64),
                        ("star",), ((0, 4),), "star", (160, 160)) for place in (10, 40)]  # fmt: skip
    records = [record(str(path), one, "m") for path, one in zip(images, found, strict=True)]
    write_formats(records, ["yolo"], run, FileNames(str(tmp_path / "images")))
    dataset, _ = read(run, images=tmp_path / "images")
    assert corners(dataset) == [[10, 40, 120, 120], [40, 40, 120, 120]]
    assert [row.file_name.rpartition("/")[2] for row in dataset.images] == ["a.jpg", "a.png"]


def test_labels_without_their_image(tmp_path: Path) -> None:
    layout(tmp_path, "train: images", ("images/a.png", "labels/a.txt"), ("images/b.png", "labels/b.txt"))
    (tmp_path / "images" / "b.png").unlink()
    (tmp_path / "labels" / "classes.txt").write_text("star")
    dataset, (row,) = read(tmp_path)
    assert (row.what, row.count) == (DataIssue.IMAGE_MISSING.what, 1)
    assert row.example.endswith("b.txt has no image")
    assert len(dataset.images) == 1


def test_images_elsewhere_have_the_labels_beside_data_yaml(tmp_path: Path) -> None:
    """As `glip detect --format yolo` leaves them."""
    layout(tmp_path / "set", "train: images", ("../photos/x/a.png", "labels/x/a.txt"))
    dataset, found = read(tmp_path / "set", images=tmp_path / "photos")
    assert found == []
    assert corners(dataset) == [BOX_160]


def test_a_damaged_image_has_no_boxes_in_pixels(tmp_path: Path) -> None:
    layout(tmp_path, "train: images", ("images/a.png", "labels/a.txt"), ("images/b.png", "labels/b.txt"))
    (tmp_path / "images" / "a.png").write_bytes(b"")
    dataset, (row,) = read(tmp_path)
    assert (row.what, row.count) == (DataIssue.BOX_UNPLACED.what, 1)
    assert [row["image_id"] for row in dataset.annotations] == [2]
