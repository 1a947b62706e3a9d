"""Detections onto an image, and out of it as crops.

Sizes follow the image: on 640x480 pixels lines are 2 and letters 15 pixels high; both grow a little more
slowly than the image's sides. Labels stay inside the image and avoid each other.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from glip_cli.outputs.colours import Colour, box_colours, ink_on
from glip_cli.outputs.files import atomic_write, safe_name
from glip_cli.outputs.fonts import AnyFont, font_for
from glip_cli.types import Detections
from glip_cli.utils.marks import MARK


class Rect(NamedTuple):
    """Pixels; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Sizes:
    """Pixels: the width of lines, the height of letters, and the room around a text."""

    line: int
    letter: int
    padding: int


def annotate(
    image: Image.Image, detections: Detections, palette: str | Sequence[str] = "bright", names: Sequence[str] = ()
) -> Image.Image:
    """A copy of `image` in RGB with a box, a label and a score for each detection.

    Args:
        image: the upright image that `detections.size` speaks of.
        detections: boxes in its pixels; what reaches beyond it is cut.
        palette: see `palette_colours`.
        names: what is written at each box; by default its label.

    Raises:
        UsageError: `palette` names no palette and no colour.
    """
    colours = box_colours(detections, palette)
    canvas = image.convert("RGB")
    sizes = sizes_for(canvas.size, len(detections))
    boxes = [_pixels(box, canvas.size) for box in detections.boxes.tolist()]
    pen = ImageDraw.Draw(canvas, "RGBA")  # for boxes; tags are pasted, since most letters come again and again
    for i in reversed(range(len(detections))):  # the best comes last, on top
        _draw_box(pen, boxes[i], colours[i], sizes.line)
    texts = zip(names or detections.names, detections.scores.tolist(), strict=True)
    tags = [_tag(label, score, sizes, canvas.size) for label, score in texts]
    tag_boxes = place_tags(boxes, [tag.size for tag in tags], canvas.size)
    for tag, tag_box, colour in reversed([*zip(tags, tag_boxes, colours, strict=True)]):
        if tag_box is not None:
            _draw_tag(canvas, tag, tag_box, colour, sizes.padding)
    return canvas


def sizes_for(size: tuple[int, int], count: int) -> Sizes:
    side = math.sqrt(size[0] * size[1])
    crowd = min(1.0, max(0.7, math.sqrt(25 / max(count, 1))))  # many boxes: smaller labels hide less
    letter = max(9, round(15 * (side / 555) ** 0.8 * crowd))
    return Sizes(max(1, round(2 * (side / 555) ** 0.8)), letter, max(1, round(letter * 0.22)))


def _pixels(box: Sequence[float], size: tuple[int, int]) -> Rect:
    """`box` in whole pixels inside the image, at least one each way, wherever it lay."""
    left, right = (min(max(round(x), 0), size[0]) for x in (box[0], box[2]))
    top, bottom = (min(max(round(y), 0), size[1]) for y in (box[1], box[3]))
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    return Rect(left, top, max(right, left + 1), max(bottom, top + 1))


