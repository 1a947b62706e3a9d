"""torchvision's C++ operators, loaded as a library: importing the package would take a second of every start."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

MANY = {"cpu": 1000}  # boxes, beyond which `batched_nms` goes label by label; as torchvision has it
MANY_ELSEWHERE = 25_000


@cache
def load_operators(differentiable: bool = False) -> None:
    """Fill `torch.ops.torchvision`.

    Args:
        differentiable: also with gradients, and with what torch's compiler needs, which are written in Python.

    Raises ImportError where torchvision cannot be loaded.
    """
    if differentiable or not _load_library():
        importlib.import_module("torchvision")


def _load_library() -> bool:
    spec = find_spec("torchvision")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    for path in (*folder.glob("_C*.so"), *folder.glob("_C*.pyd")):  # _C, or _C_stable since 0.29
        try:
            torch.ops.load_library(str(path))
        except OSError:  # made for another torch: importing the package says more
            return False
        return True
    return False


def nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Non-maximum suppression: xyxy [n, 4], [n] -> int64 [k], the rows that are kept, best first.

    A box is dropped where one of a higher score overlaps it by more than `iou`.
    """
    load_operators()
    rows: Tensor = torch.ops.torchvision.nms(boxes, scores, iou)
    return rows


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """As `nms`, among boxes of the same label (int64 [n]). Digit for digit as `torchvision.ops.batched_nms`."""
    if not len(boxes):
        return labels.new_empty(0)
    if len(boxes) > MANY.get(boxes.device.type, MANY_ELSEWHERE):
        return _nms_per_label(boxes, scores, labels, iou)
    apart = labels.to(boxes) * (boxes.max() + 1)  # so far that boxes of two labels never overlap
    return nms(boxes + apart[:, None], scores, iou)


def _nms_per_label(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for label in labels.unique():
        rows = torch.where(labels == label)[0]
        keep[rows[nms(boxes[rows], scores[rows], iou)]] = True
    kept = torch.where(keep)[0]
    return kept[scores[kept].sort(descending=True)[1]]
