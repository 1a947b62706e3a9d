"""Training samples: an image, its boxes, and the prompt about it; from files, or drawn.

    classes that fit the window    all of them, in the order of their ids: the prompt of detection, always the same
    more classes than fit          those in the image, then others at random until the window is full; shuffled
    captions                       as typed
    drawn scenes                   descriptions that fit things in the scene, others that differ from those in a word,
                                   things that are never drawn; sometimes a long list of pairs

After microsoft/GLIP, data/datasets/od_to_grounding.py; there the number of others is random too. Scene k of a seed is
always the same, and so is its prompt. Held-out pairs are neither drawn nor named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from glip_cli.data.image_io import read_image
from glip_cli.data.synthetic import SEEN, Phrase, Rng, Scene, draw_prompt, draw_scene
from glip_cli.errors import OptionError
from glip_cli.prompts.chunking import Chunk, Tokens, chunk, label_token_ids, tokenize
from glip_cli.prompts.prompt import caption_prompt, label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.dataset import DetectionItem, FloatBoxes, GroundingItem, Item, TrainSet
from glip_cli.types import Prompt

Ints = npt.NDArray[np.int64]
SIZES = ((160, 160), (160, 160), (192, 160), (160, 192))  # width, height
ALIKE = 16  # scenes in a row with one size and one kind of prompt: batches of as many need no padding
LONG = 0.15  # share of the prompts that are long lists
SENTENCES = 1 / 6  # of the others, those that are a sentence
SHORTEST_LIST = 20
LINKS = (" and ", ", ", ", ", " next to ", " above ", " on ")

_SPELLING = re.compile(r"scenes:([0-9]{1,9})")
_ALIKE, _SCENE = 2, 3  # two kinds of draws, that must repeat neither each other nor those of `batches`


class Sample(NamedTuple):
    """
    Attributes:
        image: upright RGB.
        boxes: float32 [M, 4] in its pixels, x2 and y2 one past the last.
        name: for messages.
    """

    image: Image.Image
    boxes: FloatBoxes
    prompt: SampledPrompt
    name: str


SampleSource = Callable[[int, int, Rng], Sample]
"""(item of the set, index in the stream of batches, random numbers) -> a sample; raises ImageError."""


def sample_source(one: AnySet, tokenizer: Tokenizer, window: int, seed: int) -> SampleSource:
    """Images of a set, or a drawn scene for each index of the stream, so that none is seen twice.

    Raises PromptError for a class name that `tokenizer` cannot read in `window` tokens.
    """
    if isinstance(one, DrawnScenes):
        return partial(_drawn_sample, tokenizer, window, seed)
    return partial(_image_sample, one.items, PromptSampler(one, tokenizer, window))


def _image_sample(items: Sequence[Item], prompts: PromptSampler, item: int, stream_index: int, rng: Rng) -> Sample:
    chosen = items[item]
    prompt = prompts.sample(chosen, rng)
    return Sample(read_image(chosen.image), chosen.boxes, prompt, str(chosen.image))


def _drawn_sample(tokenizer: Tokenizer, window: int, seed: int, item: int, stream_index: int, rng: Rng) -> Sample:
    scene, prompt = draw_sample(seed, stream_index, tokenizer, window)
    boxes = np.array([thing.box for thing in scene.things], np.float32).reshape(-1, 4)
    return Sample(scene.image, boxes, prompt, f"drawn scene {stream_index} of seed {seed}")


@dataclass(frozen=True)
class SampledPrompt:
    """A prompt about one image.

    Attributes:
        prompt: the text and its labels.
        positive: for each box of the image the labels of `prompt` that name it, ascending; none for a box whose
            name did not fit the window.
        tokens: the text as the model reads it; `tokens.label_tokens[i]` are the positions of label i.
    """

    prompt: Prompt
    positive: tuple[tuple[int, ...], ...]
    tokens: Tokens

    def token_map(self, length: int) -> npt.NDArray[np.bool_]:
        """Bool [boxes, length]: the tokens that name each box; never [CLS], [SEP] or what stands between labels."""
        rows = np.zeros((len(self.positive), length), bool)
        for row, labels in zip(rows, self.positive, strict=True):
            row[[token for label in labels for token in self.tokens.label_tokens[label]]] = True
        return rows


class PromptSampler:
    """Prompts about the images of one set; built once, because it tokenises every class name."""

    def __init__(self, train_set: TrainSet, tokenizer: Tokenizer, window: int) -> None:
        """`window` is how many tokens the model reads. Raises PromptError for a class name that it cannot read."""
        self.labels, self.tokenizer, self.window = train_set.labels, tokenizer, window
        self._words = train_set.words
        self._all: SampledPrompt | None = None
        if self.labels:
            prompt = label_prompt(self.labels, self._words)
            chunks, read = chunk(prompt, tokenizer, window), label_token_ids(prompt, tokenizer)
            self._costs = np.array([len(ids) for ids in read]) + 1  # with the full stop that follows, or [SEP]
            self._all = SampledPrompt(chunks[0].prompt, (), chunks[0].tokens) if len(chunks) == 1 else None
            self._alike = _groups(read)

    def sample(self, item: Item, rng: Rng) -> SampledPrompt:
        """The prompt for one image; `rng` is drawn from only where not all class names fit."""
        if isinstance(item, GroundingItem):
            return sample_caption(item, self.tokenizer, self.window)
        if self._all is not None:
            return SampledPrompt(self._all.prompt, self._positive(item, np.arange(len(self.labels))), self._all.tokens)
        chosen = self._chosen(item, rng)
        prompt = label_prompt([self.labels[i] for i in chosen], self._words)
        return SampledPrompt(prompt, self._positive(item, chosen), tokenize(prompt, self.tokenizer, self.window))

    def about(self, item: DetectionItem, part: Chunk) -> SampledPrompt:
        """One text of the prompt of all class names, as evaluation asks it, whatever is in the image."""
        return SampledPrompt(part.prompt, self._positive(item, np.array(part.label_ids)), part.tokens)

    def _chosen(self, item: DetectionItem, rng: Rng) -> Ints:
        """Classes of the image first, as many as fit, then others; all of it shuffled."""
        present = np.flatnonzero(np.isin(self._alike, self._alike[item.labels]))
        absent = np.setdiff1d(np.arange(len(self.labels)), present)
        order = np.concatenate([rng.permutation(present), rng.permutation(absent)])
        fitting = 1 + np.cumsum(self._costs[order]) <= self.window  # 1: [CLS]
        return rng.permutation(order[fitting])

    def _positive(self, item: DetectionItem, prompted: Ints) -> tuple[tuple[int, ...], ...]:
        """For each box the indices in `prompted` of its class, and of those that the model reads alike."""
        alike = self._alike[prompted]
        return tuple(tuple(np.flatnonzero(alike == self._alike[label]).tolist()) for label in item.labels)


def _groups(read: Sequence[tuple[int, ...]]) -> Ints:
    """For each the number of the first that equals it."""
    first: dict[tuple[int, ...], int] = {}
    return np.array([first.setdefault(ids, i) for i, ids in enumerate(read)], np.int64)


def sample_caption(item: GroundingItem, tokenizer: Tokenizer, window: int) -> SampledPrompt:
    """The caption as typed, cut after the last token that the model reads; a label for each thing that is named.

    A caption that names no box becomes one label, of which no box is positive: all in the image is background.
    """
    text = item.caption[: tokenizer.end(item.caption, [span for spans in item.spans for span in spans], window)]
    kept = [tuple(span for span in spans if span[1] <= len(text) and tokenizer.is_read(text[slice(*span)]))
            for spans in item.spans]  # fmt: skip
    label_spans = tuple(dict.fromkeys(spans for spans in kept if spans)) or (((0, len(text)),),)
    labels = tuple(" ".join(text[begin:end] for begin, end in spans) for spans in label_spans)
    prompt = Prompt(text, labels, label_spans, is_caption=True)
    positive = tuple((label_spans.index(spans),) if spans else () for spans in kept)
    return SampledPrompt(prompt, positive, tokenize(prompt, tokenizer, window))


@dataclass(frozen=True)
class DrawnScenes:
    """The drawn scenes of `--train scenes:N`; used like a `TrainSet`.

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


