"""Small training sets, written as other tools write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.dataset import DetectionItem, GroundingItem, TrainSet
from glip_cli.types import Span

SIZES = {"a.png": (100, 50), "b.png": (60, 80), "c.png": (64, 64)}
MINI = Path(__file__).parents[2] / "glip_cli" / "assets" / "glip-mini"


def mini_tokenizer() -> Tokenizer:
    return Tokenizer.from_dir(MINI)


def images(folder: Path, sizes: dict[str, tuple[int, int]] | None = None) -> Path:
    """Noise of the given sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, (width, height) in (sizes or SIZES).items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
    return folder


def coco(**changes: Any) -> dict[str, Any]:
    """A COCO file of two images, three boxes and two classes, changed as told."""
    data = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 100, "height": 50},
            {"id": 2, "file_name": "b.png", "width": 60, "height": 80},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 30]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 20, 50, 30]},
            {"id": 3, "image_id": 2, "category_id": 3, "bbox": [0, 0, 60, 80]},
        ],
        "categories": [{"id": 3, "name": "disk"}, {"id": 1, "name": "star"}],
    }
    return data | changes


def written(folder: Path, data: Any) -> Path:
    """A json in a folder, with the images beside it."""
    images(folder)
    path = folder / "train.json"
    path.write_text(json.dumps(data))
    return path


def detection_set(
    image: Path, boxes: Sequence[Sequence[float]], labels: Sequence[int], names: Sequence[str], copies: int = 1
) -> TrainSet:
    items = tuple(
        DetectionItem(image, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), number)
        for number in range(1, copies + 1)
    )
    return TrainSet("made", tuple(names), items)


def grounding_item(image: Path, caption: str, spans: Sequence[Sequence[Span]]) -> GroundingItem:
    boxes = np.array([[10, 10, 30 + i, 40] for i in range(len(spans))], np.float32).reshape(-1, 4)
    return GroundingItem(image, boxes, caption, tuple(tuple(one) for one in spans))
