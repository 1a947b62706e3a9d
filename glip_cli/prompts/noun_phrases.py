"""A caption -> its noun phrases, each as characters [begin, end) of the caption as it was typed.

Words, tags and grammar are those of microsoft/GLIP (engine/predictor_glip.py:107-127): nltk's word tokenizer and its
averaged perceptron on the lower-case text, then `NP: {<DT>?<JJ.*>*<NN.*>+}`. The reference joins the words of a
phrase, deletes punctuation and looks for the rest with a regular expression; here every word keeps its place, so
nothing has to be looked for.

On purpose different from the reference:

- sentences end by nltk's Punkt with our abbreviations, not with trained data, which would be one more download;
- a sign without a letter or digit belongs to no phrase: "cat / dog" are two;
- a full stop stays with an abbreviation: "the U.S.", "Main St."; "c++" stays whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

from glip_cli.errors import PromptError
from glip_cli.prompts.labels import ABBREVIATIONS, check_text
from glip_cli.types import Span
from glip_cli.utils.text_format import quoted

_OUTER = "|:;@()[]{}<>^'\"‘’“”`?$%#!&*, "  # what the reference deletes, less "+", and the quotes of a typist
_NOUN_PHRASE = re.compile("D?J*N+")
_LETTER_OF_TAG = {"DT": "D", "JJ": "J", "JJR": "J", "JJS": "J", "NN": "N", "NNS": "N", "NNP": "N", "NNPS": "N"}


class Tagger(Protocol):
    """The interface of nltk's taggers: (word, Penn Treebank tag) for each word."""

    def tag(self, tokens: Sequence[str], /) -> Sequence[tuple[str, str]]: ...


class Word(NamedTuple):
    """A word as the tagger reads it (lower-case, quotes as `` and ''), and where it stands in the caption."""

    text: str
    span: Span


def noun_phrases(caption: str, tagger: Tagger) -> tuple[Span, ...]:
    """The noun phrases of `caption`, in reading order, none inside another; () where there is none.

    A phrase that occurs twice is there twice. Punctuation around a phrase is no part of it. Raises PromptError for a
    caption that is no text.
    """
    words = split_words(caption)
    tagged = tagger.tag([word.text for word in words])
    letters = "".join(_letter(word, tag) for word, (_, tag) in zip(words, tagged, strict=True))
    chunks = (words[match.start() : match.end()] for match in _NOUN_PHRASE.finditer(letters))
    spans = (_bare(chunk[0].span[0], chunk[-1], caption) for chunk in chunks)
    return tuple((begin, end) for begin, end in spans if begin < end)


def split_words(caption: str) -> list[Word]:
    """The words of nltk's `word_tokenize` of the lower-case caption, with their spans. Raises PromptError."""
    # character by character: the one letter that lower case lengthens, "İ", loses its dot
    text = "".join(char.lower()[0] for char in check_text(caption, "the caption"))
    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    sentences = PunktSentenceTokenizer(parameters).span_tokenize(text)
    try:
        return [word for begin, end in sentences for word in _words(text[begin:end], begin)]
    except TimeoutError:  # of nltk, whose patterns have seconds
        raise PromptError(
            f"a caption of {len(caption)} characters takes too long to split into words; give its sentences one by one"
        ) from None


def _words(sentence: str, offset: int) -> Iterator[Word]:
    """The tokenizer parts words and rewrites quotes, so each token stands where the last one ended, or after blanks."""
    at = 0
    for token in NLTKWordTokenizer().tokenize(sentence):
        while sentence[at : at + 1].isspace():
            at += 1
        sign = next((sign for sign in _spellings(token) if sentence.startswith(sign, at)), None)
        if sign is None:
            raise PromptError(f"cannot split {quoted(sentence)} into words; name the parts with --phrases")
        yield Word(token, (offset + at, offset + at + len(sign)))
        at += len(sign)


def _spellings(token: str) -> tuple[str, ...]:
    """The spellings of a token in the text: the tokenizer replaces straight double quotes by Penn Treebank's."""
    return (token, '"', "''") if token in ("``", "''") else (token,)


def _letter(word: Word, tag: str) -> str:
    return _LETTER_OF_TAG.get(tag, "-") if any(char.isalnum() for char in word.text) else "-"


def _bare(begin: int, last: Word, caption: str) -> Span:
    """The span from `begin` to the last word's end, without the punctuation that clings to its ends."""
    text = caption[begin : last.span[1]]
    end = begin + len(text.rstrip(_OUTER + "." if not _is_abbreviation(last.text) else _OUTER))
    return begin + len(text) - len(text.lstrip(_OUTER + ".")), end


def _is_abbreviation(word: str) -> bool:
    return word.endswith(".") and (word[:-1] in ABBREVIATIONS or "." in word.strip("."))
