"""One rule tells left from right, for --tta and for training."""

from __future__ import annotations

import pytest

from glip_cli.prompts.labels import mentions_left_or_right


@pytest.mark.parametrize(
    "text",
    ["left cup . dog .", "LEFT", "the right-hand side", "right hand", "left-handed man", "lefthanded",
     "the leftmost star",
     "right-most", "leftward arrow", "rightwards", "left-ward", "cup left of the plate.", "top_left", "upper-left",
     "bottomright corner", "turn_left_ahead", "TurnLeft", "leftTurn", "RightArrow", "left/right", "left2", "lefty",
     "left-side mirror", "a right-winger", "clockwise arrow", "counter-clockwise", "anticlockwise"],
)  # fmt: skip
def test_texts_that_a_mirror_makes_wrong(text: str) -> None:
    assert mentions_left_or_right(text)


@pytest.mark.parametrize(
    "text",
    ["", "bright star . leftovers . copyright .", "leftover soup", "two cleft rocks. upright", "downright", "fright",
     "civil rights sign", "a righteous man", "leftist", "clock", "alright", "Wright", "BRIGHT", "théâtre"],
)  # fmt: skip
def test_texts_that_stay_true(text: str) -> None:
    assert not mentions_left_or_right(text)
