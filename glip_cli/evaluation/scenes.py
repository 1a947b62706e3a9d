"""Drawn scenes as a data set: what `glip-mini` is measured on, drawn from a seed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from glip_cli.data.synthetic import HELD_OUT, PAIRS, Scene, draw_scene
from glip_cli.errors import UsageError
from glip_cli.evaluation.scores import BoxScores
from glip_cli.outputs.files import atomic_write
from glip_cli.utils.json import parsed_object

SEED = 20261121  # the scenes of docs/glip-mini.json
SCENES = 200


def draw_scenes(folder: Path, count: int = SCENES, seed: int = SEED) -> Path:
    """Draw scenes into a folder, as PNG and COCO json with one category per colour and shape; return the json.

    The same count and seed give the same files. Raises UsageError where files of others would be replaced.
    """
    scenes = [draw_scene(np.random.default_rng((seed, number))) for number in range(count)]
    files = {folder / f"{number:05d}.png": _png(scene) for number, scene in enumerate(scenes)}
    files[folder / "instances.json"] = json.dumps(coco_of(scenes)).encode()
    _refuse_foreign(folder / "instances.json", files)
    for path, content in files.items():
        with atomic_write(path) as stream:
            stream.write(content)
    return folder / "instances.json"


def _png(scene: Scene) -> bytes:
    stream = io.BytesIO()
    scene.image.save(stream, "PNG")
    return stream.getvalue()


def _refuse_foreign(annotations: Path, files: Mapping[Path, bytes]) -> None:
    """Raises UsageError for a file that would be replaced, unless it is of drawn scenes: of others, or one of these."""
    found = parsed_object(annotations.read_bytes()) if annotations.is_file() else None
    if found is None or found.get("categories") != _categories():
        for path, content in files.items():
            if path.exists() and path.read_bytes() != content:
                raise UsageError(f"{path} was not written by glip eval; choose another --out-dir")


def coco_of(scenes: list[Scene]) -> dict[str, object]:
    """Ground truth of all colour-shape pairs, those held out from training included."""
    images = [
        {"id": i + 1, "file_name": f"{i:05d}.png", "width": scene.image.width, "height": scene.image.height}
        for i, scene in enumerate(scenes)
    ]
    boxes: list[dict[str, object]] = []
    for i, scene in enumerate(scenes):
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            row = {"image_id": i + 1, "category_id": PAIRS.index(thing.pair) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            boxes.append(row | {"id": len(boxes) + 1, "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
    return {"images": images, "annotations": boxes, "categories": _categories()}


def _categories() -> list[dict[str, object]]:
    return [{"id": i, "name": " ".join(pair)} for i, pair in enumerate(PAIRS, 1)]


def composition(scores: BoxScores) -> dict[str, float]:
    """AP50 over the pairs that training saw, and over those it never did."""
    held_out = {" ".join(pair) for pair in HELD_OUT}
    measured = [one for one in scores.per_class if one.AP50 >= 0]
    seen = [one.AP50 for one in measured if one.name not in held_out]
    unseen = [one.AP50 for one in measured if one.name in held_out]
    return {"AP50 seen pairs": _mean(seen), "AP50 held-out pairs": _mean(unseen)}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else -1.0
