"""glip-nano on photographs: a change of any part of the way from a file to boxes that breaks detection is seen here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchvision.ops import box_iou

from glip_cli import Detector

FOLDER = Path(__file__).parent / "photographs"
LABELS = json.loads((FOLDER / "labels.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load("glip-nano", offline=True)


@pytest.mark.parametrize("name", sorted(LABELS))
def test_what_is_in_a_photograph_is_found(detector: Detector, name: str) -> None:
    """Each box but the difficult ones, at an IoU above 0.5; and at most one box of a label too many."""
    labels = sorted({one["label"] for one in LABELS[name]})
    found = detector(FOLDER / name, labels)
    for number, label in enumerate(labels):
        true = [one for one in LABELS[name] if one["label"] == label]
        mine = torch.tensor(found.boxes[found.label_ids == number]).reshape(-1, 4)
        overlaps = box_iou(mine, torch.tensor([one["box"] for one in true], dtype=torch.float32)) > 0.5
        missed = [one for one, hit in zip(true, overlaps.any(0), strict=True) if not hit and not one.get("difficult")]
        assert not missed
        assert len(mine) <= len(true) + 1
