"""Drawn scenes: what is said of them is true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.data.synthetic import (
    COLOURS,
    HELD_OUT,
    PATTERNS,
    SEEN,
    SHAPES,
    SIZES,
    Phrase,
    Thing,
    draw_prompt,
    draw_scene,
)

few = settings(max_examples=15, deadline=None)


def test_there_is_enough_of_everything() -> None:
    assert len(SHAPES) >= 8
    assert len(COLOURS) >= 8
    assert len(PATTERNS) >= 3
    assert len(SIZES) >= 2
    assert {colour for colour, _ in HELD_OUT} == set(COLOURS)
    assert {shape for _, shape in HELD_OUT} == set(SHAPES)
    assert len(SEEN) == len(COLOURS) * len(SHAPES) - len(HELD_OUT)
    assert not set(SEEN) & set(HELD_OUT)


@few
@given(st.integers(0, 10_000))
def test_a_scene_follows_from_its_seed(seed: int) -> None:
    first, second = draw_scene(np.random.default_rng(seed)), draw_scene(np.random.default_rng(seed))
    assert first.things == second.things
    assert first.image.tobytes() == second.image.tobytes()


@few
@given(st.integers(0, 10_000), st.sampled_from([(160, 160), (192, 160), (640, 480)]))
def test_boxes_lie_inside_and_have_their_size(seed: int, size: tuple[int, int]) -> None:
    scene = draw_scene(np.random.default_rng(seed), *size)
    for thing in scene.things:
        x1, y1, x2, y2 = thing.box
        assert 0 <= x1 < x2 <= size[0]
        assert 0 <= y1 < y2 <= size[1]
        assert max(x2 - x1, y2 - y1) <= SIZES[thing.size][1] * min(size) + 2


@pytest.mark.parametrize("colour", COLOURS)
def test_a_plain_thing_has_its_colour_in_its_middle(colour: str) -> None:
    rng = np.random.default_rng(3)
    scene = next(s for s in (draw_scene(rng, 160, 160, [(colour, "square")], most=1) for _ in range(99))
                 if s.things and s.things[0].pattern == "plain")  # fmt: skip
    x1, y1, x2, y2 = scene.things[0].box
    middle = np.asarray(scene.image, float)[int(y1 + y2) // 2, int(x1 + x2) // 2]
    assert np.abs(middle - COLOURS[colour]).max() < 45


@few
@given(st.integers(0, 10_000))
def test_training_neither_draws_nor_names_what_is_held_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, pairs=SEEN)
    phrases = draw_prompt(rng, scene, SEEN)
    assert not {thing.pair for thing in scene.things} & set(HELD_OUT)
    assert not {(phrase.colour, phrase.shape) for phrase in phrases} & set(HELD_OUT)
    assert len({phrase.text for phrase in phrases}) == len(phrases)


def test_a_phrase_fits_what_has_all_that_it_names() -> None:
    thing = Thing("heart", "blue", "striped", "small", (0, 0, 10, 10))
    for fitting in ("heart", "blue heart", "striped blue heart", "small striped blue heart"):
        words = fitting.split()
        phrase = Phrase(
            words[-1],
            next((w for w in words if w in COLOURS), None),
            next((w for w in words if w in PATTERNS), None),
            next((w for w in words if w in SIZES), None),
        )
        assert phrase.text == fitting
        assert phrase.fits(thing)
    assert not Phrase("star", "blue").fits(thing)
    assert not Phrase("heart", "red").fits(thing)
    assert not Phrase(None, other="cat").fits(thing)
