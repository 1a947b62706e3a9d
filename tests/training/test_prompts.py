"""Prompts of training, and which tokens name a box."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_cli.checkpoints import registry
from glip_cli.errors import PromptError
from glip_cli.prompts.chunking import tokenize
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.dataset import TrainSet
from glip_cli.training.sampler import PromptSampler, SampledPrompt
from glip_cli.types import Span
from tests.shared import shared
from tests.training.examples import detection_set, grounding_item, mini_tokenizer

MINI = mini_tokenizer()
WORDS = tuple("circle square triangle star ring cross heart moon".split())
IMAGE = Path("a.png")


def sampled(names: tuple[str, ...], labels: list[int], window: int = 256, seed: int = 0) -> SampledPrompt:
    train_set = detection_set(IMAGE, [[0, 0, 9, 9]] * len(labels), labels, names)
    return PromptSampler(train_set, MINI, window).sample(train_set.items[0], np.random.default_rng(seed))


def about_caption(caption: str, spans: list[list[Span]], window: int = 256) -> SampledPrompt:
    item = grounding_item(IMAGE, caption, spans)
    return PromptSampler(TrainSet("made", (), (item,)), MINI, window).sample(item, np.random.default_rng(0))


def words(prompt: SampledPrompt, row: int) -> str:
    """The word pieces that name a box, put together."""
    hit = np.flatnonzero(prompt.token_map(len(prompt.tokens.ids))[row])
    return " ".join(prompt.tokens.tokens[i] for i in hit).replace(" ##", "")


def test_names_that_fit_are_all_in_the_prompt_in_order() -> None:
    prompt = sampled(("red_circle", "star (big)", "moon"), [2, 0, 1, 0])
    assert prompt.prompt == label_prompt(["red_circle", "star (big)", "moon"])
    assert prompt.prompt.text == "red circle. star . moon"
    assert prompt.positive == ((2,), (0,), (1,), (0,))
    assert [words(prompt, row) for row in range(4)] == ["moon", "red circle", "star", "red circle"]


@pytest.mark.parametrize("window", [256, 9])
def test_classes_in_other_words_are_asked_as_the_words_alone(window: int) -> None:
    """Also where not all fit; a box is named by all that the model reads alike."""
    codes = tuple(f"class {i}" for i in range(len(WORDS)))
    plain = detection_set(IMAGE, [[0, 0, 9, 9]] * 3, [0, 2, 5], WORDS)
    asked = replace(plain, labels=codes, words=dict(zip(codes, WORDS, strict=True)))
    alone, in_words = (
        PromptSampler(one, MINI, window).sample(plain.items[0], np.random.default_rng(0)) for one in (plain, asked)
    )
    assert in_words.tokens == alone.tokens
    assert in_words.positive == alone.positive
    assert in_words.prompt.labels == tuple(codes[WORDS.index(word)] for word in alone.prompt.labels)
    same = replace(asked, words={**asked.words, "class 1": "circle"})
    assert PromptSampler(same, MINI, 256).sample(same.items[0], np.random.default_rng(0)).positive[0] == (0, 1)


def test_tokens_counted_by_hand() -> None:
    """[CLS] red circle . star . moon [SEP]."""
    prompt = sampled(("red circle", "star", "moon"), [0, 2])
    assert prompt.tokens.tokens == ("[CLS]", "red", "circle", ".", "star", ".", "moon", "[SEP]")
    assert prompt.token_map(10).astype(int).tolist() == [[0, 1, 1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]]


def test_an_image_without_boxes_has_a_prompt_too() -> None:
    prompt = sampled(("star", "moon"), [])
    assert prompt.positive == ()
    assert prompt.token_map(8).shape == (0, 8)


def test_names_that_the_model_reads_alike_all_name_the_box() -> None:
    assert sampled(("star", "moon", "Star", "star_(big)"), [2, 1]).positive == ((0, 2, 3), (1,))
    assert sampled(("裂纹", "star", "划痕"), [0, 1]).positive == ((0, 2), (1,))  # both are two times [UNK]


@given(
    labels=st.lists(st.integers(0, len(WORDS) - 1), max_size=12),
    window=st.integers(5, 18),
    seed=st.integers(0, 99),
)
def test_windows_too_small_for_all(labels: list[int], window: int, seed: int) -> None:
    """All words are one token: k labels need 2 k + 1 tokens, with [CLS] and [SEP]."""
    prompt = sampled(WORDS, labels, window, seed)
    room = (window - 1) // 2
    assert len(prompt.prompt.labels) == min(room, len(WORDS))
    assert len(set(prompt.prompt.labels)) == len(prompt.prompt.labels)
    assert len(prompt.tokens.ids) <= window
    for label, row, positive in zip(labels, prompt.token_map(window), prompt.positive, strict=True):
        assert [prompt.prompt.labels[i] for i in positive] in ([WORDS[label]], [])
        assert row.sum() == len(positive)
    if len(set(labels)) <= room:
        assert all(prompt.positive)
    else:  # as many of the positives as fit, and nothing else
        assert set(prompt.prompt.labels) < {WORDS[label] for label in labels}


def test_prompts_are_shuffled_and_drawn_each_time() -> None:
    prompts = [sampled(WORDS, [3], window=9, seed=seed).prompt.labels for seed in range(40)]
    assert {prompt.index("star") for prompt in prompts} == {0, 1, 2, 3}
    assert {label for prompt in prompts for label in prompt} == set(WORDS)
    assert prompts == [sampled(WORDS, [3], window=9, seed=seed).prompt.labels for seed in range(40)]


def lvis() -> Iterator[tuple[TrainSet, PromptSampler]]:
    tokenizer = Tokenizer.from_dir(registry.BERT)
    names = json.loads(shared("data/names/lvis_v1.json").read_text())
    rng = np.random.default_rng(1)
    for count in (0, 1, 20, 60):
        labels = rng.choice(len(names), count, replace=False).tolist()
        train_set = detection_set(IMAGE, [[0, 0, 9, 9]] * count, labels, names)
        yield train_set, PromptSampler(train_set, tokenizer, 256)


def test_lvis_names_fill_the_window_of_the_real_vocabulary() -> None:
    for train_set, sampler in lvis():
        item = train_set.items[0]
        prompt = sampler.sample(item, np.random.default_rng(5))
        assert 240 <= len(prompt.tokens.ids) <= 256
        assert prompt.prompt.text == label_prompt(prompt.prompt.labels).text
        present = {train_set.labels[i] for i in item.labels}  # type: ignore[union-attr]
        assert present <= set(prompt.prompt.labels)
        for label, row in zip(item.labels, range(len(item.labels)), strict=True):  # type: ignore[union-attr]
            own = tokenize(label_prompt([train_set.labels[label]]), sampler.tokenizer)
            name = " ".join(own.tokens[1:-1]).replace(" ##", "")
            alike = len(prompt.positive[row])  # 2 for an octopus, which LVIS has as animal and as food
            assert words(prompt, row) == " ".join([name] * alike)
        special = [i for i, token in enumerate(prompt.tokens.tokens) if token in ("[CLS]", "[SEP]")]
        assert not prompt.token_map(256)[:, special].any()


def test_captions_are_the_prompt_as_typed() -> None:
    """The same words twice are one label; a full stop that is not there is not added."""
    caption = "A Red circle, left of two moons"
    prompt = about_caption(caption, [[(0, 12)], [(22, 31)], [(0, 12)], [(2, 5), (22, 31)]])
    assert prompt.prompt.text == caption
    assert prompt.prompt.is_caption
    assert prompt.prompt.labels == ("A Red circle", "two moons", "Red two moons")
    assert prompt.positive == ((0,), (1,), (0,), (2,))
    assert [words(prompt, row) for row in range(4)] == ["a red circle", "two moons", "a red circle", "red two moons"]


def test_captions_without_boxes_have_no_positive_token() -> None:
    prompt = about_caption("two moons", [])
    assert prompt.positive == ()
    assert prompt.prompt.text == "two moons"


def test_captions_longer_than_the_window() -> None:
    """Eight tokens are read: [CLS], six words, [SEP]; what is named past them is background."""
    prompt = about_caption(
        "red star and a red moon and a red star", [[(0, 8)], [(15, 23)], [(30, 38)], [(0, 3), (34, 38)]], window=8
    )
    assert prompt.tokens.tokens == ("[CLS]", "red", "star", "and", "a", "red", "moon", "[SEP]")
    assert [words(prompt, row) for row in range(4)] == ["red star", "red moon", "", "red"]
    assert prompt.positive[2] == ()


def test_the_first_word_past_the_window_is_not_read() -> None:
    prompt = about_caption("red star and a red moon star", [[(15, 23)], [(24, 28)]], window=8)
    assert prompt.prompt.text == "red star and a red moon"
    assert [words(prompt, row) for row in range(2)] == ["red moon", ""]


def test_names_that_cannot_be_read() -> None:
    with pytest.raises(PromptError, match="alone has"):
        sampled(("star " * 300, "moon"), [0])
    with pytest.raises(PromptError, match="no character that the model reads"):
        sampled(("\u200b", "moon"), [0])
