"""Labels as glip-nano reads them: names, then word pieces, up to a full stop; notes; definitions are refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_cli.errors import PromptError, UsageError
from glip_cli.prompts import concepts
from glip_cli.prompts.chunking import chunk, explain, label_ids, label_token_ids, tokenize, vocabulary_notes
from glip_cli.prompts.concepts import NOTHING, ConceptTokenizer
from glip_cli.prompts.definitions import knowledge_chunks
from glip_cli.prompts.prompt import caption_prompt, label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.types import Prompt

LIMIT = 1024
TOKENIZER = Tokenizer.from_dir(Path(concepts.__file__).parents[1] / "assets" / "glip-nano")
LABELS = st.lists(st.text(min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=20)


def texts(prompt: Prompt) -> list[str]:
    """The text of each segment, without [CLS] and [SEP]."""
    return " ".join(tokenize(prompt, TOKENIZER, LIMIT).tokens[1:-1]).split(" . ")


def test_a_folder_with_a_lexicon_has_a_tokenizer_of_concepts() -> None:
    assert isinstance(TOKENIZER, ConceptTokenizer)
    assert (TOKENIZER.unknown_id, TOKENIZER.vocabulary_size, TOKENIZER.window) == (30522, 30603, LIMIT)


def test_a_label_is_its_names_and_its_word_pieces() -> None:
    prompt = label_prompt(["Automobiles", "fruit", "stethoscope", "."])
    read = tokenize(prompt, TOKENIZER, LIMIT)
    assert texts(prompt) == [
        "car automobiles",
        "banana apple orange fruit",
        f"{NOTHING} ste ##th ##os ##cope",
        NOTHING,
    ]
    assert label_ids(prompt, TOKENIZER) == {
        "Automobiles": (30525,),
        "fruit": (30569, 30570, 30572),
        "stethoscope": (30522,),
        ".": (30522,),
    }
    assert (read.ids[0], read.ids[-1]) == (101, 102)


def test_full_stops_of_a_label_do_not_end_it() -> None:
    assert texts(label_prompt(["U.S. car"])) == ["car u s car"]


def test_only_the_named_parts_of_a_caption_are_read() -> None:
    prompt = caption_prompt(
        "two cats and a remote near another cat", phrases=["remote", "cat", "cats", "a remote near"]
    )
    assert texts(prompt) == ["remote remote", "cat cat", "cat cats", "remote a remote near"]


@given(LABELS)
def test_every_label_has_tokens_in_a_segment_of_its_own(labels: list[str]) -> None:
    prompt = label_prompt(labels)
    read = tokenize(prompt, TOKENIZER, LIMIT)
    stops = [0, *(place for place, token in enumerate(read.tokens) if token == "."), len(read.tokens)]
    assert len(stops) == len(labels) + 1
    for (begin, end), places in zip(pairwise(stops), read.label_tokens, strict=True):
        assert places
        assert begin < places[0] <= places[-1] < end
    assert all(read.ids[place] >= TOKENIZER.unknown_id for places in read.label_tokens for place in places)
    assert sum(index >= TOKENIZER.unknown_id for index in read.ids) == sum(map(len, read.label_tokens))


@given(LABELS, st.integers(70, 200))
def test_chunks_say_the_same_as_one_text(labels: list[str], limit: int) -> None:
    prompt = label_prompt(labels)
    parts = chunk(prompt, TOKENIZER, limit)
    assert [number for part in parts for number in part.label_ids] == list(range(len(labels)))
    assert all(len(part.tokens.ids) <= limit for part in parts)
    assert [ids for part in parts for ids in label_token_ids(part.prompt, TOKENIZER)] == label_token_ids(
        prompt, TOKENIZER
    )
    assert [row.label for row in explain(parts)] == labels


def test_training_can_tell_labels_of_the_same_names_apart() -> None:
    assert label_token_ids(label_prompt(["couch", "sofa", "tuba"]), TOKENIZER) == [
        (30580, 6411),
        (30580, 10682),
        (30522, 29242),
    ]


def test_the_80_names_fit_one_text() -> None:
    (only,) = chunk(label_prompt(TOKENIZER.lexicon.names), TOKENIZER, LIMIT)
    assert [only.tokens.ids[place] for (place,) in only.tokens.label_tokens] == list(range(30523, 30603))


def test_explain_shows_what_a_label_was_taken_for() -> None:
    rows = explain(chunk(label_prompt(["two red cars", "trombone"]), TOKENIZER, LIMIT))
    assert [[word for _, word in row.tokens] for row in rows] == [["car"], [NOTHING]]


def test_a_caption_ends_where_its_parts_fill_the_window() -> None:
    text = "a cat, a dog"
    spans = [(2, 5), (9, 12)]
    assert TOKENIZER.end(text, spans, 7) == len(text)
    assert 5 <= TOKENIZER.end(text, spans, 6) < 12
    with pytest.raises(PromptError, match="stands past the 5 tokens"):
        tokenize(caption_prompt(text, parts=spans), TOKENIZER, 5)


@pytest.mark.parametrize(
    ("labels", "notes"),
    [
        (["cat", "automobile"], []),
        (["trombone", "stethoscope"], ["glip-nano does not know 'trombone', 'stethoscope'"]),
        (
            ["donkey", "tuba", "microscope"],
            ["glip-nano does not know 'donkey', 'tuba', 'microscope'; the nearest that it knows: 'horse' to 'donkey'"],
        ),
        (
            ["red car", "the dogs", "photo of a cat"],
            ["glip-nano reads no more of 'red car', 'photo of a cat' than 'car', 'cat'"],
        ),
        (["couch", "sofa"], ["the model cannot tell these labels apart: 'couch', 'sofa'"]),
    ],
)
def test_notes(labels: list[str], notes: list[str]) -> None:
    assert list(vocabulary_notes(label_prompt(labels), TOKENIZER)) == notes


def test_labels_that_a_model_was_tuned_for_have_no_notes() -> None:
    prompt = label_prompt(["tuba", "couch", "sofa", "harp"])
    assert vocabulary_notes(prompt, TOKENIZER, ["tuba", "sofa"]) == ("glip-nano does not know 'harp'",)


def test_definitions_are_refused() -> None:
    with pytest.raises(UsageError, match="--knowledge: this model knows words"):
        knowledge_chunks(label_prompt(["cat"]), {"cat": "a small animal"}, TOKENIZER)
