"""Measure glip-mini on freshly drawn scenes: `python scripts/eval_mini.py` reproduces docs/glip-mini.json.

Each scene is asked for the colour-shape pairs in it and for as many absent ones, half of which differ from a pair in
the scene by one word. AP50 is COCO's (hotcoco), averaged over the pairs; precision is that of all detections above
0.3. The other rows ask the same scenes for other kinds of labels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hotcoco import COCO, COCOeval

from glip_cli import Detector
from glip_cli.data.synthetic import COLOURS, HELD_OUT, PAIRS, PATTERNS, SHAPES, SIZES, Phrase, Scene, Thing, draw_scene
from glip_cli.evaluation.boxes import COCO_RULES, coco_entries
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.evaluation.scenes import composition, draw_scenes
from glip_cli.evaluation.scores import coco_scores
from glip_cli.model.boxes import pairwise_iou
from glip_cli.outputs.records import record
from glip_cli.types import Detections

KINDS: dict[str, Callable[[Thing], Phrase]] = {
    "red circle": lambda t: Phrase(t.shape, t.colour),
    "circle": lambda t: Phrase(t.shape),
    "red thing": lambda t: Phrase(None, t.colour),
    "striped star": lambda t: Phrase(t.shape, None, t.pattern),
    "small blue heart": lambda t: Phrase(t.shape, t.colour, None, t.size),
}
THRESHOLD = 0.3


@dataclass(frozen=True)
class Case:
    """A scene, the labels it was asked for, and the answer."""

    scene: Scene
    phrases: tuple[Phrase, ...]
    found: Detections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="glip-mini")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--out", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    detector = Detector.load(args.model, weights=args.weights)
    figures = measure(detector, args.scenes, args.seed)
    print(json.dumps(figures, indent=2))
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(detector: Detector, scenes: int, seed: int) -> dict[str, object]:
    figures: dict[str, object] = {"model": detector.name, "scenes": scenes, "seed": seed}
    figures |= {f"{name}, all names asked": value for name, value in all_names(detector, scenes, seed).items()}
    for kind, describe in KINDS.items():
        cases = list(ask(detector, scenes, seed, describe))
        per_class = average_precision(cases)
        if kind == "red circle":
            held_out = {f"{colour} {shape}" for colour, shape in HELD_OUT}
            figures["AP50 seen pairs"] = mean(v for k, v in per_class.items() if k not in held_out)
            figures["AP50 held-out pairs"] = mean(v for k, v in per_class.items() if k in held_out)
            figures[f"precision at {THRESHOLD}"], figures[f"recall at {THRESHOLD}"] = precision_recall(cases)
        else:
            figures[f"AP50 labels like '{kind}'"] = mean(per_class.values())
    return figures


def all_names(detector: Detector, count: int, seed: int) -> dict[str, float]:
    """What `glip eval scenes` measures: all 64 pairs in one prompt."""
    scenes = [draw_scene(np.random.default_rng((seed, number)), pairs=PAIRS) for number in range(count)]
    names = [" ".join(pair) for pair in PAIRS]
    results: list[dict[str, object]] = []
    for number, scene in enumerate(scenes):
        found = detector(scene.image, names, **COCO_RULES.options)
        results += coco_entries(record(str(number), found, detector.name), number + 1, range(1, len(names) + 1))
    with TemporaryDirectory() as folder:
        truth = read_ground_truth(draw_scenes(Path(folder), count, seed))
    scores = coco_scores(truth, results)
    return {name: round(value, 4) for name, value in composition(scores).items()}


def ask(detector: Detector, scenes: int, seed: int, describe: Callable[[Thing], Phrase]) -> Iterator[Case]:
    for number in range(scenes):
        rng = np.random.default_rng((seed, number))
        scene = draw_scene(rng, pairs=PAIRS)
        present = {phrase.text: phrase for phrase in map(describe, scene.things)}
        phrases = list((present | absent(rng, list(present.values()), scene)).values())
        phrases = [phrases[i] for i in rng.permutation(len(phrases))]
        found = detector(scene.image, [phrase.text for phrase in phrases], threshold=0.0)
        yield Case(scene, tuple(phrases), found)


def absent(rng: np.random.Generator, present: Sequence[Phrase], scene: Scene) -> dict[str, Phrase]:
    """As many labels that fit nothing in the scene; every other one differs from one that fits by a single word."""
    values = {"shape": list(SHAPES), "colour": list(COLOURS), "pattern": list(PATTERNS), "size": list(SIZES)}
    chosen: dict[str, Phrase] = {}
    for attempt in range(100):
        phrase = present[rng.integers(len(present))]
        named = [name for name in values if getattr(phrase, name)]
        changed = [named[rng.integers(len(named))]] if attempt % 2 else named
        phrase = replace(phrase, **{name: values[name][rng.integers(len(values[name]))] for name in changed})
        if not any(map(phrase.fits, scene.things)):
            chosen[phrase.text] = phrase
        if len(chosen) == len(present):
            break
    return chosen


def average_precision(cases: Sequence[Case]) -> dict[str, float]:
    """AP50 of every label that fits anything."""
    names = sorted({phrase.text for case in cases for phrase in case.phrases})
    ids = {name: i for i, name in enumerate(names, 1)}
    truths, results = [], []
    for image, case in enumerate(cases, 1):
        for phrase in case.phrases:
            for x1, y1, x2, y2 in (thing.box for thing in case.scene.things if phrase.fits(thing)):
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                truths.append(box | {"id": len(truths) + 1, "image_id": image, "category_id": ids[phrase.text]})
        for name, score, (x1, y1, x2, y2) in zip(case.found.names, case.found.scores, case.found.boxes, strict=True):
            bbox = [float(x) for x in (x1, y1, x2 - x1, y2 - y1)]
            results.append({"image_id": image, "category_id": ids[name], "bbox": bbox, "score": float(score)})
    images = [{"id": i + 1, "width": c.scene.image.width, "height": c.scene.image.height} for i, c in enumerate(cases)]
    categories = [{"id": i, "name": name} for name, i in ids.items()]
    truth = COCO({"images": images, "annotations": truths, "categories": categories})
    evaluation = COCOeval(truth, truth.load_res(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    at_half = np.asarray(evaluation.eval["precision"])[0, :, :, 0, -1]  # [recalls, classes]; -1 where nothing fits
    return {name: float(at_half[:, i].mean()) for i, name in enumerate(names) if at_half[:, i].max() > -1}


def precision_recall(cases: Sequence[Case]) -> tuple[float, float]:
    """Of all detections above the threshold, and of all boxes asked for; IoU 0.5, best score first."""
    right, given, wanted = 0, 0, 0
    for case in cases:
        for label, phrase in enumerate(case.phrases):
            mine = (case.found.label_ids == label) & (case.found.scores > THRESHOLD)
            truth = [thing.box for thing in case.scene.things if phrase.fits(thing)]
            given, wanted = given + int(mine.sum()), wanted + len(truth)
            right += matches(case.found.boxes[mine], truth)
    return round(right / max(given, 1), 4), round(right / max(wanted, 1), 4)


def matches(boxes: np.ndarray, truth: Sequence[tuple[float, ...]]) -> int:
    """How many boxes, in order, find a box that none before them has found."""
    if not len(boxes) or not truth:
        return 0
    from torch import tensor

    overlaps, count = pairwise_iou(tensor(boxes), tensor(truth)), 0
    for row in range(len(boxes)):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= 0.5:
            count += 1
            overlaps[:, best] = -1
    return count


def mean(values: Iterator[float] | Sequence[float]) -> float:
    return round(float(np.mean(list(values))), 4)


if __name__ == "__main__":
    main()
