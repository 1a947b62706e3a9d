"""Whatever is asked for, every label has its tokens, in some text, or the prompt is refused in one line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.checkpoints.registry import PACKAGE
from glip_cli.errors import PromptError
from glip_cli.prompts.chunking import chunk, explain
from glip_cli.prompts.labels import parse_texts
from glip_cli.prompts.prompt import caption_prompt, label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.types import Prompt

LIMIT = 32
PIECES = ["cat", "St. Bernard", "red_square (small)", "((", "))", "a.b", ". ", ".", ",", "[SEP]", "[MASK] x", "##ed",
          "é", "图", "가", "ß", "ﬁ", "İ", "👩‍👧", "\u200b", "\ufeff", "\x00", "\x7f", "\t", "\n", "\u2028",
          "e\u0301\u0302", "٣", "x" * 120, "supercalifragilistic " * 3, "@", "$: coco",
          "\U000e0001", "ａ", "Ⅷ", "\u202e"]  # fmt: skip

TOKENIZER = Tokenizer.from_dir(PACKAGE / "assets" / "glip-mini")

labels = st.lists(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=6), min_size=1, max_size=4).map("".join), max_size=12
)


def check(prompt: Prompt, size: int | None) -> None:
    """Each label in one chunk, with tokens there, all inside the text and none of them [CLS] or [SEP]."""
    parts = chunk(prompt, TOKENIZER, limit=LIMIT, size=size)
    assert [i for part in parts for i in part.label_ids] == list(range(len(prompt.labels)))
    for part in parts:
        assert len(part.tokens.ids) <= LIMIT
        assert len(part.tokens.label_tokens) == len(part.label_ids)
        for places in part.tokens.label_tokens:
            assert places
            assert list(places) == sorted(set(places))
            assert 0 < places[0] <= places[-1] < len(part.tokens.ids) - 1
    rows = explain(parts)
    assert [row.label for row in rows] == list(prompt.labels)
    assert all(row.tokens for row in rows)


def refused(error: PromptError) -> None:
    assert str(error)
    assert "\n" not in str(error)


@given(labels, st.none() | st.integers(1, 5))
@settings(max_examples=150, derandomize=True)
def test_labels(typed: list[str], size: int | None) -> None:
    try:
        check(label_prompt(typed), size)
    except PromptError as error:
        refused(error)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=3))
@settings(max_examples=100, derandomize=True)
def test_texts(typed: list[str]) -> None:
    """As `--texts` takes them."""
    try:
        check(label_prompt(parse_texts(typed)), None)
    except PromptError as error:
        refused(error)


@given(labels.map(" ".join), st.data())
@settings(max_examples=150, derandomize=True)
def test_spans_of_a_caption(caption: str, data: st.DataObject) -> None:
    span = st.tuples(st.integers(-1, len(caption) + 1), st.integers(-1, len(caption) + 1))
    spans = data.draw(st.lists(st.lists(span, max_size=3), max_size=4))
    try:
        prompt = caption_prompt(caption, spans=spans)
        check(prompt, None)
    except PromptError as error:
        refused(error)
        return
    assert prompt.labels == tuple(" ".join(caption[begin:end] for begin, end in one) for one in spans)


@given(labels.map(" ".join), st.data())
@settings(max_examples=100, derandomize=True)
def test_phrases_of_a_caption(caption: str, data: st.DataObject) -> None:
    words = caption.split()
    phrases = data.draw(st.lists(st.sampled_from([*words, "cat", " "]), min_size=1, max_size=3))
    try:
        prompt = caption_prompt(caption, phrases=phrases)
        check(prompt, None)
    except PromptError as error:
        refused(error)
        return
    assert prompt.labels == tuple(phrases)


def test_what_is_checked_can_fail() -> None:
    with pytest.raises(PromptError, match="past the 32 tokens"):
        check(caption_prompt("word " * 40 + "cat", phrases=["cat"]), None)
