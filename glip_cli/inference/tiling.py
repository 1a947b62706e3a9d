"""Detection in crops of one image: in tiles (`--tile`), and at several scales, mirrored too (`--tta`).

    image -> all_crops -> render_crop -> the model -> combine -> boxes of the image

A crop is a part of the image, the size to which it is resized, and whether it is mirrored. Detections of crops are
mapped to the image and merged per label, before labels compete and thresholds apply. Boxes are (x1, y1, x2, y2)
as the detector reports them: in the old "+1" convention, with 1 pixel of the image added to x2 and y2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from PIL import Image
from torch import Tensor

from glip_cli.inference.postprocess import RawDetections
from glip_cli.inference.preprocess import ImageSize, PreprocessedImage, preprocess, resized_size
from glip_cli.model.boxes import area, intersection
from glip_cli.model.torchvision_ops import batched_nms, nms
from glip_cli.options import DetectOptions

Size = tuple[int, int]
Range = tuple[float, float]

OFFICIAL_SIZE = (800, 1333)  # shorter and longer side of the models that the next three were chosen for
SCALES = (400, 500, 600, 640, 700, 900, 1000, 1100, 1200, 1300, 1400, 1800)  # shorter side
LONGEST = 2500  # longer side, in each scale
SCALE_RANGES = ((96, 1e4), (96, 1e4), (64, 1e4), (64, 1e4), (64, 1e4), (0, 1e4), (0, 1e4), (0, 256), (0, 256), (0, 192),
          (0, 192), (0, 96))  # fmt: skip
"""For each scale the range of sqrt(area) of the boxes that are kept, in pixels of the resized image."""
AREA_SCALES = (5 / 6, 7 / 6, 5 / 3)
"""For models that are given an area (`ImageSize.multiple`): their own sides times these."""

ALL: Range = (0.0, float("inf"))

# When a box that a tile's edge truncates is dropped for a larger one of its label. With all truncated boxes dropped,
# AP50 on drawn images is equal where the tiles suit the objects, and 5 points lower where they are too small.
NEAR_EDGE = 2.0  # pixels of the resized crop
MIN_CONTAINMENT = 0.7  # of the truncated box's area lies in the larger one
MIN_AREA_RATIO = 1.1  # times its area
MIN_SCORE_RATIO = 0.5  # of its score
ROWS = 64  # truncated boxes compared at a time: 100 000 boxes in all take about 100 MB


@dataclass(frozen=True)
class Crop:
    """
    Attributes:
        box: the crop in pixels of the image: left, top, and right and bottom one past the last pixel.
        size: to which it is resized.
        flipped: mirrored left to right.
        scale_range: the range of sqrt(area), in pixels of the resized crop, of the boxes that are kept.
        truncated_edges: which of its edges (left, top, right, bottom) run through the image.
    """

    box: tuple[int, int, int, int]
    size: ImageSize
    flipped: bool = False
    scale_range: Range = ALL
    truncated_edges: tuple[bool, bool, bool, bool] = (False, False, False, False)

    @property
    def shape(self) -> Size:
        """(width, height) of the crop."""
        left, top, right, bottom = self.box
        return right - left, bottom - top

    @property
    def resized(self) -> Size:
        """(width, height) that the model sees."""
        return resized_size(self.shape, *self.size)

    @property
    def scale(self) -> tuple[float, float]:
        """(x, y), resized over original."""
        (width, height), (new_width, new_height) = self.shape, self.resized
        return new_width / width, new_height / height


@dataclass(frozen=True)
class Scale:
    """One size, mirrored or not, in which every crop is detected; see `Crop`."""

    size: ImageSize
    flipped: bool
    scale_range: Range


def all_crops(shape: Size, options: DetectOptions, size: ImageSize, flips: bool = True) -> list[Crop]:
    """The crops of an image of (width, height) that `options` ask for; with `tile` and `tta` each tile at each scale.

    Crops of one resized shape follow each other as far as possible. Without `tta` an image that fits one tile has one
    crop, the whole image.

    Args:
        size: to which a whole image is resized.
        flips: the image may be mirrored.
    """
    if options.tile is None or max(shape) <= options.tile:
        crops = [Crop((0, 0, *shape), size)]
    else:
        crops = [*tiles(shape, options.tile, options.overlap or 0.0, size), Crop((0, 0, *shape), size)]
    if not options.tta:
        return crops
    return [
        replace(crop, size=scale.size, flipped=scale.flipped, scale_range=scale.scale_range)
        for scale, crop in product(scales(size, flips), crops)
    ]


def tiles(shape: Size, side: int, overlap: float, size: ImageSize) -> Iterator[Crop]:
    """Crops of `side` x `side` pixels, or as far as the image goes, row by row; neighbours share `overlap` * side."""
    width, height = shape
    step = max(1, round(side * (1 - overlap)))
    for (top, bottom), (left, right) in product(_spans(height, side, step), _spans(width, side, step)):
        yield Crop(
            (left, top, right, bottom), size, truncated_edges=(left > 0, top > 0, right < width, bottom < height)
        )


def _spans(length: int, side: int, step: int) -> Iterator[tuple[int, int]]:
    """[begin, end) of the tiles along one edge of the image; the last is flush with its end."""
    last = max(length - side, 0)
    for begin in (*range(0, last, step), last):
        yield begin, min(begin + side, length)


def scales(size: ImageSize, flips: bool = True) -> Iterator[Scale]:
    """The official code's twelve scales, each also mirrored, for a model whose images have `size` (box_aug.py).

    Everything is in proportion to the model's own size, which is 800 to 1333 there. What differs: the official code
    merges what the model gives before its own NMS and keeps the 1000 best boxes; here each crop's boxes have been
    through NMS and the limit per text, and all are kept. With several texts it keeps the last one's boxes only.
    """
    mirrored = (False, True) if flips else (False,)
    if size.multiple:
        for factor, flipped in product(AREA_SCALES, mirrored):
            yield Scale(ImageSize(round(size[0] * factor), round(size[1] * factor), size.multiple), flipped, ALL)
        return
    shorter, longer = size[0] / OFFICIAL_SIZE[0], size[1] / OFFICIAL_SIZE[1]
    for side, (low, high) in zip(SCALES, SCALE_RANGES, strict=True):
        sides = max(round(side * shorter), 1), max(round(LONGEST * longer), round(side * shorter), 1)
        for flipped in mirrored:
            yield Scale(ImageSize(*sides, size.multiple), flipped, (low * shorter, high * shorter))


def crop_options(options: DetectOptions) -> DetectOptions:
    """Options for one crop, which keep all candidates: labels compete and thresholds apply after the merge."""
    return replace(
        options,
        threshold=0.0,
        class_thresholds={},
        negatives=(),
        per_text=max(options.per_text, options.top_k or 0),
        top_k=None,
        agnostic_nms=False,
        tta=False,
        tile=None,
        overlap=None,
    )


def render_crop(image: Image.Image, crop: Crop) -> PreprocessedImage:
    """The crop of an RGB image, preprocessed."""
    item = preprocess(image.crop(crop.box), *crop.size)
    return replace(item, pixels=item.pixels.flip(-1)) if crop.flipped else item


def to_image_coordinates(boxes: Tensor, crop: Crop) -> Tensor:
    """Boxes [n, 4] in pixels of the crop -> in pixels of the image."""
    return _mirrored(boxes, crop) + boxes.new_tensor(crop.box[:2] * 2)


def to_crop_coordinates(boxes: Tensor, crop: Crop) -> Tensor:
    """The inverse of `to_image_coordinates`."""
    return _mirrored(boxes - boxes.new_tensor(crop.box[:2] * 2), crop)


def _mirrored(boxes: Tensor, crop: Crop) -> Tensor:
    """Mirrored about the resized crop, whose columns are 0 .. W - 1; its own inverse."""
    if not crop.flipped:
        return boxes
    last = (crop.resized[0] - 1) / crop.scale[0]  # the last column, in pixels of the crop
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack((last + 1 - x2, y1, last + 1 - x1, y2), dim=-1)


def combine(
    crops: Sequence[Crop], found: Iterable[RawDetections], nms_iou: float, agnostic: bool = False
) -> RawDetections:
    """The detections of all crops, merged; best first, in pixels of the image.

    Args:
        found: for each crop its detections, in pixels of the crop.
        nms_iou: of two boxes that overlap more, the better stays.
        agnostic: boxes of different labels suppress each other too.
    """
    parts = [_in_scale_range(crop_detections, crop) for crop, crop_detections in zip(crops, found, strict=True)]
    number = torch.cat([torch.full_like(part.labels, i) for i, part in enumerate(parts)])
    truncated = torch.cat([_is_truncated(part.boxes, crop) for crop, part in zip(crops, parts, strict=True)])
    moved = torch.cat([to_image_coordinates(part.boxes, crop) for crop, part in zip(crops, parts, strict=True)])
    detections = RawDetections(
        moved, torch.cat([part.scores for part in parts]), torch.cat([part.labels for part in parts])
    )
    detections = detections[~_is_redundant(detections, number, truncated)]
    inner = detections.boxes - detections.boxes.new_tensor([0.0, 0.0, 1.0, 1.0])  # as post-processing compares them
    if agnostic:
        return detections[nms(inner, detections.scores, nms_iou)]
    return detections[batched_nms(inner, detections.scores, detections.labels, nms_iou)]


def _in_scale_range(detections: RawDetections, crop: Crop) -> RawDetections:
    low, high = crop.scale_range
    sides = (detections.boxes[:, 2:] - detections.boxes[:, :2] - 1) * detections.boxes.new_tensor(crop.scale) + 1
    side = sides.clamp(min=0).prod(1).sqrt()
    return detections[(side >= low) & (side <= high)]


def _is_truncated(boxes: Tensor, crop: Crop) -> Tensor:
    """Which boxes [n, 4], in pixels of the crop, end at an edge that runs through the image: bool [n]."""
    left, top, right, bottom = crop.truncated_edges
    edges = (right, top, left, bottom) if crop.flipped else (left, top, right, bottom)
    distance = torch.cat((boxes[:, :2], boxes.new_tensor(crop.shape) - boxes[:, 2:]), dim=1)
    near = distance * boxes.new_tensor(crop.scale * 2) < NEAR_EDGE
    return (near & torch.tensor(edges, device=boxes.device)).any(1)


def _is_redundant(detections: RawDetections, crop: Tensor, truncated: Tensor) -> Tensor:
    """Truncated boxes that another crop's larger box contains: bool [n]. `crop` int64 [n]: each box's crop."""
    redundant = torch.zeros_like(truncated)
    size = area(detections.boxes)
    for rows in truncated.nonzero().squeeze(1).split(ROWS):
        shared = intersection(detections.boxes[rows, None], detections.boxes)
        other = (detections.labels == detections.labels[rows, None]) & (crop != crop[rows, None])
        more = (shared > MIN_CONTAINMENT * size[rows, None]) & (size > MIN_AREA_RATIO * size[rows, None])
        redundant[rows] = (other & more & (detections.scores > MIN_SCORE_RATIO * detections.scores[rows, None])).any(1)
    return redundant
