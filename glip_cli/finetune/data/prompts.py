"""What the model is asked about an image in training, and which words of it name each box.

    classes that fit the window    all of them, in the order of their ids: the prompt of detection, always the same
    more classes than fit          those in the image, then others at random until the window is full; shuffled
    captions                       as typed

After microsoft/GLIP, data/datasets/od_to_grounding.py; there the number of others is random too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glip_cli.finetune.data.sets import DetectionItem, GroundingItem, Item, TrainSet
from glip_cli.prompts.chunking import Tokens, chunk, label_token_ids, tokenize
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.types import Prompt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampledPrompt:
    """A prompt about one image.

    Attributes:
        prompt: the text and its labels.
        positive: for each box of the image the labels of `prompt` that name it, ascending; none for a box whose
            name did not fit the window.
        tokens: the text as the model reads it; `tokens.label_tokens[i]` are the places of label i.
    """

    prompt: Prompt
    positive: tuple[tuple[int, ...], ...]
    tokens: Tokens

    def token_map(self, length: int) -> npt.NDArray[np.bool_]:
        """Bool [boxes, length]: the tokens that name each box; never [CLS], [SEP] or what stands between labels."""
        rows = np.zeros((len(self.positive), length), bool)
        for row, labels in zip(rows, self.positive, strict=True):
            row[[place for label in labels for place in self.tokens.label_tokens[label]]] = True
        return rows


class PromptSampler:
    """Asks about the images of one set; built once, because it tokenises every class name."""

    def __init__(self, train_set: TrainSet, tokenizer: Tokenizer, window: int) -> None:
        """`window` is how many tokens the model reads. Raises PromptError for a class name that it cannot read."""
        self.labels, self.tokenizer, self.window = train_set.labels, tokenizer, window
        self._all: SampledPrompt | None = None
        if self.labels:
            chunks = chunk(label_prompt(self.labels), tokenizer, window)
            read = label_token_ids(label_prompt(self.labels), tokenizer)
            self._costs = np.array([len(ids) for ids in read]) + 1  # with the full stop that follows, or [SEP]
            self._all = SampledPrompt(chunks[0].prompt, (), chunks[0].tokens) if len(chunks) == 1 else None
            self._alike = _groups(read)

    def ask(self, item: Item, rng: np.random.Generator) -> SampledPrompt:
        """The prompt for one image; `rng` is drawn from only where not all class names fit."""
        if isinstance(item, GroundingItem):
            return sample_caption(item, self.tokenizer, self.window)
        if self._all is not None:
            return SampledPrompt(self._all.prompt, self._positive(item, np.arange(len(self.labels))), self._all.tokens)
        chosen = self._chosen(item, rng)
        prompt = label_prompt([self.labels[i] for i in chosen])
        return SampledPrompt(prompt, self._positive(item, chosen), tokenize(prompt, self.tokenizer, self.window))

    def _chosen(self, item: DetectionItem, rng: np.random.Generator) -> Ints:
        """Classes of the image first, as many as fit, then others; all of it shuffled."""
        present = np.flatnonzero(np.isin(self._alike, self._alike[item.labels]))
        absent = np.setdiff1d(np.arange(len(self.labels)), present)
        order = np.concatenate([rng.permutation(present), rng.permutation(absent)])
        fitting = 1 + np.cumsum(self._costs[order]) <= self.window  # 1: [CLS]
        return rng.permutation(order[fitting])

    def _positive(self, item: DetectionItem, asked: Ints) -> tuple[tuple[int, ...], ...]:
        """For each box the places in `asked` of its class, and of those that the model reads alike."""
        alike = self._alike[asked]
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
    places = tuple(dict.fromkeys(spans for spans in kept if spans)) or (((0, len(text)),),)
    labels = tuple(" ".join(text[begin:end] for begin, end in spans) for spans in places)
    prompt = Prompt(text, labels, places, is_caption=True)
    positive = tuple((places.index(spans),) if spans else () for spans in kept)
    return SampledPrompt(prompt, positive, tokenize(prompt, tokenizer, window))
