"""Small datasets: made at random for oracles, or written down by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from glip_cli.evaluation.ground_truth import GroundTruth, read_ground_truth


def saved(folder: Path, content: object, name: str = "truth.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read(folder: Path, content: object) -> GroundTruth:
    return read_ground_truth(saved(folder, content))


def box(number: int, image: int, category: int, xywh: list[float], **more: Any) -> dict[str, Any]:
    area = xywh[2] * xywh[3]
    row = {"id": number, "image_id": image, "category_id": category, "bbox": xywh, "area": area, "iscrowd": 0}
    return {**row, **more}


def hit(image: int, category: int, xywh: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": xywh, "score": score}


def two_images() -> dict[str, Any]:
    """Two images, a cat in each, a dog in the first."""
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 100} for i in (1, 2)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [
            box(1, 1, 3, [0, 0, 50, 50]),
            box(2, 2, 3, [0, 0, 50, 50]),
            box(3, 1, 5, [100, 0, 40, 40]),
        ],
    }


def random_set(
    seed: int, *, crowds: bool = True, federated: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth with gaps in its ids, images without boxes and categories without boxes, of all three sizes;
    results near the boxes, doubled, of wrong classes and from nowhere, with scores that tie.
    """
    rng = np.random.default_rng(seed)
    images = [int(i) for i in rng.choice(1000, rng.integers(1, 6), replace=False)]
    categories = [int(i) for i in rng.choice(90, rng.integers(1, 6), replace=False)]
    truth = []
    for i, number in enumerate(rng.choice(10_000, rng.integers(1, 25), replace=False) + 1):
        row = box(
            int(number), int(rng.choice(images[: -(i % 2)] or images)), int(rng.choice(categories)), _random_box(rng)
        )
        row["iscrowd"] = int(crowds and rng.random() < 0.2)
        row["area"] *= float(rng.uniform(0.5, 1.0))  # as a mask's would be
        truth.append(row)
    results = [result for row in truth for result in _results_near(rng, row, categories)]
    results += [
        hit(int(rng.choice(images)), int(rng.choice(categories)), _random_box(rng), _score(rng))
        for _ in range(rng.integers(0, 15))
    ]
    rng.shuffle(results)  # type: ignore[arg-type]
    content = {
        "images": [_image(rng, number, truth, categories, federated) for number in images],
        "categories": [{"id": c, "name": f"class {c}", "frequency": str(rng.choice(list("rcf")))} for c in categories],
        "annotations": truth,
    }
    return content, results


def _random_box(rng: np.random.Generator) -> list[float]:
    size = float(rng.choice([12, 50, 150]))
    return [round(float(n), 2) for n in (*rng.uniform(0, 60, 2), *(rng.uniform(0.5, 1.5, 2) * size))]


def _score(rng: np.random.Generator) -> float:
    return round(float(rng.random()), 1)


def _results_near(rng: np.random.Generator, row: dict[str, Any], categories: list[int]) -> list[dict[str, Any]]:
    found = []
    for _ in range(rng.integers(0, 4)):
        scale = max(row["bbox"][2:]) * float(rng.choice([0.02, 0.1, 0.3]))
        xywh = [round(float(n), 2) for n in np.abs(np.array(row["bbox"]) + rng.normal(0, scale, 4))]
        category = row["category_id"] if rng.random() < 0.8 else int(rng.choice(categories))
        found.append(hit(row["image_id"], category, xywh, _score(rng)))
    return found


def _image(
    rng: np.random.Generator, number: int, truth: list[dict[str, Any]], categories: list[int], federated: bool
) -> dict[str, Any]:
    image: dict[str, Any] = {"id": number, "file_name": f"{number:012d}.jpg", "width": 300, "height": 300}
    if federated:
        shown = {row["category_id"] for row in truth if row["image_id"] == number}
        image["neg_category_ids"] = [c for c in categories if c not in shown and rng.random() < 0.5]
        image["not_exhaustive_category_ids"] = [c for c in shown if rng.random() < 0.4]
    return image


def damaged(content: object, place: int, value: object) -> object:
    """A copy with `value` at the place of one of its values, counted in depth first order (and modulo their number)."""
    copy = json.loads(json.dumps(content))
    spots = list(_spots(copy))
    holder, key = spots[place % len(spots)]
    holder[key] = value
    return copy


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(items):
        yield value, key
        yield from _spots(child)
