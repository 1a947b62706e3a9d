"""Images of another size than stated: where their boxes lie, and the one line that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from glip_cli.data.box_transforms import BoxTransform, box_transforms_of, checked_box_transforms
from glip_cli.evaluation.results import read_predictions
from glip_cli.outputs.coco import CocoResultsWriter, CocoWriter
from glip_cli.outputs.formats import JsonlWriter
from tests.evaluation.datasets import box, hit, read, saved
from tests.evaluation.test_results import of_words, written

RAW = (60, 40)
ORIENTATION = 0x0112


def photo(path: Path, orientation: int, size: tuple[int, int] = RAW, mark: tuple[int, ...] = (6, 4, 15, 20)) -> Path:
    """Black with a white box [x, y, width, height] as it lies in the file."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    x, y, width, height = mark
    pixels[y : y + height, x : x + width] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def seen(path: Path) -> tuple[tuple[int, int], list[float]]:
    """The size of the upright image and its white box, found in its pixels."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        x1, y1, x2, y2 = upright.getbbox() or (0, 0, 0, 0)
        return upright.size, [x1, y1, x2 - x1, y2 - y1]


def content(width: int, height: int, xywh: list[float]) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "1.png", "width": width, "height": height}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [box(1, 1, 3, xywh)],
    }


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_turned_image_whose_boxes_are_those_of_the_file(tmp_path: Path, orientation: int, scale: int) -> None:
    path = photo(tmp_path / "1.png", orientation)
    size, found = seen(path)
    truth = read(tmp_path, content(RAW[0] * scale, RAW[1] * scale, [6 * scale, 4 * scale, 15 * scale, 20 * scale]))
    transforms = box_transforms_of(truth.images, truth.annotations, {1: size}, {1: path})
    assert transforms.to_stated(1, found) == truth.annotations[0]["bbox"]
    assert transforms.to_image(1, truth.annotations[0]["bbox"]) == found
    assert transforms.issues.notes == (
        "images of another size than stated; their boxes are scaled or turned to match: 1, first "
        f"1.png: 40 x 60, stated {60 * scale} x {40 * scale} (kept)",
    )


@pytest.mark.parametrize(
    ("stated", "image", "inside"),
    [
        ((160, 160), (320, 320), [10, 20, 30, 40]),
        ((640, 480), (320, 240), [10, 20, 30, 40]),
        ((333, 500), (167, 250), [10, 20, 30, 40]),  # rounded
        ((333, 500), (166, 250), [300, 400, 33, 100]),
    ],
)
def test_a_resized_image(tmp_path: Path, stated: tuple[int, int], image: tuple[int, int], inside: list[float]) -> None:
    truth = read(tmp_path, content(*stated, inside))
    transforms = box_transforms_of(truth.images, truth.annotations, {1: image}, {})
    moved = transforms.to_image(1, list(inside))
    assert moved == pytest.approx([v * image[i % 2] / stated[i % 2] for i, v in enumerate(inside)], abs=1e-3)
    assert transforms.to_stated(1, moved) == pytest.approx(inside, abs=5e-3)


@pytest.mark.parametrize(
    ("stated", "image", "inside"),
    [
        ((40, 60), (60, 40), [6, 4, 15, 20]),  # written the wrong way round; no EXIF
        ((160, 160), (320, 320), [200, 200, 100, 100]),  # the boxes were scaled, the sizes were not
        ((1, 1), (320, 240), [20, 20, 100, 100]),  # not measured
        ((320, 200), (320, 240), [20, 20, 100, 100]),  # cut
    ],
)
def test_a_stated_size_that_is_wrong(
    tmp_path: Path, stated: tuple[int, int], image: tuple[int, int], inside: list[float]
) -> None:
    truth = read(tmp_path, content(*stated, inside))
    transforms = box_transforms_of(truth.images, truth.annotations, {1: image}, {1: photo(tmp_path / "1.png", 1)})
    assert transforms.to_stated(1, list(inside)) == inside
    (note,) = transforms.issues.notes
    assert "; the boxes are taken as pixels of the image: 1, first 1.png: " in note


def test_sizes_that_agree_or_are_not_known(tmp_path: Path) -> None:
    truth = read(tmp_path, content(60, 40, [6, 4, 15, 20]))
    assert box_transforms_of(truth.images, truth.annotations, {1: (60, 40)}, {}).issues.notes == ()
    assert box_transforms_of(truth.images, truth.annotations, {}, {}).issues.notes == ()
    nothing = content(60, 40, [6, 4, 15, 20])
    del nothing["images"][0]["width"]
    truth = read(tmp_path, nothing)
    assert box_transforms_of(truth.images, truth.annotations, {1: (90, 90)}, {}).issues.notes == ()


def test_some_are_placed_and_some_are_not(tmp_path: Path) -> None:
    both = content(60, 40, [6, 4, 15, 20])
    both["images"].append({"id": 2, "file_name": "2.png", "width": 60, "height": 40})
    truth = read(tmp_path, both)
    transforms = box_transforms_of(truth.images, truth.annotations, {1: (30, 20), 2: (10, 90)}, {})
    assert transforms.issues.notes == (
        "images of another size than stated; their boxes are scaled or turned to match: 1, first "
        "1.png: 30 x 20, stated 60 x 40 (kept)",
        "images of another size than stated; the boxes are taken as pixels of the image: 1, first "
        "2.png: 10 x 90, stated 60 x 40 (kept)",
    )
    assert set(transforms.by_id) == {1}


@pytest.mark.parametrize("writer", [CocoWriter, CocoResultsWriter, JsonlWriter])
def test_results_of_glip_are_brought_to_the_stated_size(tmp_path: Path, writer: type) -> None:
    """Its records are of 200 x 100 pixels, and have the box [1, 2, 30, 40]."""
    truth = read(tmp_path, content(400, 200, [2, 4, 60, 80]))
    found = read_predictions(written(tmp_path / "out", writer, [of_words("1.png", "cat", ("cat",))]), truth)
    assert found.results == [hit(1, 3, [2, 4, 60, 80], 0.5)]
    (note,) = found.transforms.issues.notes
    assert "1.png: 200 x 100, stated 400 x 200" in note


def test_turned_images_at_hand_turn_the_results_of_a_file(tmp_path: Path) -> None:
    """Upright 100 x 200, with the box [10, 20, 40, 30]; stated as they lie, 200 x 100."""
    path = photo(tmp_path / "1.png", 6, (200, 100))
    truth = read(tmp_path, content(200, 100, [20, 50, 30, 40]))
    detection = {"label": "cat", "score": 0.5, "box": {"xmin": 10, "ymin": 20, "xmax": 50, "ymax": 50}}
    line = {"schema": "glip/1", "image": "1.png", "width": 100, "height": 200, "detections": [detection]}
    (tmp_path / "results.jsonl").write_text(json.dumps(line))
    found = read_predictions(tmp_path / "results.jsonl", truth, {1: path})
    assert found.results == [hit(1, 3, [20, 50, 30, 40], 0.5)]
    without = read_predictions(tmp_path / "results.jsonl", truth)
    (note,) = without.transforms.issues.notes
    assert "the boxes are taken as pixels of the image; give it if EXIF turned it: 1, first 1.png" in note


def test_results_of_another_tool_stay_where_they_are(tmp_path: Path) -> None:
    path = photo(tmp_path / "1.png", 1, (120, 80))
    truth = read(tmp_path, content(60, 40, [6, 4, 15, 20]))
    plain = saved(tmp_path, [hit(1, 3, [6, 4, 15, 20], 0.5)], "results.json")
    found = read_predictions(plain, truth, {1: path})
    assert found.results == [hit(1, 3, [6, 4, 15, 20], 0.5)]
    (note,) = found.transforms.issues.notes
    assert "; the results are taken as pixels of the stated size: 1, first 1.png: " in note
    assert found.transforms.to_image(1, [6, 4, 15, 20]) == [12, 8, 30, 40]


def test_the_way_there_and_back() -> None:
    for orientation in range(1, 9):
        transform = BoxTransform((40, 60), (60, 40) if orientation > 4 else (80, 120), orientation)
        assert transform.to_image(transform.to_stated([3, 5, 10, 20])) == pytest.approx([3, 5, 10, 20], abs=5e-3)


def test_boxes_that_do_not_lie_in_their_image_are_named_and_scored_as_they_are(tmp_path: Path) -> None:
    boxes = [[-5, 10, 20, 10], [70, 50, 9, 9], [0.2, 0.3, 0.1, 0.2], [0, 0, 60.5, 40], [0, 0, 0, 5], [50, 0, 60, 10]]
    rows = [box(i, 1, 3, xywh, iscrowd=int(i == 6)) for i, xywh in enumerate(boxes, 1)]
    truth = read(tmp_path, {**content(*RAW, [0, 0, 1, 1]), "annotations": rows})
    transforms = checked_box_transforms(truth.images, truth.annotations, {}, {1: RAW})
    assert transforms.issues.notes == (
        "boxes outside their image: 1, first 1.png: box [70.0, 50.0, 9.0, 9.0], id 2 in 60 x 40 "
        "(counted, but nothing can match them)",
        "boxes that reach over the edge: 1, first 1.png: box [-5.0, 10.0, 20.0, 10.0], id 1 in 60 x 40 (counted uncut)",
        "boxes of no size (one pixel or less): 1, first 1.png: box [0.2, 0.3, 0.1, 0.2], id 3 (counted)",
    )
    assert [row["bbox"] for row in truth.annotations] == boxes


def test_a_box_is_compared_with_the_image_and_not_with_a_size_that_is_wrong(tmp_path: Path) -> None:
    truth = read(tmp_path, content(60, 40, [10, 30, 20, 25]))
    (note,) = checked_box_transforms(truth.images, truth.annotations, {}, {1: (40, 90)}).issues.notes
    assert note.startswith("images of another size than stated")
    (note,) = checked_box_transforms(truth.images, truth.annotations, {}, {}).issues.notes
    assert note.startswith("boxes that reach over the edge: 1, first 1.png: box [10.0, 30.0, 20.0, 25.0]")
