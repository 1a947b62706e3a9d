"""Drawn scenes: what `glip-mini` learns from and is measured on.

A scene is a textured background with clutter and one to seven objects; an object is a shape with a colour, a pattern
and a size, turned at random and partly hidden by others. Its description ("small striped blue heart") is known, so
boxes and labels are exact. Everything follows from one `numpy.random.Generator`.

Eight colour-shape pairs are `HELD_OUT`: training neither draws nor names them, so that finding them measures whether
the model composes what it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]
Rng = np.random.Generator

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 36),
    "orange": (244, 138, 22),
    "yellow": (242, 222, 40),
    "green": (38, 158, 60),
    "blue": (36, 80, 216),
    "purple": (140, 48, 178),
    "white": (248, 248, 248),
    "black": (16, 16, 16),
}
PATTERNS = ("plain", "striped", "dotted")
SIZES = {"small": (0.14, 0.2), "big": (0.28, 0.42)}  # diameter as a share of the scene's shorter side


def _star(u: Array, v: Array) -> npt.NDArray[np.bool_]:
    """Five points: the radius of the outline falls and rises along each fifth of the turn."""
    fifth = np.abs((np.arctan2(u, -v) / (2 * np.pi) * 5) % 1 - 0.5) * 2  # 1 at a point, 0 between two
    return np.hypot(u, v) < 0.4 / (1 - 0.6 * fifth)


def _heart(u: Array, v: Array) -> npt.NDArray[np.bool_]:
    """The curve (x^2 + y^2 - 1)^3 = x^2 y^3, y pointing up."""
    x, y = u * 1.42, 0.1 - v * 1.42
    return (x**2 + y**2 - 1) ** 3 - x**2 * y**3 < 0


SHAPES: dict[str, Callable[[Array, Array], npt.NDArray[np.bool_]]] = {
    "circle": lambda u, v: u**2 + v**2 < 0.96,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.71,
    "triangle": lambda u, v: (v < 0.49) & (np.abs(u) < (v + 0.98) * 0.578),
    "star": _star,
    "heart": _heart,
    "cross": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.27) & (np.maximum(np.abs(u), np.abs(v)) < 0.95),
    "ring": lambda u, v: (u**2 + v**2 < 0.96) & (u**2 + v**2 > 0.3),
    "moon": lambda u, v: (u**2 + v**2 < 0.96) & ((u - 0.5) ** 2 + v**2 > 0.6),
}
"""Inside or not, for coordinates within the unit circle (v points down)."""

_VALUES = {"shape": tuple(SHAPES), "colour": tuple(COLOURS), "pattern": PATTERNS, "size": tuple(SIZES)}
"""Of the attributes that `Thing` and `Phrase` have."""

PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
HELD_OUT = tuple(zip(COLOURS, ("heart", "star", "ring", "square", "circle", "triangle", "cross", "moon"), strict=True))
"""Each colour and each shape is held out once."""

SEEN = tuple(pair for pair in PAIRS if pair not in HELD_OUT)
"""What training may draw and name."""

OTHER_THINGS = tuple(
    "cat dog remote person car bird horse tree house chair bottle cup book phone clock boat apple banana cake hat "
    "table lamp flower fish shoe ball bus train bench kite".split()
)
"""Never drawn; in prompts so that a word the model does not know scores low."""


@dataclass(frozen=True)
class Thing:
    """One drawn object; its box is (x1, y1, x2, y2) in pixels, x2 and y2 one past the last pixel, hidden parts too."""

    shape: str
    colour: str
    pattern: str
    size: str
    box: tuple[float, float, float, float]

    @property
    def pair(self) -> tuple[str, str]:
        return self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    image: Image.Image
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Phrase:
    """A description; an attribute that is None does not matter.

    Without a shape it is a "thing" of any shape ("red thing"), or, with `other`, something that is never drawn.
    """

    shape: str | None
    colour: str | None = None
    pattern: str | None = None
    size: str | None = None
    other: str = ""

    @property
    def text(self) -> str:
        return " ".join(word for word in (self.size, self.pattern, self.colour, self.noun) if word)

    @property
    def noun(self) -> str:
        return self.shape or self.other or "thing"

    def fits(self, thing: Thing) -> bool:
        return not self.other and all(getattr(self, name) in (None, getattr(thing, name)) for name in _VALUES)


def draw_scene(
    rng: Rng,
    width: int = 160,
    height: int = 160,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    most: int = 7,
) -> Scene:
    """A scene of 1 .. `most` objects of the given colour-shape pairs."""
    side = min(width, height)
    canvas = _background(rng, width, height)
    _clutter(rng, canvas)
    owner = np.zeros((height, width), np.int16)  # which object shows at each pixel; 0 none
    areas: list[int] = [0]
    objects: list[Thing] = []
    for _ in range(rng.integers(1, most + 1)):
        colour, shape = pairs[int(rng.integers(len(pairs)))]
        pattern = PATTERNS[rng.choice(3, p=(0.5, 0.25, 0.25))]
        size = ("small", "big")[rng.integers(2)]
        diameter = rng.uniform(*SIZES[size]) * side
        mask, paint = _object(rng, shape, colour, pattern, diameter)
        corner = _free_place(rng, owner, areas, mask)
        if corner is None:
            continue
        top, left = corner
        _paste(canvas, owner, mask, paint, top, left, len(areas))
        areas.append(int((mask > 0.5).sum()))
        rows, columns = np.nonzero((mask > 0.5).any(1))[0], np.nonzero((mask > 0.5).any(0))[0]
        x1, y1, x2, y2 = left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1
        objects.append(Thing(shape, colour, pattern, size, (float(x1), float(y1), float(x2), float(y2))))
    canvas += rng.standard_normal(canvas.shape, np.float32) * rng.uniform(0, 6)
    return Scene(Image.fromarray(canvas.clip(0, 255).astype(np.uint8)), tuple(objects))


def _background(rng: Rng, width: int, height: int) -> Array:
    """Muted colour with coarse and fine texture, sometimes lines: float32 [h, w, 3] in 0 .. 255."""
    grey = rng.uniform(70, 190)
    base = (grey + rng.uniform(-28, 28, 3)).astype(np.float32)
    cells = int(rng.integers(2, 9))
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    texture = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32) - 128
    canvas = base + texture * np.float32(rng.uniform(0.05, 0.28))
    if rng.random() < 0.4:
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 24)
        y, x = np.ogrid[:height, :width]
        wave = np.sin(((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period).astype(np.float32))
        canvas += wave[..., None] * rng.uniform(4, 16)
    canvas += rng.standard_normal((height, width, 1), np.float32) * rng.uniform(2, 10)
    return canvas


def _clutter(rng: Rng, canvas: Array) -> None:
    """Muted bars and specks, which are nothing that a prompt names."""
    height, width = canvas.shape[:2]
    for _ in range(rng.integers(0, 9)):
        paint = rng.uniform(60, 200) + rng.uniform(-30, 30, 3)
        h, w = sorted(rng.integers(1, 7, 2)) if rng.random() < 0.5 else (rng.integers(1, 4), rng.integers(12, 70))
        if rng.random() < 0.5:
            h, w = w, h
        top, left = rng.integers(0, height), rng.integers(0, width)
        canvas[top : top + h, left : left + w] = paint


def _object(rng: Rng, shape: str, colour: str, pattern: str, diameter: float) -> tuple[Array, Array]:
    """Coverage float32 [d, d] in 0 .. 1 and paint float32 [d, d, 3], drawn at three times the size and averaged."""
    side, fine = int(np.ceil(diameter)) + 2, 3
    grid = (((np.arange(side * fine) + 0.5) / fine - side / 2) / (diameter / 2)).astype(np.float32)
    y, x = grid[:, None], grid[None, :]
    angle = rng.uniform(-np.pi, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = x * cos + y * sin, y * cos - x * sin
    inside = SHAPES[shape](u, v).astype(np.float32)
    shrink = (side, fine, side, fine)
    coverage = inside.reshape(shrink).mean((1, 3))
    share = _pattern(rng, pattern, u, v).reshape(shrink).mean((1, 3))[..., None]
    main = (np.array(COLOURS[colour]) + rng.uniform(-14, 14, 3)).astype(np.float32)
    second = np.float32(rng.uniform(110, 150))
    return coverage, main + (second - main) * share


def _pattern(rng: Rng, pattern: str, u: Array, v: Array) -> Array:
    """The mask of the second, grey colour: 0 or 1 per pixel."""
    turns = np.float32(rng.uniform(1.4, 1.9))  # periods per radius
    phase = rng.random(2, np.float32)
    if pattern == "striped":
        return ((v * turns + phase[0]) % 1 < 0.42).astype(np.float32)
    if pattern == "dotted":
        a, b = (u * turns + phase[0]) % 1 - 0.5, (v * turns + phase[1]) % 1 - 0.5
        return (a**2 + b**2 < 0.3**2).astype(np.float32)
    return np.zeros_like(u)


def _free_place(rng: Rng, owner: npt.NDArray[np.int16], areas: list[int], mask: Array) -> tuple[int, int] | None:
    """A (top, left) inside the scene that leaves at least 65 % of every other object to be seen."""
    height, width = owner.shape
    h, w = mask.shape
    solid = mask > 0.5
    shown = np.bincount(owner.ravel(), minlength=len(areas))
    for _ in range(12):
        top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        hidden = np.bincount(owner[top : top + h, left : left + w][solid], minlength=len(areas))
        if (shown[1:] - hidden[1:] >= 0.65 * np.array(areas[1:])).all():
            return top, left
    return None


def _paste(
    canvas: Array, owner: npt.NDArray[np.int16], mask: Array, paint: Array, top: int, left: int, number: int
) -> None:
    h, w = mask.shape
    region = slice(top, top + h), slice(left, left + w)
    canvas[region] += (paint - canvas[region]) * mask[..., None]
    owner[region][mask > 0.5] = number


def draw_prompt(rng: Rng, scene: Scene, pairs: Sequence[tuple[str, str]] = PAIRS, most: int = 10) -> tuple[Phrase, ...]:
    """Phrases for a scene, shuffled: some that fit objects, some that differ in one word, some of something else.

    No two have the same text, and none names a colour-shape pair outside `pairs`.
    """
    allowed = frozenset(pairs)
    count = int(rng.integers(1, most + 1))
    phrases: dict[str, Phrase] = {}
    for _ in range(count):
        shape = scene.things[rng.integers(len(scene.things))] if scene.things else None
        phrase = _random_phrase(rng, shape if rng.random() < 0.75 else None)
        if rng.random() < 0.4:
            phrase = _twist(rng, phrase)
        if phrase.colour is None or phrase.shape is None or (phrase.colour, phrase.shape) in allowed:
            phrases[phrase.text] = phrase
    chosen = list(phrases.values()) or [Phrase("circle")]
    return tuple(chosen[i] for i in rng.permutation(len(chosen)))


def _random_phrase(rng: Rng, noun: Thing | None) -> Phrase:
    """Describe a thing with some of its attributes, or anything at all."""
    if noun is None and rng.random() < 0.15:
        return Phrase(None, other=OTHER_THINGS[rng.integers(len(OTHER_THINGS))])
    shape: str | None
    shape, colour, pattern, size = (
        getattr(noun, name) if noun else _any(rng, values) for name, values in _VALUES.items()
    )
    use = rng.random(3) < (0.7, 0.2, 0.2)
    if use.any() and rng.random() < 0.35:
        shape = None  # a word that says it all alone is learned first: colours were not learned without
    return Phrase(shape, colour if use[0] else None, pattern if use[1] else None, size if use[2] else None)


def _twist(rng: Rng, phrase: Phrase) -> Phrase:
    """Change one attribute that the phrase names: the hardest thing to tell apart."""
    named = tuple(name for name in _VALUES if getattr(phrase, name))
    if not named:
        return phrase
    name = _any(rng, named)
    return replace(phrase, **{name: _any(rng, _VALUES[name])})


def _any(rng: Rng, values: tuple[str, ...]) -> str:
    return values[rng.integers(len(values))]
