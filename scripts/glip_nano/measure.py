"""What glip-nano finds: the figures of docs/glip-nano.md, on any images with COCO's labels.

    python -m scripts.glip_nano.measure GT.json IMAGES [-m MODEL]

`glip eval coco` measures AP of COCO's own names; here are the other words: synonyms, names above names, words that the
model cannot know, and precision and recall at the default threshold.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from glip_cli import Detector
from glip_cli.data.image_io import read_image
from glip_cli.inference.batch_detector import ImageFeatures
from glip_cli.inference.preprocess import preprocess
from glip_cli.options import DetectOptions

SYNONYMS = {
    "automobile": "car", "kitten": "cat", "puppy": "dog", "sofa": "couch", "television": "tv", "bike": "bicycle",
    "plane": "airplane", "motorbike": "motorcycle", "fridge": "refrigerator", "ship": "boat", "human": "person",
    "armchair": "chair", "plant": "potted plant", "table": "dining table", "mobile phone": "cell phone",
}  # fmt: skip
ABOVE = {
    "animal": "bird cat dog horse sheep cow elephant bear zebra giraffe".split(),
    "vehicle": "bicycle car motorcycle airplane bus train truck boat".split(),
    "furniture": ["chair", "couch", "bed", "dining table"],
    "food": ["banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"],
    "fruit": ["banana", "apple", "orange"],
    "electronics": ["tv", "laptop", "mouse", "remote", "keyboard", "cell phone"],
}
UNKNOWN = "stethoscope pangolin trombone lighthouse cactus microscope saxophone windmill helmet drone".split()
LEAST = DetectOptions(threshold=0.0)
SEED = 7  # of the absent names


@dataclass(frozen=True)
class Boxes:
    """Of one label in one image: xyxy [n, 4], and the scores of found ones, best first."""

    boxes: np.ndarray
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))


class Images:
    """Images that the model has looked at, and their true boxes."""

    def __init__(self, gt: Path, folder: Path, detector: Detector):
        data = json.loads(gt.read_text(encoding="utf-8"))
        self.detector = detector
        self.names = {category["id"]: category["name"] for category in data["categories"]}
        self.ids = [image["id"] for image in data["images"]]
        self.truth: dict[int, dict[str, list[list[float]]]] = {image: {} for image in self.ids}
        for one in data["annotations"]:
            if not one.get("iscrowd"):
                x, y, w, h = one["bbox"]
                boxes = self.truth[one["image_id"]].setdefault(self.names[one["category_id"]], [])
                boxes.append([x, y, x + w, y + h])
        self._seen = {image["id"]: self._look(folder / image["file_name"]) for image in data["images"]}

    def _look(self, path: Path) -> ImageFeatures:
        return self.detector.encode_images([preprocess(read_image(path), *self.detector.image_size())])

    def ask(self, image: int, labels: Sequence[str], options: DetectOptions = LEAST) -> dict[str, Boxes]:
        compiled = self.detector.compile_prompt(list(labels), options)
        (found,) = self.detector.detect_features(self._seen[image], compiled, options)
        return {
            label: Boxes(found.boxes[found.label_ids == i], found.scores[found.label_ids == i])
            for i, label in enumerate(labels)
        }


def average_precision(images: Images, labels: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """AP50 of each label against the boxes of all its members (COCO's evaluation); NaN without any."""
    ids = {label: number for number, label in enumerate(labels, 1)}
    truth, found = [], []
    for image in images.ids:
        answers = images.ask(image, list(labels))
        for label, members in labels.items():
            for box in (box for member in members for box in images.truth[image].get(member, ())):
                truth.append(_row(image, ids[label], box) | {"id": len(truth) + 1, "iscrowd": 0})
            for box, score in zip(answers[label].boxes, answers[label].scores, strict=True):
                found.append(_row(image, ids[label], box.tolist()) | {"score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        categories = [{"id": number, "name": label} for label, number in ids.items()]
        gt.dataset = {"images": [{"id": i} for i in images.ids], "annotations": truth, "categories": categories}
        gt.createIndex()
        judged = COCOeval(gt, gt.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
    precision = judged.eval["precision"][0, :, :, 0, 2]  # IoU 0.5, all sizes, 100 boxes: [recall, label]
    return {label: float(precision[:, i].mean()) if (precision[:, i] > -1).any() else np.nan
            for i, label in enumerate(labels)}  # fmt: skip


def _row(image: int, category: int, box: list[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    area = (x2 - x1) * (y2 - y1)
    return {"image_id": image, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area}


@dataclass
class Counts:
    """Found boxes with their scores, whether each is right, and how many there are to find."""

    scores: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    truth: int = 0

    def add(self, found: Boxes, truth: Sequence[Sequence[float]]) -> None:
        """Greedy, best first; a true box is found once, at IoU 0.5."""
        left = [np.array(box) for box in truth]
        self.truth += len(left)
        for box, score in zip(found.boxes, found.scores, strict=True):
            overlaps = [_iou(box, one) for one in left]
            best = int(np.argmax(overlaps)) if overlaps else -1
            hit = best >= 0 and overlaps[best] >= 0.5
            if hit:
                left.pop(best)
            self.scores.append(float(score))
            self.right.append(hit)

    def at(self, threshold: float) -> tuple[float, float]:
        """Precision and recall."""
        kept = np.array(self.scores) > threshold
        hits = int(np.array(self.right)[kept].sum())
        return hits / max(int(kept.sum()), 1), hits / max(self.truth, 1)

    def best(self) -> tuple[float, float]:
        """The best F1, and its threshold."""
        grid = np.arange(0.05, 0.95, 0.005)
        f1 = [2 * p * r / max(p + r, 1e-9) for p, r in map(self.at, grid)]
        return max(f1), float(grid[int(np.argmax(f1))])


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def present_and_absent(images: Images) -> Counts:
    """In each image the names that are there, and as many that are not."""
    counts, chance = Counts(), random.Random(SEED)
    for image in images.ids:
        present = sorted(images.truth[image])
        absent = chance.sample(sorted(set(images.names.values()) - set(present)), len(present))
        answers = images.ask(image, [*present, *absent]) if present else {}
        for label in answers:
            counts.add(answers[label], images.truth[image].get(label, ()))
    return counts


def recall(images: Images, labels: Mapping[str, str], threshold: float) -> float:
    """Of the boxes of each label's class, at a threshold."""
    counts = Counts()
    for image in images.ids:
        answers = images.ask(image, list(labels))
        for label, name in labels.items():
            counts.add(answers[label], images.truth[image].get(name, ()))
    return counts.at(threshold)[1]


def fired(images: Images, words: Sequence[str]) -> float:
    """Detections per image and word at the default threshold."""
    found = sum(len(boxes.scores) for i in images.ids for boxes in images.ask(i, words, DetectOptions()).values())
    return found / (len(images.ids) * len(words))


def mean(values: Iterable[float]) -> float:
    return float(np.nanmean(list(values)))


def milliseconds(detector: Detector, path: Path, runs: int = 20) -> float:
    """The median of one image with two labels, reading included."""
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        detector(path, ["person", "chair"])
        taken.append(1000 * (time.perf_counter() - begin))
    return statistics.median(taken)


def main(
    gt: Annotated[Path, typer.Argument()],
    folder: Annotated[Path, typer.Argument()],
    model: Annotated[str, typer.Option("-m")] = "glip-nano",
) -> None:
    torch.set_num_threads(1)
    images = Images(gt, folder, Detector.load(model, offline=True))
    threshold = DetectOptions().threshold
    names = average_precision(images, {name: [name] for name in images.names.values()})
    print(f"{len(images.ids)} images; AP50 of {len(names)} names: {mean(names.values()):.4f}")
    counts = present_and_absent(images)
    (precision, found), (f1, at) = counts.at(threshold), counts.best()
    print(f"names present and as many absent: precision {precision:.3f}, recall {found:.3f} at {threshold}; "
          f"best F1 {f1:.3f} at {at:.3f}")  # fmt: skip
    own = [names[name] for name in SYNONYMS.values()]
    other = average_precision(images, {word: [name] for word, name in SYNONYMS.items()})
    print(f"{len(SYNONYMS)} synonyms: AP50 {mean(other.values()):.4f}, own names {mean(own):.4f}; recall "
          f"{recall(images, SYNONYMS, threshold):.3f}, own names "
          f"{recall(images, {name: name for name in SYNONYMS.values()}, threshold):.3f}")  # fmt: skip
    above = average_precision(images, ABOVE)
    print(f"names above names: AP50 {mean(above.values()):.4f}, the first four {mean(list(above.values())[:4]):.4f}: "
          + ", ".join(f"{label} {value:.3f}" for label, value in above.items()))  # fmt: skip
    print(f"{len(UNKNOWN)} unknown words: {fired(images, UNKNOWN):.4f} detections per image and word")


if __name__ == "__main__":
    typer.run(main)
