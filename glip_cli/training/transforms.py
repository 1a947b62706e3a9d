"""Images and boxes in the sizes of training, some of them mirrored; by torchvision's transforms v2.

The order of mmdetection's pipeline (GTBoxSubOne_GLIP, RandomChoiceResize, RandomFlip_GLIP, FilterAnnotations): the far
corner becomes the last pixel in the original image, then everything is scaled, then mirrored as x' = W - 1 - x, and
what is not more than one pixel wide and high is left out. Colours are never changed, nothing is cropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import BoundingBoxes

from glip_cli.errors import OptionError
from glip_cli.inference.preprocess import PreprocessedImage, preprocess, resized_size
from glip_cli.prompts.labels import mentions_left_or_right
from glip_cli.training.dataset import FloatBoxes

TENTHS = (6, 7, 8, 9, 10)
"""Of the shorter side that the model is used with: 480, 560, 640, 720, 800, as in both references."""


@dataclass(frozen=True)
class Resized:
    """An image as the model reads it in training.

    Attributes:
        prepared: the pixels, and what was done to get them.
        boxes: float32 [m, 4] in those pixels, sub-one: x2 and y2 are the last pixel.
        kept: int64 [m], which of the given boxes they are.
        flipped: whether it is mirrored.
    """

    prepared: PreprocessedImage
    boxes: Tensor
    kept: Tensor
    flipped: bool


@dataclass(frozen=True)
class Augmentation:
    """The random augmentation of training images.

    Attributes:
        sides: the shorter side in pixels, one of these at random.
        longer: limit of the longer side in pixels.
        flip: how probably an image is mirrored, where its text allows it.
        multiple: as in `preprocess.ImageSize`; where it is not 0, a side is that of a square of the image's area.
    """

    sides: tuple[int, ...]
    longer: int
    flip: float = 0.5
    multiple: int = 0

    @classmethod
    def of_size(
        cls, size: tuple[int, int], sides: tuple[int, ...] = (), longer: int | None = None, multiple: int = 0
    ) -> Augmentation:
        """The usual one for a model that is used with `size`, shorter side and limit of the longer one.

        `sides` and `longer` are those that were chosen instead. Raises OptionError where no image could have them.
        """
        if multiple and longer is not None:
            raise OptionError("max_size", longer, "this model reads images by their area, which size alone says")
        limit = max(size[1], *sides) if multiple and sides else size[1]
        one = cls(sides or tuple(size[0] * tenths // 10 for tenths in TENTHS), longer or limit, multiple=multiple)
        if max(one.sides) > one.longer:
            advice = f"the shorter side, but the longer one has at most {one.longer} pixels; raise max-size"
            raise OptionError("size", max(one.sides), advice)
        return one

    def view(self, image: Image.Image, boxes: FloatBoxes, text: str, rng: np.random.Generator) -> Resized:
        """One random view.

        Args:
            image: upright RGB.
            boxes: float32 [M, 4] in its pixels, x2 and y2 one past the last.
            text: what is asked about it; one that tells left from right forbids mirroring.
            rng: draws twice, whatever the text.
        """
        side = self.sides[rng.integers(len(self.sides))]
        flip = bool(rng.random() < self.flip) and not mentions_left_or_right(text)
        return view(image, boxes, side, side if self.multiple else self.longer, flip, self.multiple)


def view(image: Image.Image, boxes: FloatBoxes, shorter: int, longer: int, flip: bool, multiple: int = 0) -> Resized:
    """The image resized as `preprocess` does, its boxes with it; mirrored if `flip`."""
    width, height = resized_size(image.size, shorter, longer, multiple)
    resized = F.resize(image, [height, width])
    normalised = preprocess(  # its size already: only the colours change
        F.horizontal_flip(resized) if flip else resized, min(width, height), max(width, height)
    )
    scale = width / image.size[0], height / image.size[1]
    return with_boxes(PreprocessedImage(normalised.pixels, image.size, scale), boxes, flip)


def with_boxes(prepared: PreprocessedImage, boxes: FloatBoxes, flip: bool = False) -> Resized:
    """An image that has its size already, mirrored if `flip`, and the boxes [M, 4] of the original in it."""
    scaled = F.clamp_bounding_boxes(F.resize(sub_one(boxes, prepared.size), list(prepared.pixels.shape[1:])))
    plain = (flipped(scaled) if flip else scaled).as_subclass(Tensor)
    kept = ((plain[:, 2:] - plain[:, :2]) > 1).all(dim=1).nonzero().squeeze(1)
    return Resized(prepared, plain[kept], kept, flip)


def sub_one(boxes: FloatBoxes, size: tuple[int, int]) -> BoundingBoxes:
    """Boxes [M, 4] of an image of `size` (width, height) with the far corner on the last pixel."""
    shifted = torch.from_numpy(boxes.astype(np.float32)) - torch.tensor([0.0, 0.0, 1.0, 1.0])
    return BoundingBoxes(shifted, format="XYXY", canvas_size=(size[1], size[0]))


def flipped(boxes: BoundingBoxes) -> BoundingBoxes:
    """Sub-one boxes mirrored, x' = W - 1 - x; twice is once nothing."""
    shift = torch.tensor([1.0, 0.0, 1.0, 0.0])
    mirrored = F.horizontal_flip(boxes)
    return BoundingBoxes(mirrored - shift, format="XYXY", canvas_size=boxes.canvas_size)
