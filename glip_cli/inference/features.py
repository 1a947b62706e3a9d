"""The features of one image, and where they lie in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from glip_cli.model.boxes import anchors as make_anchors
from glip_cli.model.config import STRIDES

LEVELS: dict[str, dict[str, int]] = {
    "backbone": {"C3": 8, "C4": 16, "C5": 32},
    "fpn": {f"P{i}": stride for i, stride in enumerate(STRIDES, 3)},
    "fused": {f"P{i}": stride for i, stride in enumerate(STRIDES, 3)},
}
"""Kind of maps -> level -> pixels of the resized image per cell, both ways."""


@dataclass(frozen=True)
class Placement:
    """How an image lay in the network.

    Attributes:
        size: (width, height) of the upright original image in pixels.
        resized: (width, height) in the network, without padding.
        padded: (width, height) of the network's input; the image lies in its upper left corner.
        scale: (x, y), resized over original.
        strides: pixels of the network's input per cell of each feature level.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]
    scale: tuple[float, float]
    strides: tuple[int, ...] = STRIDES

    def cells(self, stride: int) -> tuple[int, int]:
        """(h, w) of the cells that hold any of the image; those of padding alone are cut off."""
        width, height = self.resized
        return -(-height // stride), -(-width // stride)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of P3 .. P7; their products sum to N."""
        return tuple(map(self.cells, self.strides))

    @property
    def anchors(self) -> Tensor:
        """The square that each row's box is told relative to: float32 [N, 4], xyxy in pixels of the original image.

        Its sides are 8 cells, so it may pass the image's edges.
        """
        return make_anchors(self.sizes) / torch.tensor(self.scale * 2)

    @property
    def centres(self) -> Tensor:
        """The middle of each row's cell: float32 [N, 2], (x, y) in pixels of the original image.

        At the right and lower edge of the image it may lie outside by less than half a cell.
        """
        return self.anchors.unflatten(1, (2, 2)).mean(1)


@dataclass(frozen=True, eq=False)
class Features:
    """What the network makes of one image; float32 on the CPU, free of the network.

    The N rows are the locations of P3 .. P7, level by level (`place.sizes`), row by row. T tokens are those of the
    text with [CLS] and [SEP], K its labels. What was not asked for is empty or None.

    Attributes:
        place: where cells and rows lie in the image.
        backbone: "C3", "C4", "C5" -> [C, h, w], strides 8, 16, 32, each after its own LayerNorm; pooled [C].
            C is 192, 384, 768 in GLIP-T, twice as many in GLIP-L.
        fpn: "P3" .. "P7" -> [256, h, w] (glip-mini: 96), strides 8 .. 128; of glip-nano "P3" .. "P5" -> [128, h, w].
            They depend on the image alone.
        fused: the same after the last round of the head, where image and text have met (never in GLIP-T (A) and
            glip-nano).
        similarity: [N, K], how a row fits a label: the mean of the probabilities of the label's tokens; of glip-nano
            the largest.
        logits: [N, T], how a row fits a token, before the sigmoid.
        boxes: [N, 4], the region that a row stands for, xyxy in pixels of the original image, as detections have it.
        centerness: [N] in [0, 1]; a detection's score is sqrt(similarity * centerness). None of glip-nano, whose score
            is the similarity.
        text: [T, L], the tokens as BERT leaves them.
        fused_text: [T, L], the same after the last round of the head.
        prompt: the text that the model read; "" without one.
        labels: as typed.
        tokens: word pieces.
        label_tokens: for each label the places of its tokens.
    """

    place: Placement
    backbone: Mapping[str, Tensor] = field(default_factory=dict)
    fpn: Mapping[str, Tensor] = field(default_factory=dict)
    fused: Mapping[str, Tensor] = field(default_factory=dict)
    similarity: Tensor | None = None
    logits: Tensor | None = None
    boxes: Tensor | None = None
    centerness: Tensor | None = None
    text: Tensor | None = None
    fused_text: Tensor | None = None
    prompt: str = ""
    labels: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    label_tokens: tuple[tuple[int, ...], ...] = ()
