"""Captions to noun phrases: positions first, then what a person expects, then goldens and the official road itself.

The goldens hold the tags that nltk gave, so most of this needs no data; what runs the real tagger looks for it among
the reference material.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import nltk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer, load_punkt_params

from glip_cli.checkpoints.tagger import load_tagger
from glip_cli.errors import PromptError
from glip_cli.prompts.noun_phrases import noun_phrases, split_words
from tests.shared import GOLDEN, shared

CASES = json.loads((GOLDEN / "noun-phrases.json").read_text(encoding="utf-8"))["cases"]
DELETED = str.maketrans("", "", "|:;@()[]{}^'\"’`?$%#!&*+,.")
"""microsoft/GLIP's remove_punctuation (engine/predictor_glip.py:461-484)."""

odd_texts = st.one_of(
    st.text(max_size=30),
    st.text(st.sampled_from("ab'\"`.,:;!?()[]<> \t\n-–—…’“”«»‘„@#$%&*s tdm1İẞ\u00a0\u2028\x1c\x85"), max_size=25),
    st.lists(st.sampled_from(["cannot", "'tis", "``", "''", '"', "...", "--", "gonna ", "d'ye", "n't", "'s ", "U.S.",
                              "end. ", " "]), max_size=7).map("".join),
)  # fmt: skip


class Told:
    """Tags as they are told: one for every word, or one each."""

    def __init__(self, *tags: str):
        self.tags = tags

    def tag(self, tokens: Sequence[str]) -> list[tuple[str, str]]:
        tags = self.tags * len(tokens) if len(self.tags) == 1 else self.tags
        return list(zip(tokens, tags, strict=True))


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The real tagger, from the reference material."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLTK_DATA", str(shared("nltk_data")))
        return load_tagger(cache_dir=tmp_path_factory.mktemp("cache"), offline=True)


def words(caption: str, tagger: Any) -> list[str]:
    return [caption[begin:end] for begin, end in noun_phrases(caption, tagger)]


# ----------------------------------------------------------------------------------------------------- positions


@given(odd_texts)
def test_words_stand_where_they_are_said_to_stand(text: str) -> None:
    at = 0
    for word in split_words(text):
        begin, end = word.span
        assert not text[at:begin].strip(), "something is lost between two words"
        assert begin < end
        here = "".join(char.lower()[0] for char in text[begin:end])
        assert here == word.text or (here in ('"', "''") and word.text in ("``", "''"))
        at = end
    assert not text[at:].strip()


@given(odd_texts)
def test_phrases_are_apart_in_order_and_bare(text: str) -> None:
    spans = noun_phrases(text, Told("NN"))
    assert all(end <= following for (_, end), (following, _) in pairwise(spans))
    for begin, end in spans:
        assert text[begin:end].strip(" ,;:!?\"'()[]") == text[begin:end] != ""
    inside = "".join(text[begin:end] for begin, end in spans)
    assert sorted(filter(str.isalnum, inside)) == sorted(filter(str.isalnum, text)), "a letter is in no phrase"


@pytest.mark.parametrize(
    ("tags", "phrases"),
    [
        ("DT JJ NN IN DT NN", ["a b c", "e f"]),
        ("DT DT JJS JJR NNS NNPS", ["b c d e f"]),
        ("JJ DT NN JJ JJ VB", ["b c"]),
        ("NN DT JJ NN NNP CC", ["a", "b c d e"]),
        ("NN NN JJ NN PDT NN", ["a b", "c d", "f"]),
        ("DT JJ VB IN EX CD", []),
    ],
)
def test_the_grammar(tags: str, phrases: list[str]) -> None:
    """`NP: {<DT>?<JJ.*>*<NN.*>+}`: the left-most and longest."""
    assert words("a b c d e f", Told(*tags.split())) == phrases


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ('the "cat", (dog)!', ["the", "cat", "dog"]),
        ("cat / dog & bird", ["cat", "dog", "bird"]),
        ("50% wool", ["50", "wool"]),
        ("main St. U.S. (end).", ["main St. U.S.", "end"]),
        ("c++ book. c++", ["c++ book", "c++"]),
        ("İ CAT. İ", ["İ CAT", "İ"]),
        ("“cat” ‘dog’", ["cat", "dog"]),
        ("cat 😀 dog", ["cat", "dog"]),
        ("''cat'' ``dog``", ["cat", "dog"]),
        ("?!", []),
        ("", []),
    ],
)
def test_punctuation_is_outside(caption: str, phrases: list[str]) -> None:
    assert words(caption, Told("NN")) == phrases


@pytest.mark.parametrize("caption", ["\ud800", 3])
def test_a_caption_is_text(caption: Any) -> None:
    with pytest.raises(PromptError, match="the caption"):
        noun_phrases(caption, Told("NN"))


