"""Images with ground truth beside what was found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_cli.data.box_transforms import BoxTransform, BoxTransforms
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import GroundTruth, read_ground_truth
from glip_cli.evaluation.save_images import save_images
from tests.training.examples import coco, images

GREY = (128, 128, 128)


def truth_of(folder: Path, **changes: object) -> GroundTruth:
    path = folder / "train.json"
    path.write_text(json.dumps(coco(**changes)))
    return read_ground_truth(path)


def halves(path: Path, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The two images below their titles."""
    with Image.open(path) as image:
        pixels = np.asarray(image).astype(int)
    below = pixels[-height:]
    return below[:, :width], below[:, -width:]


def extent(pixels: np.ndarray) -> list[int]:
    """Left, right and lower edge of what is not grey; the label stands on the upper one. Nothing for all grey."""
    rows, columns = np.nonzero(np.abs(pixels - 128).max(2) > 40)
    return [columns.min(), columns.max(), rows.max()] if len(rows) else []


def save(
    folder: Path, truth: GroundTruth, *found: tuple[int, int, list[float], float], transforms: BoxTransforms
) -> Path:
    rows = [dict(zip(("image_id", "category_id", "bbox", "score"), one, strict=True)) for one in found]
    paths = {row.id: folder / row.file_name for row in truth.images}
    return save_images(folder / "out", truth, rows, paths, transforms, 0.3)


def test_each_box_is_on_its_own_side(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (200, 100), GREY).save(tmp_path / name)
    truth = truth_of(tmp_path, annotations=[{"id": 1, "image_id": 1, "category_id": 3, "bbox": [20, 30, 60, 40]}])
    transforms = BoxTransforms({2: BoxTransform((200, 100), (100, 50))})
    folder = save(tmp_path, truth, (2, 1, [50, 20, 40, 20], 0.9), (2, 3, [0, 0, 9, 9], 0.2), transforms=transforms)
    assert sorted(path.name for path in folder.iterdir()) == ["a.jpg", "b.jpg"]
    left, right = halves(folder / "a.jpg", 200, 100)
    assert extent(left) == pytest.approx([20, 80, 70], abs=2)
    assert extent(right) == []
    left, right = halves(folder / "b.jpg", 200, 100)
    assert extent(left) == []
    assert extent(right) == pytest.approx([100, 180, 80], abs=2), "in pixels of the image, and of the better one alone"


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    images(tmp_path)
    (tmp_path / "b.png").write_bytes(b"?")
    truth = truth_of(tmp_path)
    assert [path.name for path in save(tmp_path, truth, transforms=BoxTransforms()).iterdir()] == ["a.jpg"]
    with pytest.raises(DataError, match=r"none of its images is in .*, to draw on; give their folder"):
        save_images(tmp_path / "none", truth, [], {}, BoxTransforms(), 0.3)


def test_an_image_too_wide_for_two(tmp_path: Path) -> None:
    Image.new("RGB", (40_000, 40), GREY).save(tmp_path / "a.png")
    Image.new("RGB", (60, 80), GREY).save(tmp_path / "b.png")
    truth = truth_of(tmp_path, images=[{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}])
    with Image.open(save(tmp_path, truth, transforms=BoxTransforms()) / "a.jpg") as image:
        assert image.width == 40_000
        assert image.height > 2 * 40
