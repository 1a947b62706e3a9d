"""report.html of a training before its first step: the boxes that the network learns, where it sees them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_cli.evaluation.report.examples import Drawing
from glip_cli.model.config import GLIP_MINI
from glip_cli.training.batches import Batches
from glip_cli.training.dataset import GroundingItem, TrainSet
from glip_cli.training.report import TrainingReport, first_batches
from tests.training.examples import detection_set, mini_tokenizer

TOKENIZER = mini_tokenizer()
NAMES = ("red <star>", "कुत्ता", "ring")
BOX = (20, 10, 60, 40)  # x1, y1, x2, y2 in an image of 120 x 80


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Black, with a white box."""
    drawn = Image.new("RGB", (120, 80))
    drawn.paste((255, 255, 255), BOX)
    drawn.save(tmp_path / "a.png")
    return tmp_path / "a.png"


def stream(train_set: TrainSet, size: int = 4) -> Batches:
    return Batches([train_set], [1.0], TOKENIZER, GLIP_MINI, size, 3)


def labelled(image: Path, copies: int) -> TrainSet:
    return detection_set(image, [BOX, BOX], [0, 1], NAMES, copies)


def white(drawing: Drawing) -> list[int]:
    """Left, top, right and bottom of what is white in the drawing, in pixels of the batch."""
    with Image.open(io.BytesIO(base64.b64decode(drawing.jpeg))) as drawn:
        found = drawn.convert("L").point(lambda value: 255 * (value > 127)).getbbox()
    assert found
    return [*found]


def test_boxes_lie_where_the_network_sees_the_object(image: Path) -> None:
    drawings = first_batches(stream(labelled(image, 12)))
    assert len(drawings) == 12
    assert len({drawing.caption for drawing in drawings}) > 2  # of several sizes, some mirrored
    assert any("mirrored" in drawing.caption for drawing in drawings)
    for drawing in drawings:
        assert {mark.label for mark in drawing.marks} == {NAMES[0], NAMES[1]}
        for x, y, width, height in (mark.box for mark in drawing.marks):
            assert [x, y, x + width, y + height] == pytest.approx(white(drawing), abs=1.6)


def test_no_image_is_shown_twice_in_a_small_set(image: Path) -> None:
    assert len(first_batches(stream(labelled(image, 3), size=2))) == 4  # two batches have each image once


def test_phrases_of_a_caption_are_the_labels(image: Path) -> None:
    item = GroundingItem(image, np.array([BOX], np.float32), "a dog and a ring", (((2, 5), (12, 16)),))
    (drawing,) = first_batches(stream(TrainSet("captions", (), (item,)), size=1))
    assert [mark.label for mark in drawing.marks] == ["dog ring"]


def test_before_the_first_step_and_after_an_epoch(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report = TrainingReport(path, "run: glip-mini tuned", {"begins with": "<b>"}, ["odd"], stream(labelled(image, 3)))
    report.write()
    page = path.read_text()
    assert '<svg class="chart"' not in page
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["The training", "Classes", "First batches"]
    cells = re.findall(r'data-value="([^"]*)"', page)
    assert cells == ["red &lt;star&gt;", "3", "3", "0", "कुत्ता", "3", "3", "0", "ring", "0", "0", "0"]
    assert "<dd><bdi>&lt;b&gt;</bdi></dd>" in page
    report.write([{"step": 3, "epoch": 1.0, "loss": 2.5, "lr": 0.1}])
    assert re.findall(r"<h2>(.*?)</h2>", path.read_text())[1:3] == ["Losses and learning rate", "Classes"]
    assert path.read_text().count('<svg class="chart"') == 1
    report.write([{"step": 3, "epoch": 1.0, "AP": 0.5, "best": True, "precision": 0.5, "val_loss": 2.0}])
    assert re.findall(r"<h2>(.*?)</h2>", path.read_text())[2] == "AP, precision and recall"
    assert path.read_text().count('<svg class="chart"') == 2
