"""One image with its boxes, as SVG.

The image is a small JPEG within the page, the boxes and labels over it are SVG: sharp at every size, in the
browser's own fonts (any script), and each kind can be hidden.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from glip_cli.data.image_io import read_image
from glip_cli.errors import ImageError
from glip_cli.evaluation.report.html import Html, element, shortened
from glip_cli.outputs.draw import Rect, place_tags
from glip_cli.outputs.fonts import font_for

SIDE = 480  # pixels of an embedded image's longer side, at most
MAX_TAGS = 16  # on one image; more would hide it
_HEIGHT, _WIDEST = 360, 1080  # units of a drawing: images stand in rows of one height, so letters are of one size
_LETTER, _PADDING, _NAME_LETTERS = 14, 4, 22
_QUALITY = 80


class BoxOutcome(Enum):
    """What became of a box; the value is its class in the style sheet."""

    MET = "met"  # ground truth that was found
    MISSED = "missed"
    RIGHT = "right"  # a detection of it
    WRONG = "wrong"


@dataclass(frozen=True)
class Mark:
    """A box: xywh in pixels of the upright image; `score` of a detection, None of ground truth."""

    box: tuple[float, float, float, float]
    label: str
    outcome: BoxOutcome
    score: float | None = None

    @property
    def name(self) -> str:
        return shortened(self.label, _NAME_LETTERS) or "(blank)"

    @property
    def number(self) -> str:
        return "" if self.score is None else f" {self.score:.2f}"

    @property
    def text(self) -> str:
        """The isolates keep a name that is written from right to left from moving the number."""
        return f"\u2068{self.name}\u2069{self.number}"


class Thumbnail(NamedTuple):
    """`data` is a JPEG of at most SIDE pixels, `size` the upright image's own (width, height)."""

    data: bytes
    size: tuple[int, int]


def read_thumbnail(path: Path) -> Thumbnail | None:
    """None where there is no image, or none that can be read."""
    try:
        upright = read_image(path)
    except ImageError:
        return None
    size, stream = upright.size, io.BytesIO()
    upright.thumbnail((SIDE, SIDE))
    upright.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(stream.getvalue(), size)


def shape(thumbnail: Thumbnail) -> float:
    """Width over height, within what can stand in a row."""
    return min(max(thumbnail.size[0] / thumbnail.size[1], 0.5), _WIDEST / _HEIGHT)


def drawing(marks: Sequence[Mark], thumbnail: Thumbnail, label: str) -> Html:
    """The image under its boxes: ground truth solid, detections dashed, labels on all but what was met."""
    scale = min(_HEIGHT / thumbnail.size[1], _WIDEST / thumbnail.size[0])
    width, height = (max(1.0, side * scale) for side in thumbnail.size)
    address = f"data:image/jpeg;base64,{base64.b64encode(thumbnail.data).decode()}"
    photo = element("image", href=address, width=width, height=height, preserveAspectRatio="none")
    ordered = sorted(marks, key=_importance, reverse=True)  # the mistakes come last, on top
    boxes = (_box(mark, scale) for mark in ordered)
    tags = _tags(sorted(marks, key=_importance), scale, (math.ceil(width), math.ceil(height)))
    view = f"0 0 {width:.0f} {height:.0f}"
    return element("svg", photo, *boxes, *tags, viewBox=view, role="img", aria_label=label, class_="image")


def _importance(mark: Mark) -> tuple[int, float]:
    """Mistakes first, then right detections, ground truth that was met last; in each the higher score first."""
    order = (BoxOutcome.WRONG, BoxOutcome.MISSED, BoxOutcome.RIGHT, BoxOutcome.MET)
    return order.index(mark.outcome), -(mark.score or 0.0)


def _box(mark: Mark, scale: float) -> Html:
    x, y, width, height = (float(value) * scale for value in mark.box)
    place = {"x": x, "y": y, "width": max(width, 1.0), "height": max(height, 1.0)}
    tip = element("title", f"{mark.outcome.value}: {mark.text}")
    return element("g", tip, element("rect", **place, class_="edge"), element("rect", **place), class_=_class(mark))


def _class(mark: Mark) -> str:
    return f"{mark.outcome.value} {'truth' if mark.score is None else 'found'}"


def _tags(marks: Sequence[Mark], scale: float, size: tuple[int, int]) -> list[Html]:
    labelled = [mark for mark in marks if mark.outcome is not BoxOutcome.MET][:MAX_TAGS]
    boxes = [_rect(mark, scale) for mark in labelled]
    places = place_tags(boxes, [_tag_size(mark.name + mark.number) for mark in labelled], size)
    pairs = [(mark, place) for mark, place in zip(labelled, places, strict=True) if place is not None]
    return [_tag(mark, place) for mark, place in reversed(pairs)]


def _rect(mark: Mark, scale: float) -> Rect:
    x, y, width, height = (round(value * scale) for value in mark.box)
    return Rect(x, y, x + max(width, 1), y + max(height, 1))


def _tag_size(text: str) -> tuple[int, int]:
    left, _, right, _ = font_for(text, _LETTER).getbbox(text)
    return math.ceil(right - left) + 2 * _PADDING, _LETTER + _PADDING


def _tag(mark: Mark, place: Rect) -> Html:
    """`textLength` makes whatever font the browser takes fit the room that another was measured for."""
    width, height = place.right - place.left, place.bottom - place.top
    ground = element("rect", x=place.left, y=place.top, width=width, height=height, rx=3)
    text = element(
        "text",
        mark.text,
        x=place.left + _PADDING,
        y=place.bottom - _PADDING,
        textLength=width - 2 * _PADDING,
        lengthAdjust="spacingAndGlyphs",
    )
    return element("g", ground, text, class_=f"tag {_class(mark)}")


def swatch(class_: str) -> Html:
    """A box as the images have it, for their legend."""
    place: dict[str, float] = {"x": 3.0, "y": 3.0, "width": 22.0, "height": 12.0}
    box = element("g", element("rect", **place, class_="edge"), element("rect", **place), class_=class_)
    return element("svg", box, viewBox="0 0 28 18", class_="sample image", aria_hidden="true")
