"""Words that a mirror makes wrong: an image of "the left cup" shows the right cup when it is mirrored.

`--tta` and training ask here before they mirror an image. A doubtful word counts: the price is one view less.
"""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
"""Letters between anything else, as in "top_left" and "left-handed"; a capital begins a word, as in "TurnLeft"."""
_SIDED = re.compile(
    r"(top|bottom|upper|lower|center|centre|middle)?(left|right)"
    r"(most|wards?|wardly|hand|hande[dr]|handers|sided?|wing|wingers?|bound|facing|pointing|arrows?|turns?)?"
    r"|left(y|ies)|right(y|ies)|leftright|rightleft"
    r"|(anti|counter)?clockwise"
)


def mentions_left_or_right(text: str) -> bool:
    """Whether a text tells left from right: "the left cup", "leftward", "right-handed", "turn_left", "clockwise".

    "bright", "copyright", "upright", "leftover" and "rights" do not.
    """
    return any(_SIDED.fullmatch(word.lower()) for word in _WORDS.findall(text))
