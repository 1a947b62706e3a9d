"""Drawn scenes as training data: `--train scenes:N`, fresh ones without end, N to an epoch.

Scene k of a seed is always the same, and so is what is asked about it: descriptions that fit things in it, others that
differ from those in a word, things that are never drawn; sometimes a long list of pairs, as `glip eval scenes` asks.
Held-out pairs are neither drawn nor named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glip_cli.data.synthetic import SEEN, Phrase, Rng, Scene, Thing, draw_prompt, draw_scene
from glip_cli.errors import UsageError
from glip_cli.finetune.data.prompts import SampledPrompt
from glip_cli.finetune.data.sets import FloatBoxes
from glip_cli.prompts.chunking import tokenize
from glip_cli.prompts.prompt import caption_prompt, label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.types import Prompt

SIZES = ((160, 160), (160, 160), (192, 160), (160, 192))  # width, height
ALIKE = 16  # scenes in a row with one size and one kind of prompt: batches of as many need no padding
LONG = 0.15  # share of the prompts that are long lists
SENTENCES = 1 / 6  # of the others, those that are a sentence
SHORTEST_LIST = 20
LINKS = (" and ", ", ", ", ", " next to ", " above ", " on ")

_SPELLING = re.compile(r"scenes:([0-9]{1,9})")
_ALIKE, _SCENE = 2, 3  # two kinds of draws, that must repeat neither each other nor those of `batches`


@dataclass(frozen=True)
class DrawnScenes:
    """What `--train scenes:N` names; stands where a `TrainSet` does.

    Attributes:
        count: scenes in an epoch. The next epoch has others.
    """

    count: int
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"scenes:{self.count}"

    def __len__(self) -> int:
        return self.count


class Sample(NamedTuple):
    """A scene and what is asked about it."""

    scene: Scene
    asked: SampledPrompt

    @property
    def boxes(self) -> FloatBoxes:
        """float32 [M, 4], x2 and y2 one past the last pixel."""
        return np.array([thing.box for thing in self.scene.things], np.float32).reshape(-1, 4)


def parse_scenes(path: Path) -> DrawnScenes | None:
    """`scenes:N`; None for what names a file or folder. Raises UsageError where N is none."""
    found = _SPELLING.fullmatch(str(path))
    if found and int(found[1]):
        return DrawnScenes(int(found[1]))
    if str(path).startswith("scenes:") or (str(path) == "scenes" and not path.exists()):
        raise UsageError(f"--train {path}: say how many drawn scenes an epoch has, as in --train scenes:1000")
    return None


def draw_sample(seed: int, number: int, tokenizer: Tokenizer, window: int) -> Sample:
    """Scene `number` of a seed, from 0, asked about in at most `window` tokens."""
    rows = np.random.default_rng((seed, _ALIKE, number // ALIKE))
    width, height = SIZES[rows.integers(len(SIZES))]
    long = rows.random() < LONG
    rng = np.random.default_rng((seed, _SCENE, number))
    scene = draw_scene(rng, width, height, SEEN)
    phrases = draw_list(rng) if long else draw_prompt(rng, scene, SEEN)
    prompt = write_prompt(rng, phrases)
    return Sample(scene, SampledPrompt(prompt, named_by(scene.things, phrases), tokenize(prompt, tokenizer, window)))


def draw_list(rng: Rng) -> tuple[Phrase, ...]:
    """From 20 to all of the pairs that training may name, shuffled, whatever is in the scene."""
    chosen = rng.permutation(len(SEEN))[: rng.integers(SHORTEST_LIST, len(SEEN) + 1)]
    return tuple(Phrase(SEEN[i][1], SEEN[i][0]) for i in chosen)


def write_prompt(rng: Rng, phrases: Sequence[Phrase]) -> Prompt:
    """Mostly a list of labels; now and then a sentence in which the phrases stand, with an article or without."""
    if rng.random() > SENTENCES:
        return label_prompt([phrase.text for phrase in phrases])
    text, spans = "", []
    for i, phrase in enumerate(phrases):
        text += str(rng.choice(LINKS)) if i else ""
        article = str(rng.choice(["a ", "the ", ""]))
        begin = len(text) if rng.random() < 0.5 else len(text) + len(article)
        text += article + phrase.text
        spans.append([(begin, len(text))])
    return caption_prompt(text, spans=spans)


def named_by(things: Sequence[Thing], phrases: Sequence[Phrase]) -> tuple[tuple[int, ...], ...]:
    """For each thing the phrases that fit it; a thing that none fits is background."""
    return tuple(tuple(i for i, phrase in enumerate(phrases) if phrase.fits(thing)) for thing in things)
