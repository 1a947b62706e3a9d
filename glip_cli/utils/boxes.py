"""Overlaps of boxes in NumPy; `glip_cli.model.boxes` has them for tensors.

Boxes are float64 (x1, y1, x2, y2) in pixels, x2 - x1 wide.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def pairwise_iou(a: Array, b: Array) -> Array:
    """Intersection over union of every box with every other: [n, 4], [m, 4] -> [n, m]; 0 for two without area."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    intersection: Array = sides.clip(min=0).prod(axis=2)
    union = _areas(a)[:, None] + _areas(b)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def _areas(boxes: Array) -> Array:
    areas: Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas
