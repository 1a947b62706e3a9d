"""A colour for each label, and for each of its boxes."""

from __future__ import annotations

import colorsys
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import ImageColor

from glip_cli.errors import UsageError
from glip_cli.types import Detections

Colour = tuple[int, int, int]

# Neighbours in each list differ in hue and in lightness.
PALETTES: dict[str, tuple[str, ...]] = {
    "bright": (
        *("#ff3b30", "#1e90ff", "#ffd60a", "#9b30ff", "#2ecc40", "#ff2d9b", "#00d5e0", "#ff851b"),
        *("#3d4bff", "#b6f000", "#b0006d", "#7fdbff", "#8b4513", "#ffb3c6", "#007a5a", "#e0b0ff"),
    ),
    # Okabe and Ito, Color Universal Design (2008): distinct with any colour vision.
    "okabe-ito": ("#e69f00", "#0072b2", "#f0e442", "#d55e00", "#56b4e9", "#009e73", "#cc79a7"),
}
_GOLDEN_RATIO = 0.6180339887


def box_colours(detections: Detections, palette: str | Sequence[str]) -> list[Colour]:
    """A colour per detection, for its box and its tag: that of its label.

    Of several boxes of a label, from left to right, the colour, a lighter and a darker shade take turns, so that one
    sees whose a tag is. Colours that a user lists stay the same.
    """
    by_label = palette_colours(palette, len(detections.labels))
    colours = [by_label[label_id] for label_id in detections.label_ids]
    if isinstance(palette, str) and palette in PALETTES:
        seen: Counter[int] = Counter()
        for i in np.argsort(detections.boxes[:, 0] + detections.boxes[:, 2], kind="stable").tolist():
            label_id = int(detections.label_ids[i])
            colours[i] = _shade(colours[i], seen[label_id])
            seen[label_id] += 1
    return colours


def _shade(colour: Colour, turn: int) -> Colour:
    other, share = ((0, 0.0), (255, 0.5), (0, 0.4))[turn % 3]
    red, green, blue = (round(value + share * (other - value)) for value in colour)
    return red, green, blue


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
    names = re.split(r",(?![^()]*\))", palette)  # a comma inside hsl(...) parts no colours
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


@lru_cache(maxsize=2048)
def ink_on(colour: Colour) -> Colour:
    """Black or white, by relative luminance (WCAG 2.1, with gamma 2.2)."""
    red, green, blue = (float((value / 255) ** 2.2) for value in colour)
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.36 else (255, 255, 255)
