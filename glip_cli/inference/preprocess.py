"""An RGB image -> the tensor that the model reads, and the scale back to the image's pixels.

    RGB image -> preprocess -> float32 [3, h, w] -> collate -> [B, 3, H, W]

Only this module knows that the model reads BGR channels. The arithmetic is mmdetection's test
pipeline (`FixScaleResize` with the Pillow backend, then `DetDataPreprocessor`), bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image

from glip_cli.options import Size

MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)
SMALLEST = 32  # side, in pixels
DIVISOR = 32  # of the sides of a batch, the stride of the last stage of the backbone


Item = TypeVar("Item")


class ImageSize(NamedTuple):
    """The size to which images are resized.

    Attributes:
        shorter, longer: what its sides reach, and do not exceed, in pixels.
        multiple: where it is not 0, the image gets the area shorter * longer instead, and both sides are rounded to
            multiples of it: no padding.
    """

    shorter: int
    longer: int
    multiple: int = 0

    @classmethod
    def chosen(cls, model_size: tuple[int, int], size: Size | None, multiple: int = 0) -> ImageSize:
        """`size` where it is given, else the model's own."""
        if isinstance(size, float | int):
            size = max(SMALLEST, round(model_size[0] * size)), max(SMALLEST, round(model_size[1] * size))
        return cls(*(size or model_size), multiple)

    @property
    def in_words(self) -> str:
        area = f"the area of {self.shorter} x {self.longer} pixels"
        return area if self.multiple else f"{self.shorter} to {self.longer} pixels"


@dataclass(frozen=True, eq=False)
class PreprocessedImage:
    """An image as the model reads it.

    Attributes:
        pixels: float32 [3, h, w], channels BGR, normalised, not padded.
        size: (width, height) of the image before resizing.
        scale: (x, y), resized / original: a box in `pixels` divided by it is a box in the image.
    """

    pixels: torch.Tensor
    size: tuple[int, int]
    scale: tuple[float, float]

    @property
    def resized(self) -> tuple[int, int]:
        """(width, height) after resizing."""
        return self.pixels.shape[2], self.pixels.shape[1]


def preprocess(image: Image.Image, shorter: int = 800, longer: int = 1333, multiple: int = 0) -> PreprocessedImage:
    """Resize to an `ImageSize` and normalise."""
    width, height = image.size
    new_width, new_height = resized_size(image.size, shorter, longer, multiple)
    resized = image.convert("RGB").resize((new_width, new_height), Image.Resampling.BILINEAR)
    # numpy, as images are prepared in threads beside the model's: torch would start OpenMP threads for each of them,
    # and where a process has more than cores, libgomp no longer lets those of the model wait for work awake
    pixels = np.asarray(resized)[..., ::-1].transpose(2, 0, 1).astype(np.float32, order="C")
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (MEAN_BGR, STD_BGR))
    pixels -= mean
    pixels /= std
    return PreprocessedImage(torch.from_numpy(pixels), (width, height), (new_width / width, new_height / height))


def resized_size(size: tuple[int, int], shorter: int, longer: int, multiple: int = 0) -> tuple[int, int]:
    """(width, height) after resizing to an `ImageSize`, at least 1 pixel each.

    Truncated as mmdetection's `rescale_size` does, in its order of operations: where the float product falls
    just below a whole number (a side of 799.99...), the pixel is lost there too.
    """
    if multiple:
        scale = math.sqrt(shorter * longer / (size[0] * size[1]))
        width, height = (max(1, round(side * scale / multiple)) * multiple for side in size)
        return width, height
    scale = min(longer / max(size), shorter / min(size))
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def collate(items: Sequence[PreprocessedImage]) -> torch.Tensor:
    """Pads right and bottom with zeros (after normalisation: the mean colour) to one [B, 3, H, W].

    H and W are those of the largest image, rounded up to a multiple of 32 pixels.
    """
    height, width = (max(sides) for sides in zip(*map(padded_size, items), strict=True))
    batch = items[0].pixels.new_zeros(len(items), 3, height, width)
    for row, item in zip(batch, items, strict=True):
        row[:, : item.pixels.shape[1], : item.pixels.shape[2]] = item.pixels
    return batch


def same_shape_batches(
    items: Iterable[Item], shape: Callable[[Item], tuple[int, int]], batch_size: int
) -> Iterator[list[Item]]:
    """Neighbours of one shape, at most `batch_size` at once, in order."""
    for _, neighbours in groupby(items, shape):
        while batch := list(islice(neighbours, batch_size)):
            yield batch
            del batch  # before the next images are read


def padded_size(item: PreprocessedImage) -> tuple[int, int]:
    """(height, width) of the image alone in a batch."""
    height, width = (-(-side // DIVISOR) * DIVISOR for side in item.pixels.shape[1:])
    return height, width
