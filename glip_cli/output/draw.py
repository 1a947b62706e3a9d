"""Detections onto a picture, and out of it as crops.

Sizes follow the picture: on 640x480 pixels lines are 2 and letters 15 pixels high; both grow a little more
slowly than the picture's sides. Labels stay inside the picture and avoid each other.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw

from glip_cli.errors import UsageError
from glip_cli.output.fonts import AnyFont, font_for
from glip_cli.output.formats import safe_name, written
from glip_cli.types import Detections

Colour = tuple[int, int, int]

# Neighbours in each list differ in hue and in lightness.
PALETTES: dict[str, tuple[str, ...]] = {
    "bright": (
        *("#ff3b30", "#1e90ff", "#ffd60a", "#9b30ff", "#2ecc40", "#ff2d9b", "#00d5e0", "#ff851b"),
        *("#3d4bff", "#b6f000", "#b0006d", "#7fdbff", "#8b4513", "#ffb3c6", "#007a5a", "#e0b0ff"),
    ),
    # Okabe and Ito, Color Universal Design (2008): told apart with any colour vision.
    "okabe-ito": ("#e69f00", "#0072b2", "#f0e442", "#d55e00", "#56b4e9", "#009e73", "#cc79a7"),
}
_GOLDEN_RATIO = 0.6180339887


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


def annotate(image: Image.Image, detections: Detections, palette: str | Sequence[str] = "bright") -> Image.Image:
    """A copy of `image` in RGB with a box, a label and a score for each detection.

    Args:
        image: the upright picture that `detections.size` speaks of.
        detections: boxes in its pixels; what reaches beyond it is cut.
        palette: see `palette_colours`.

    Raises:
        UsageError: `palette` names no palette and no colour.
    """
    colours = palette_colours(palette, len(detections.labels))
    canvas = image.convert("RGB")
    sizes = sizes_for(canvas.size, len(detections))
    boxes = [_pixels(box, canvas.size) for box in detections.boxes.tolist()]
    pen = ImageDraw.Draw(canvas, "RGBA")
    for i in reversed(range(len(detections))):  # the best comes last, on top
        _draw_box(pen, boxes[i], colours[detections.label_ids[i]], sizes.line)
    texts = zip(detections.names, detections.scores.tolist(), strict=True)
    tags = [_tag(label, score, sizes, canvas.size) for label, score in texts]
    places = place_tags(boxes, [tag.size for tag in tags], canvas.size)
    for tag, place, label_id in reversed([*zip(tags, places, detections.label_ids, strict=True)]):
        if place is not None:
            _draw_tag(pen, tag, place, colours[label_id], sizes)
    return canvas


def palette_colours(palette: str | Sequence[str], count: int) -> list[Colour]:
    """`count` RGB colours, one per label.

    Args:
        palette: a name of `PALETTES`; or colours, as a list or with commas ("red,#00ff00,hsl(90,50%,50%)"), in the
            spellings of CSS. A list of one's own repeats; "bright" goes on with ever new hues.
        count: how many labels there are.
    """
    names = _split(palette) if isinstance(palette, str) else tuple(palette)
    if not names:
        raise UsageError("the palette is empty; name a palette or colours")
    colours = [_colour(name) for name in names]
    if names == PALETTES["bright"]:
        colours += [_new_hue(i) for i in range(len(colours), count)]
    return [colours[i % len(colours)] for i in range(count)]


def _split(palette: str) -> tuple[str, ...]:
    if palette in PALETTES:
        return PALETTES[palette]
    names, depth = [""], 0
    for character in palette:  # a comma inside hsl(...) parts no colours
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            names.append("")
        else:
            names[-1] += character
    return tuple(name.strip() for name in names if name.strip())


def _colour(name: str) -> Colour:
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        known = ", ".join(PALETTES)
        raise UsageError(f"{name!r} is no palette ({known}) and no colour such as red or #ff0000") from None
    return red, green, blue


def _new_hue(index: int) -> Colour:
    """The golden ratio never comes near a hue that it gave lately; lightness takes turns."""
    lightness = (0.6, 0.42, 0.75)[index % 3]
    red, green, blue = colorsys.hls_to_rgb(index * _GOLDEN_RATIO % 1, lightness, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)


def sizes_for(size: tuple[int, int], count: int) -> Sizes:
    side = math.sqrt(size[0] * size[1])
    crowd = min(1.0, max(0.7, math.sqrt(25 / max(count, 1))))  # many boxes: smaller labels hide less
    letter = max(9, round(15 * (side / 555) ** 0.8 * crowd))
    return Sizes(max(1, round(2 * (side / 555) ** 0.8)), letter, max(1, round(letter * 0.22)))


def _pixels(box: Sequence[float], size: tuple[int, int]) -> Rect:
    """`box` in whole pixels inside the picture, at least one each way, wherever it lay."""
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


@dataclass(frozen=True)
class _Tag:
    """A text in its font; `size` in pixels with padding; `offset` from the tag's corner to the text's origin."""

    text: str
    font: AnyFont
    size: tuple[int, int]
    offset: tuple[int, int]


def _tag(label: str, score: float, sizes: Sizes, picture: tuple[int, int]) -> _Tag:
    """`label score`, on one line, its label cut with an ellipsis where it is wider than the picture."""
    label = " ".join(label.split())
    font = font_for(label, sizes.letter)
    tag = _measured(f"{label} {score:.2f}", font, sizes)
    while label and tag.size[0] > picture[0]:
        label = label[:-1].rstrip()
        tag = _measured(f"{label}… {score:.2f}" if label else f"{score:.2f}", font, sizes)
    return tag


def _measured(text: str, font: AnyFont, sizes: Sizes) -> _Tag:
    left, top, right, bottom = font.getbbox(text)
    # All tags of ASCII text are of one height, whether or not a letter hangs below the line.
    top, bottom = min(top, font.getbbox("dl")[1]), max(bottom, font.getbbox("gj")[3])
    size = math.ceil(right - left) + 2 * sizes.padding, math.ceil(bottom - top) + 2 * sizes.padding
    return _Tag(text, font, size, (sizes.padding - math.floor(left), sizes.padding - math.floor(top)))


def place_tags(boxes: Sequence[Rect], tags: Sequence[tuple[int, int]], picture: tuple[int, int]) -> list[Rect | None]:
    """Where each tag (width, height) goes: at its box, inside the picture, hiding as little as can be.

    Earlier tags count most, then boxes so small that a tag would hide what is in them. None for a tag that is
    larger than the picture.
    """
    places: list[Rect | None] = []
    for box, tag in zip(boxes, tags, strict=True):
        candidates = _candidates(box, tag, picture)
        small = [other for other in boxes if _area(other) < 4 * tag[0] * tag[1]]
        taken = [place for place in places if place is not None]
        cost = 4 * _hidden(candidates, taken) + _hidden(candidates, small)
        places.append(candidates[int(cost.argmin())] if candidates else None)
    return places


def _area(rect: Rect) -> int:
    return (rect.right - rect.left) * (rect.bottom - rect.top)


def _hidden(tags: Sequence[Rect], things: Sequence[Rect]) -> npt.NDArray[np.int64]:
    """[len(tags)]: how many square pixels of `things` each of `tags` would hide."""
    a, b = np.array(tags, np.int64).reshape(-1, 1, 4), np.array(things, np.int64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    hidden: npt.NDArray[np.int64] = sides.clip(min=0).prod(axis=-1).sum(axis=-1)
    return hidden


def _candidates(box: Rect, tag: tuple[int, int], picture: tuple[int, int]) -> list[Rect]:
    """Above the box, inside at its top, below, inside at its bottom; at its left end, then its right; then higher."""
    width, height = tag
    room_x, room_y = picture[0] - width, picture[1] - height
    if room_x < 0 or room_y < 0:
        return []
    tops = [box.top - height, box.top, box.bottom, box.bottom - height, box.top + height, box.bottom - 2 * height]
    # One that would leave the picture is moved to its edge, which comes after those that fit as they are.
    tops = [y for y in tops if 0 <= y <= room_y] + [min(max(y, 0), room_y) for y in tops if not 0 <= y <= room_y]
    lefts = [min(max(x, 0), room_x) for x in (box.left, box.right - width)]
    return [Rect(x, y, x + width, y + height) for x in lefts for y in tops]


def _draw_tag(pen: ImageDraw.ImageDraw, tag: _Tag, place: Rect, colour: Colour, sizes: Sizes) -> None:
    corners = (place.left, place.top, place.right - 1, place.bottom - 1)
    pen.rounded_rectangle(corners, radius=sizes.padding, fill=colour)
    pen.text((place.left + tag.offset[0], place.top + tag.offset[1]), tag.text, fill=ink_on(colour), font=tag.font)


def ink_on(colour: Colour) -> Colour:
    """Black or white, by relative luminance (WCAG 2.1, with gamma 2.2)."""
    red, green, blue = (float((value / 255) ** 2.2) for value in colour)
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.36 else (255, 255, 255)


def save_crops(image: Image.Image, detections: Detections, folder: Path, name: str) -> list[Path]:
    """Each box as `folder/<label>/<name>-<i>.jpg`, i from 0 in the order of the record. Returns the files.

    A box is rounded outwards to whole pixels and cut at the picture's edge; one outside of it gives no file.
    """
    paths = []
    for i, (label, box) in enumerate(zip(detections.names, detections.boxes.tolist(), strict=True)):
        left, top = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
        right, bottom = min(math.ceil(box[2]), image.width), min(math.ceil(box[3]), image.height)
        if right > left and bottom > top:
            paths.append(folder / safe_name(label) / f"{name}-{i}.jpg")
            with written(paths[-1]) as stream:
                image.convert("RGB").crop((left, top, right, bottom)).save(stream, "JPEG", quality=95)
    return paths
