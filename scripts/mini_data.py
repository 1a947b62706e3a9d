"""Drawn scenes as training batches, and the small vocabulary of glip-mini."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from glip_cli.finetune.loss import Target
from glip_cli.image import collate, prepare
from glip_cli.model.config import GLIP_MINI
from glip_cli.prompt import caption_prompt, label_prompt, tokenize
from glip_cli.scenes import (
    COLOURS,
    HELD_OUT,
    PAIRS,
    PATTERNS,
    SHAPES,
    SIZES,
    Phrase,
    Scene,
    Thing,
    draw_prompt,
    draw_scene,
)
from glip_cli.tokenizer import Tokenizer
from glip_cli.types import Prompt

VOCABULARY = Path(__file__).parents[1] / "glip_cli" / "assets" / "glip-mini"
SEEN = tuple(pair for pair in PAIRS if pair not in HELD_OUT)
SCENE_SIZES = ((160, 160), (160, 160), (192, 160), (160, 192))
LONG_PROMPTS = 0.15  # share of batches that are asked for a long list, as `glip eval scenes` does
LINKS = (" and ", ", ", ", ", " next to ", " above ", " on ")


def vocabulary() -> list[str]:
    """Word pieces: the words of the scenes, some that tie them together, and every ASCII letter for all others."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [
        *SHAPES,
        *COLOURS,
        *PATTERNS,
        *SIZES,
        *["a", "an", "the", "and", "on", "of", "in", "is", "next", "to", "above", "two", "large"],
    ]
    letters = string.digits + string.ascii_lowercase
    return [*special, *words, *string.punctuation, *letters, *(f"##{c}" for c in letters), "thing", "things"]


@dataclass(frozen=True)
class Batch:
    """Pixels float32 [B, 3, H, W], ids int64 [B, T], mask bool [B, T], and what is in each image."""

    pixels: Tensor
    ids: Tensor
    mask: Tensor
    targets: list[Target]
    things: list[tuple[Thing, ...]]


class Scenes(IterableDataset[Batch]):
    """Endless batches; batch k of a seed is always the same, whatever the number of workers."""

    def __init__(self, seed: int, batch_size: int, first: int = 0):
        self.seed, self.batch_size, self.first = seed, batch_size, first

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        tokenizer = Tokenizer.from_dir(VOCABULARY)
        number = self.first + (worker.id if worker else 0)
        while True:
            yield make_batch(np.random.default_rng((self.seed, number)), self.batch_size, tokenizer)
            number += worker.num_workers if worker else 1


def make_batch(rng: np.random.Generator, size: int, tokenizer: Tokenizer) -> Batch:
    width, height = SCENE_SIZES[rng.integers(len(SCENE_SIZES))]
    scenes = [draw_scene(rng, width, height, SEEN) for _ in range(size)]
    long = rng.random() < LONG_PROMPTS
    asked = [draw_list(rng) if long else draw_prompt(rng, scene, SEEN) for scene in scenes]
    encoded = [tokenize(write_prompt(rng, phrases), tokenizer) for phrases in asked]
    ids, mask = pad_ids([tokens.ids for tokens in encoded])
    targets = [
        make_target(scene, phrases, tokens.label_tokens, ids.shape[1])
        for scene, phrases, tokens in zip(scenes, asked, encoded, strict=True)
    ]
    pixels = collate([prepare(scene.image, *GLIP_MINI.image_size) for scene in scenes])
    return Batch(pixels, ids, mask, targets, [scene.things for scene in scenes])


def draw_list(rng: np.random.Generator) -> tuple[Phrase, ...]:
    """From 20 to all of the colour-shape pairs that training may name, shuffled, whatever is in the scene."""
    chosen = rng.permutation(len(SEEN))[: rng.integers(20, len(SEEN) + 1)]
    return tuple(Phrase(SEEN[i][1], SEEN[i][0]) for i in chosen)


def write_prompt(rng: np.random.Generator, phrases: Sequence[Phrase]) -> Prompt:
    """Mostly a list of labels; one time in six a sentence in which the phrases stand, with an article or without."""
    if rng.random() > 1 / 6:
        return label_prompt([phrase.text for phrase in phrases])
    text, spans = "", []
    for i, phrase in enumerate(phrases):
        text += str(rng.choice(LINKS)) if i else ""
        article = str(rng.choice(["a ", "the ", ""]))
        begin = len(text) if rng.random() < 0.5 else len(text) + len(article)
        text += article + phrase.text
        spans.append([(begin, len(text))])
    return caption_prompt(text, spans=spans)


def pad_ids(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids int64 and mask bool [B, T], T rounded up to a multiple of 8."""
    longest = -(-max(map(len, rows)) // 8) * 8
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    return ids, mask


def make_target(scene: Scene, phrases: Sequence[Phrase], label_tokens: Sequence[Sequence[int]], length: int) -> Target:
    """A thing's tokens are those of every phrase that fits it; a thing that none fits is background."""
    boxes, rows = [], []
    for thing in scene.things:
        places = [i for phrase, places in zip(phrases, label_tokens, strict=True) if phrase.fits(thing) for i in places]
        if places:
            row = torch.zeros(length, dtype=torch.bool)
            row[places] = True
            rows.append(row)
            boxes.append(thing.box)
    shift = torch.tensor([0.0, 0.0, 1.0, 1.0])  # the far corner as a pixel, not one past it
    if not boxes:
        return Target(torch.zeros(0, 4), torch.zeros(0, length, dtype=torch.bool))
    return Target(torch.tensor(boxes) - shift, torch.stack(rows))
