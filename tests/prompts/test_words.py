"""Classes that are asked for in other words: what is typed, what the model reads, what every output says."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.checkpoints import registry
from glip_cli.errors import PromptError, UsageError
from glip_cli.options import PromptRequest
from glip_cli.prompts.chunking import chunk, explain, vocabulary_notes
from glip_cli.prompts.labels import NAMED_LISTS, class_and_words, parse_negatives, parse_texts, sentence_of
from glip_cli.prompts.prompt import display_text, label_prompt, texts_prompt, typed_labels, with_negatives
from glip_cli.prompts.request import read_request
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import check_words, read_words

TYPED = st.text(st.sampled_from("abcxyz 0=.,()_éß猫"), min_size=1, max_size=12).filter(str.strip)
PAIRS = st.dictionaries(TYPED, TYPED, min_size=1, max_size=8)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_dir(registry.BERT)


def no_tagger() -> NoReturn:
    raise AssertionError("labels need no tagger")


# ------------------------------------------------------------------------------------------------------- what is typed


@pytest.mark.parametrize(
    ("typed", "label", "words"),
    [
        ("shipping container = container", "container", "shipping container"),
        ("  shipping container  =  container ", "container", "shipping container"),
        ("a=b", "a=b", "a=b"),
        ("a= b", "a= b", "a= b"),
        ("a == b", "a == b", "a == b"),
        ("= b", "= b", "= b"),
        ("a = ", "a = ", "a = "),
        ("sign (1 = 2)", "sign (1 = 2)", "sign (1 = 2)"),
        ("sign (1 = 2) = sum", "sum", "sign (1 = 2)"),
        ("a=b = c", "c", "a=b"),
        ("箱子 = container", "container", "箱子"),
    ],
)
def test_blanks_around_the_sign_give_a_class_its_words(typed: str, label: str, words: str) -> None:
    assert class_and_words(typed) == (label, words)


def test_several_signs_are_refused() -> None:
    with pytest.raises(PromptError, match=r"'a = b = c' has 2 \" = \"; write words = class, or -c"):
        texts_prompt(["a = b = c"])
    with pytest.raises(PromptError, match=r"'a = b = c' has 2 \" = \"; write words = class, or the words alone"):
        parse_negatives(["a = b = c"])


def test_a_file_of_words_has_a_way_for_a_class_with_the_sign(tmp_path: Path) -> None:
    """`glip eval` and `glip finetune` have no -c."""
    path = tmp_path / "words.txt"
    path.write_text("box = SKU = 0\n")
    with pytest.raises(PromptError) as caught:
        read_words(path)
    assert str(caught.value) == (
        '\'box = SKU = 0\' has 2 " = "; write words = class, or {"class": "words"} into a .json file, where a class '
        "may hold the sign"
    )
    (tmp_path / "words.json").write_text('{"SKU = 0": "box"}')
    assert read_words(tmp_path / "words.json") == {"SKU = 0": "box"}


@pytest.mark.parametrize(
    "texts",
    [
        ["shipping container = container . dog ."],
        ["shipping container = container, dog"],
        ["shipping container = container", "dog"],
    ],
)
def test_in_every_form_of_a_list(texts: list[str]) -> None:
    prompt = texts_prompt(texts)
    assert prompt.labels == ("container", "dog")
    assert prompt.text == "shipping container. dog"
    assert prompt == label_prompt({"container": "shipping container", "dog": "dog"})


def test_a_file_of_labels(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("# our classes\nred, shiny ball = ball\n\ndog\na=b\n")
    prompt = texts_prompt([f"@{file}"])
    assert prompt.labels == ("ball", "dog", "a=b")
    assert prompt.words == ("red, shiny ball", "dog", "a=b")
    assert read_words(file) == {"ball": "red, shiny ball", "dog": "dog", "a=b": "a=b"}


def test_the_lists_of_the_package_have_no_such_sign() -> None:
    for name in NAMED_LISTS:
        labels = parse_texts([f"$: {name}"])
        assert all(class_and_words(label) == (label, label) for label in labels)


def test_an_article_before_the_sign_makes_no_sentence() -> None:
    assert sentence_of(["a box on a ship"])
    assert sentence_of(["a box on a ship = container"]) is None


def test_how_it_was_read_is_said_and_a_flag_leaves_labels_as_they_stand() -> None:
    read = read_request(PromptRequest(["big box = box . dog ."]), no_tagger)
    assert read.summary == "labels: 'big box = box', 'dog' (words = class)"
    exact = read_request(PromptRequest(["big box = box . dog ."], custom_entities=True), no_tagger)
    assert exact.summary == "labels: 'big box = box', 'dog'"
    assert exact.prompt.labels == exact.prompt.words == ("big box = box", "dog")
    assert label_prompt(["big box = box"]).labels == ("big box = box",)


def test_negatives_are_words_alone() -> None:
    assert parse_negatives(["big box = box, dog"]) == ("big box", "dog")


# -------------------------------------------------------------------------------------------------- what comes of them


@settings(max_examples=200)
@given(PAIRS, st.lists(TYPED, max_size=3), st.sampled_from([None, 1, 3]))
def test_the_model_reads_what_the_words_alone_would_give(
    tokenizer: Tokenizer, pairs: dict[str, str], negatives: list[str], size: int | None
) -> None:
    """Also beside negatives, some of which may be called as a class is."""
    negatives = [*negatives, next(iter(pairs))]
    asked, alone = label_prompt(pairs), label_prompt(list(pairs.values()))
    assert asked.labels == tuple(pairs)
    assert (asked.text, asked.spans, asked.words) == (alone.text, alone.spans, alone.words)
    assert display_text(asked) == display_text(alone)
    try:
        expected = chunk(with_negatives(alone, negatives), tokenizer, size=size)
    except PromptError:
        return  # a label of which nothing is read
    chunks = chunk(with_negatives(asked, negatives), tokenizer, size=size)
    assert [part.tokens for part in chunks] == [part.tokens for part in expected]
    assert [part.label_ids for part in chunks] == [part.label_ids for part in expected]
    rows = explain(chunks)
    assert [row.label for row in rows] == [*pairs, *negatives]
    assert [row.words for row in rows] == [*pairs.values(), *negatives]


@given(st.lists(TYPED, min_size=1, max_size=8, unique=True))
def test_a_class_in_its_own_words_is_a_label(labels: list[str]) -> None:
    assert label_prompt({label: label for label in labels}) == label_prompt(labels)
    assert typed_labels(label_prompt(labels)) == tuple(labels)


def test_spans_stand_in_the_text_that_is_shown() -> None:
    text, spans = display_text(texts_prompt(["big (old) box = box . dog ."]))
    assert text == "big (old) box . dog ."
    assert [text[begin:end] for begin, end in spans] == ["big (old) box", "dog"]


def test_two_classes_of_the_same_words_cannot_be_told_apart(tokenizer: Tokenizer) -> None:
    prompt = label_prompt({"car": "vehicle", "truck": "Vehicle", "dog": "dog"})
    note = "the model cannot tell these labels apart: 'vehicle = car', 'Vehicle = truck'"
    assert vocabulary_notes(prompt, tokenizer) == (note,)


def test_one_class_has_one_wording() -> None:
    with pytest.raises(PromptError, match="class 'vehicle' is given twice, as 'car' and 'truck'; give each class once"):
        texts_prompt(["car = vehicle . truck = vehicle ."])
    twice = texts_prompt(["car = vehicle . car = vehicle ."])
    assert twice.notes == ("label 'vehicle' is given 2 times; each keeps an id of its own",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"box": ["big box", "crate"]}, "what to read for label 'box' is not a text but list"),
        ({"box": None}, "what to read for label 'box' is not a text but NoneType"),
        ({"box": " "}, "what to read for label 'box' is blank; write words, or leave them out"),
        ({" ": "box"}, "label 1 of 1 is blank"),
        ({}, "no label; give at least one"),
    ],
)
def test_words_that_are_none_are_refused_in_one_line(words: dict, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        label_prompt(words)


# ---------------------------------------------------------------------------------------------------- files of --words


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.json", '{"container": "shipping container", "dog": "small dog"}'),
        ("w.toml", 'container = "shipping container"\ndog = "small dog"\n'),
        ("w.txt", "shipping container = container\nsmall dog = dog\n"),
    ],
)
def test_files_of_words(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_words(tmp_path / name) == {"container": "shipping container", "dog": "small dog"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.json", "{", "neither JSON nor TOML"),
        ("w.json", "[]", "must be an object of classes and their words"),
        ("w.json", "{}", "has no class; write"),
        ("w.json", '{"box": ["a", "b"]}', "the words of 'box' is not a text but list"),
        ("w.toml", 'box = " "', "the words of 'box' are blank"),
        ("w.txt", "big box = box\nold box = box\n", "class 'box' is given twice"),
        ("w.json", None, "cannot be read"),
        ("w.txt", None, "cannot read labels from"),
    ],
)
def test_files_that_hold_no_words_are_refused_in_one_line(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError) as caught:
        read_words(tmp_path / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_of_an_unknown_class() -> None:
    check_words({"box": "big box"}, ("box", "dog"))
    with pytest.raises(UsageError, match="--words: there is no class 'bx'; the classes are 'box', 'dog'"):
        check_words({"bx": "big box"}, ("box", "dog"))
