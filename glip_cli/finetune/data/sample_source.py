"""An image, its boxes and what is asked about it: from a file, or drawn."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from glip_cli.data.image_io import read_image
from glip_cli.finetune.data.prompts import PromptSampler, SampledPrompt
from glip_cli.finetune.data.sets import FloatBoxes, TrainSet
from glip_cli.finetune.data.synthetic import DrawnScenes, draw_sample
from glip_cli.prompts.tokenizer import Tokenizer


class ShownSample(NamedTuple):
    """
    Attributes:
        image: upright RGB.
        boxes: float32 [M, 4] in its pixels, x2 and y2 one past the last.
        name: for messages.
    """

    image: Image.Image
    boxes: FloatBoxes
    asked: SampledPrompt
    name: str


class SampleSource(Protocol):
    """What a stream takes its images from."""

    def show(self, item: int, place: int, rng: np.random.Generator) -> ShownSample:
        """Image `item` of the set, or what is drawn for a place in the stream. Raises ImageError."""
        ...


def sample_source(one: TrainSet | DrawnScenes, tokenizer: Tokenizer, window: int, seed: int) -> SampleSource:
    """Raises PromptError for a class name that `tokenizer` cannot read in `window` tokens."""
    return (
        SyntheticSamples(tokenizer, window, seed)
        if isinstance(one, DrawnScenes)
        else ImageSamples(one, tokenizer, window)
    )


class ImageSamples:
    """Of files."""

    def __init__(self, train_set: TrainSet, tokenizer: Tokenizer, window: int) -> None:
        self._items, self._asker = train_set.items, PromptSampler(train_set, tokenizer, window)

    def show(self, item: int, place: int, rng: np.random.Generator) -> ShownSample:
        chosen = self._items[item]
        asked = self._asker.ask(chosen, rng)
        return ShownSample(read_image(chosen.image), chosen.boxes, asked, str(chosen.image))


class SyntheticSamples:
    """Draws scenes: another one for each place, so none is seen twice."""

    def __init__(self, tokenizer: Tokenizer, window: int, seed: int) -> None:
        self._tokenizer, self._window, self._seed = tokenizer, window, seed

    def show(self, item: int, place: int, rng: np.random.Generator) -> ShownSample:
        sample = draw_sample(self._seed, place, self._tokenizer, self._window)
        return ShownSample(sample.scene.image, sample.boxes, sample.asked, f"drawn scene {place} of seed {self._seed}")