def test_nltk_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its newer versions give each pattern 5 seconds; a caption of 100,000 characters may need more."""
    redos = pytest.importorskip("nltk.redos")
    monkeypatch.setattr(redos, "DEFAULT_TIMEOUT", 1e-9)
    with pytest.raises(PromptError, match="a caption of 40000 characters takes too long"):
        split_words("a . " * 10_000)


# ------------------------------------------------------------------------------------------------------- goldens


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_phrases_are_the_references(case: dict[str, Any]) -> None:
    pairs = [pair.split(" ") for pair in case["pos_tags"]]
    assert [word.text for word in split_words(case["input"])] == [word for word, _ in pairs]
    found = words(case["input"], Told(*(tag for _, tag in pairs)))
    assert [" ".join(phrase.lower().split()) for phrase in found] == case["noun_phrases"]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_tags_are_the_references(case: dict[str, Any], tagger: Any) -> None:
    tagged = tagger.tag([word.text for word in split_words(case["input"])])
    assert [" ".join(pair) for pair in tagged] == case["pos_tags"]


# ---------------------------------------------------------------------------------------------- the real tagger


def test_a_cat_is_a_phrase_and_two_cat_is_not(tagger: Any) -> None:
    """The walk-through in shared/seeds/article-walkthrough-zh.md: "two" is no adjective, so "cat" alone is found."""
    shared("seeds/article-walkthrough-zh.md")
    assert words("There is a cat and a remote in the image", tagger) == ["a cat", "a remote", "the image"]
    assert words("There is two cat and a remote in the image", tagger) == ["cat", "a remote", "the image"]


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("two cats and a remote on a couch", ["cats", "a remote", "a couch"]),
        ("Cat, another CAT, and the Cat behind the sofa", ["Cat", "another CAT", "the Cat", "the sofa"]),
        ("The hot dog and the dog", ["The hot dog", "the dog"]),
        ("An old photo of St. Mark's Basilica in Venice, Italy",
         ["An old photo", "St. Mark", "Basilica", "Venice", "Italy"]),
        ("a c++ book (used), next to a (red) car", ["a c++ book", "car"]),
        ("A dog is here.  The\nbird is not", ["A dog", "The\nbird"]),
        ("playing loudly", []),
    ],
)  # fmt: skip
def test_phrases_come_as_typed(caption: str, phrases: list[str], tagger: Any) -> None:
    assert words(caption, tagger) == phrases


def official(caption: str, tagger: Any, sentences: PunktSentenceTokenizer) -> list[str]:
    """run_ner and remove_punctuation of microsoft/GLIP, by nltk's own functions and data."""
    lower = caption.lower()
    tokens = [token for part in sentences.tokenize(lower) for token in NLTKWordTokenizer().tokenize(part)]
    tree = nltk.RegexpParser("NP: {<DT>?<JJ.*>*<NN.*>+}").parse(tagger.tag(tokens))
    phrases = [" ".join(word for word, _ in node.leaves()) for node in tree.subtrees() if node.label() == "NP"]
    bare = (phrase.translate(DELETED).strip() for phrase in phrases)
    return [" ".join(phrase.split()) for phrase in bare if phrase]


@pytest.fixture(scope="module")
def sentences() -> PunktSentenceTokenizer:
    folder = nltk.data.FileSystemPathPointer(str(shared("nltk_data/tokenizers/punkt_tab/english")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nltk.data, "path", [str(shared("nltk_data"))])
        return PunktSentenceTokenizer(load_punkt_params(folder))


vocabulary = st.sampled_from(
    "a the another some There is are in on with behind and of two 10 red small wooden parked sleeping cat cats dog Dog "
    "remote couch man woman's hot-dog traffic light stop sign T-shirt U.S. St. Mark's cannot don't 24/7 quickly one's "
    'it they (old) "open" café , , . . . ! ? : ; -- ...'.split()
)


@given(st.lists(vocabulary, max_size=14).map(" ".join))
def test_phrases_agree_with_the_official_road(tagger: Any, sentences: PunktSentenceTokenizer, caption: str) -> None:
    ours = [" ".join(phrase.lower().translate(DELETED).split()) for phrase in words(caption, tagger)]
    assert ours == official(caption, tagger, sentences)


def test_sentences_of_flickr30k_agree_with_the_official_road(tagger: Any, sentences: PunktSentenceTokenizer) -> None:
    files = sorted(Path(shared("data/eval/flickr30k/Sentences")).glob("*.txt"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    captions = [" ".join(word for word in line.replace("]", "").split() if not word.startswith("[/")) for line in lines]
    assert len(captions) > 10
    for caption in captions:
        ours = [" ".join(phrase.lower().translate(DELETED).split()) for phrase in words(caption, tagger)]
        assert ours == official(caption, tagger, sentences)