def _draw_box(pen: ImageDraw.ImageDraw, box: Rect, colour: Colour, line: int) -> None:
    """The line between two thin edges, dark on light colours and light on dark: one of them shows on any ground."""
    edge, contrast = max(1, line // 3), (*ink_on(colour), 110)
    for inset, width, fill in ((-edge, edge, contrast), (line, edge, contrast), (0, line, (*colour, 255))):
        left, top, right, bottom = box.left + inset, box.top + inset, box.right - inset - 1, box.bottom - inset - 1
        if right >= left and bottom >= top:
            pen.rectangle((left, top, right, bottom), outline=fill, width=width)


@dataclass(frozen=True, eq=False)
class _Letters:
    """A text, drawn once: `mask` (white on black) lies in `box`, relative to where the text begins, in pixels."""

    text: str
    mask: Image.Image
    box: Rect
    advance: int  # to where the next text begins


@lru_cache(maxsize=2048)
def _letters(text: str, font: AnyFont) -> _Letters:
    left, top, right, bottom = font.getbbox(text)
    box = Rect(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
    mask = Image.new("L", (max(box.right - box.left, 1), max(box.bottom - box.top, 1)))
    ImageDraw.Draw(mask).text((-box.left, -box.top), text, fill=255, font=font)
    return _Letters(text, mask, box, math.ceil(font.getlength(text)))


@dataclass(frozen=True, eq=False)
class _Tag:
    """Texts with a space between; `size` in pixels with padding; `offset` from the tag's corner to where they begin."""

    parts: tuple[_Letters, ...]
    space: int
    size: tuple[int, int]
    offset: tuple[int, int]


def _tag(label: str, score: float, sizes: Sizes, image: tuple[int, int]) -> _Tag:
    """`label score`, on one line, its label cut with an ellipsis where it is wider than the image; no score for NaN."""
    label = " ".join(label[: 4 * image[0]].split())  # no letter is so narrow that more would fit
    font = font_for(label, sizes.letter)
    top, bottom, space = _line(font)
    number = _letters("" if math.isnan(score) else f"{score:.2f}", font)
    label = shorten_to_width(label, font, image[0] - 2 * sizes.padding - space - number.box.right)
    parts = tuple(part for part in (_letters(label, font), number) if part.text) or (number,)
    top, bottom = min(top, *(part.box.top for part in parts)), max(bottom, *(part.box.bottom for part in parts))
    left, right = min(parts[0].box.left, 0), sum(part.advance + space for part in parts[:-1]) + parts[-1].box.right
    size = right - left + 2 * sizes.padding, bottom - top + 2 * sizes.padding
    return _Tag(parts, space, size, (sizes.padding - left, sizes.padding - top))


@lru_cache(maxsize=2048)
def shorten_to_width(label: str, font: AnyFont, room: int) -> str:
    """The label where it fits into `room` pixels, else what of it fits with an ellipsis, else nothing."""

    def fits(text: str) -> bool:
        return math.ceil(font.getlength(text)) - min(math.floor(font.getbbox(text)[0]), 0) <= room

    def cut(length: int) -> str:
        return f"{label[:length].rstrip()}…" if length else ""

    if fits(label):
        return label
    return cut(bisect_left(range(1, len(label)), True, key=lambda length: not fits(cut(length))))


@lru_cache(maxsize=64)
def _line(font: AnyFont) -> tuple[int, int, int]:
    """Top and bottom of a line, so that tags are of one height whatever hangs below it; and the width of a space."""
    return math.floor(font.getbbox("dl")[1]), math.ceil(font.getbbox("gj")[3]), math.ceil(font.getlength(" "))


def place_tags(boxes: Sequence[Rect], tags: Sequence[tuple[int, int]], image: tuple[int, int]) -> list[Rect | None]:
    """The position of each tag (width, height): at its box, inside the image, hiding as little as possible.

    Earlier tags count most, then boxes so small that a tag would hide what is in them. None for a tag that is
    larger than the image.
    """
    edges = _columns(boxes)
    areas = (edges[2] - edges[0]) * (edges[3] - edges[1])
    taken = np.zeros_like(edges)
    tag_boxes: list[Rect | None] = []
    count = 0
    for box, tag in zip(boxes, tags, strict=True):
        candidates = _candidates(box, tag, image)
        if not candidates:
            tag_boxes.append(None)
            continue
        columns = _columns(candidates)
        reach = Rect(*columns[:2].min(axis=1).tolist(), *columns[2:].max(axis=1).tolist())
        is_small = areas < 4 * tag[0] * tag[1]
        cost = 4 * _hidden(columns, _near(reach, taken[:, :count])) + _hidden(columns, _near(reach, edges, is_small))
        best = int(cost.argmin())
        tag_boxes.append(candidates[best])
        taken[:, count] = columns[:, best]
        count += 1
    return tag_boxes


Columns = npt.NDArray[np.int64]
"""int64 [4, n]: left, top, right and bottom of n rectangles."""


def _columns(rects: Sequence[Rect]) -> Columns:
    return np.array(rects, np.int64).reshape(-1, 4).T.copy()


def _near(reach: Rect, things: Columns, counted: npt.NDArray[np.bool_] | bool = True) -> Columns:
    """The `things` that are `counted` and overlap a rectangle."""
    left, top, right, bottom = things
    inside = (left < reach.right) & (right > reach.left) & (top < reach.bottom) & (bottom > reach.top)
    near: Columns = things[:, counted & inside]
    return near


def _hidden(tags: Columns, things: Columns) -> npt.NDArray[np.int64]:
    """[t]: how many square pixels of `things` each of t `tags` would hide."""
    left, top, right, bottom = things
    width = np.minimum(tags[2, :, None], right) - np.maximum(tags[0, :, None], left)
    height = np.minimum(tags[3, :, None], bottom) - np.maximum(tags[1, :, None], top)
    hidden: npt.NDArray[np.int64] = (np.maximum(width, 0) * np.maximum(height, 0)).sum(axis=1)
    return hidden


def _candidates(box: Rect, tag: tuple[int, int], image: tuple[int, int]) -> list[Rect]:
    """Above the box, inside at its top, below, inside at its bottom; at its left end, then its right; then higher."""
    width, height = tag
    room_x, room_y = image[0] - width, image[1] - height
    if room_x < 0 or room_y < 0:
        return []
    tops = [box.top - height, box.top, box.bottom, box.bottom - height, box.top + height, box.bottom - 2 * height]
    # One that would leave the image is moved to its edge, which comes after those that fit as they are.
    tops = [y for y in tops if 0 <= y <= room_y] + [min(max(y, 0), room_y) for y in tops if not 0 <= y <= room_y]
    lefts = [min(max(x, 0), room_x) for x in (box.left, box.right - width)]
    return [Rect(x, y, x + width, y + height) for x in lefts for y in tops]


def _draw_tag(canvas: Image.Image, tag: _Tag, tag_box: Rect, colour: Colour, padding: int) -> None:
    canvas.paste(colour, tag_box, _rounded(tag.size, padding))
    x, y = tag_box.left + tag.offset[0], tag_box.top + tag.offset[1]
    for part in tag.parts:
        canvas.paste(ink_on(colour), (x + part.box.left, y + part.box.top), part.mask)
        x += part.advance + tag.space


@lru_cache(maxsize=256)
def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """A rectangle of (width, height) with round corners, as a mask."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=radius, fill=255)
    return mask


def save_crops(image: Image.Image, detections: Detections, folder: Path, name: str) -> None:
    """Each box as `folder/<label>/<name>-<i>.jpg`, i from 0 in the order of the record.

    A box is rounded outwards to whole pixels and cut at the image's edge; one outside of it gives no file.
    """
    for i, (label, box) in enumerate(zip(detections.names, detections.boxes.tolist(), strict=True)):
        left, top = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
        right, bottom = min(math.ceil(box[2]), image.width), min(math.ceil(box[3]), image.height)
        if right > left and bottom > top:
            with atomic_write(folder / safe_name(label) / f"{name}-{i}.jpg") as stream:
                crop = image.crop((left, top, right, bottom)).convert("RGB")  # of the whole it would be a copy
                crop.save(stream, "JPEG", quality=95, comment=MARK + b"crop")
