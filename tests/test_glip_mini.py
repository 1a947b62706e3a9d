"""The embedded model is what docs/glip-mini.json says of it, on a sample of the same scenes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from glip_cli import Detector
from glip_cli.data.synthetic import HELD_OUT, PAIRS, draw_scene

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))


def test_figures() -> None:
    """A tenth of the scenes; the bounds allow for the smaller sample, 0.1 in AP50."""
    import eval_mini

    stated = json.loads((ROOT / "docs" / "glip-mini.json").read_text())
    detector = Detector.load("glip-mini", device="cpu")
    assert detector.name == stated["model"]
    measured = eval_mini.measure(detector, 20, stated["seed"])
    for key, value in stated.items():
        if key.startswith(("AP50", "precision", "recall")):
            assert measured[key] >= value - 0.1, key


def test_bfloat16_says_the_same_within_half_a_pixel_and_a_hundredth() -> None:
    """Place by place: which of two places with nearly equal scores survives may differ from processor to processor."""
    exact, rough = (Detector.load("glip-mini", device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
    labels = [" ".join(pair) for pair in PAIRS[:24]]
    count = 0
    for seed in range(6):
        image = draw_scene(np.random.default_rng(seed), 320, 240).image
        one, other = (detector.features(image, labels, which=("similarity",)) for detector in (exact, rough))
        scores, near = ((of.similarity * of.centerness[:, None]).sqrt() for of in (one, other))
        found = scores.amax(1) > 0.3
        count += int(found.sum())
        torch.testing.assert_close(near[found], scores[found], atol=0.01, rtol=0)
        torch.testing.assert_close(other.boxes[found], one.boxes[found], atol=0.5, rtol=0)
    assert count > 50


def test_the_average_precision_of_the_script_is_right() -> None:
    """A perfect answer scores 1; one that names every box wrong scores 0."""
    import eval_mini
    import numpy as np

    from glip_cli.data.synthetic import Phrase, draw_scene
    from glip_cli.types import Detections

    scene = draw_scene(np.random.default_rng(1), pairs=PAIRS[:3])
    phrases = tuple(Phrase(shape, colour) for colour, shape in PAIRS[:3])
    true = [i for thing in scene.things for i, phrase in enumerate(phrases) if phrase.fits(thing)]
    boxes = np.array([thing.box for thing in scene.things], np.float32)

    def answer(labels: list[int]) -> eval_mini.Case:
        spans = tuple((0, 1) for _ in phrases)
        scores = np.full(len(boxes), 0.9, np.float32)
        found = Detections(boxes, scores, np.array(labels), tuple(p.text for p in phrases), spans, "x", (160, 160))
        return eval_mini.Case(scene, phrases, found)

    assert list(eval_mini.average_precision([answer(true)]).values()) == pytest.approx([1.0] * len(set(true)))
    assert eval_mini.precision_recall([answer(true)]) == (1.0, 1.0)
    wrong = [(label + 1) % 3 for label in true]
    assert eval_mini.precision_recall([answer(wrong)])[0] < 1.0


def test_held_out_pairs_are_not_in_the_training_data() -> None:
    import mini_data

    assert set(mini_data.SEEN) == set(PAIRS) - set(HELD_OUT)