AnySet = TrainSet | DrawnScenes


def parse_scenes(path: Path) -> DrawnScenes | None:
    """`scenes:N`; None for what names a file or folder. Raises OptionError where N is none."""
    found = _SPELLING.fullmatch(str(path))
    if found and int(found[1]):
        return DrawnScenes(int(found[1]))
    if str(path).startswith("scenes:") or (str(path) == "scenes" and not path.exists()):
        raise OptionError("train", path, "say how many drawn scenes an epoch has, as in scenes:1000")
    return None


def draw_sample(seed: int, number: int, tokenizer: Tokenizer, window: int) -> tuple[Scene, SampledPrompt]:
    """Scene `number` of a seed, from 0, and a prompt about it of at most `window` tokens."""
    rows = np.random.default_rng((seed, _ALIKE, number // ALIKE))
    width, height = SIZES[rows.integers(len(SIZES))]
    long = rows.random() < LONG
    rng = np.random.default_rng((seed, _SCENE, number))
    scene = draw_scene(rng, width, height, SEEN)
    if long:  # pairs that training may name, whatever is in the scene
        chosen = rng.permutation(len(SEEN))[: rng.integers(SHORTEST_LIST, len(SEEN) + 1)]
        phrases = tuple(Phrase(SEEN[i][1], SEEN[i][0]) for i in chosen)
    else:
        phrases = draw_prompt(rng, scene, SEEN)
    prompt = write_prompt(rng, phrases)
    positive = tuple(tuple(i for i, phrase in enumerate(phrases) if phrase.fits(thing)) for thing in scene.things)
    return scene, SampledPrompt(prompt, positive, tokenize(prompt, tokenizer, window))


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
