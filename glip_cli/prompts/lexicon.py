"""Labels -> the 80 names that glip-nano knows: "two kittens" -> cat, "animal" -> bird, cat, dog ...

The words are in one text file, which `scripts/glip_nano/lexicon.py` makes from WordNet and sentence vectors:

    bicycle: bicycle, bike, cycle           one line for each name, in the order of their ids; the name itself first
    bird, cat, dog: animal, creature        names above names
    ?couch: pouffe, tuffet                  words that are known to mean none of the names, and the nearest name
    ?: sea horse, water clock               the same without a nearest name

Blanks do not count ("cell phone", "cellphone"), nor do case, accents, hyphens, articles, numerals and what stands
before the last noun ("two red cars"), unless the file has the longer name ("hot dog" is no dog, "sea horse" no horse).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glip_cli.errors import WeightsError
from glip_cli.utils.text_format import why_unreadable

FILE = "lexicon.txt"
NEAREST = "?"
LONGEST = 6  # words of a name that is looked up
MOST = 50  # words of a phrase that are read

_WORD = re.compile(r"[^\W_]+")
_BRACKETS = re.compile(r"\([^()]*\)")
_POSSESSIVE = re.compile(r"['\u2019]s?\b")
_DETERMINERS = frozenset("a an the this that these those my your his her its our their some any all both each".split())
_JOINING = frozenset(["and", "or"])
# What follows one of these says more of the thing that stands before it
_PREPOSITIONS = frozenset(
    "in on at with without near by beside beneath behind under below over above from for to into onto inside outside "
    "between against among around across along through during next who that which".split()
)
_PARTICIPLES = frozenset(
    "wearing holding riding carrying sitting standing lying walking running eating drinking driving playing flying "
    "looking jumping sleeping parked seated".split()
)
# "a slice of pizza" is pizza, "a photo of a cat" a cat; a cup of coffee is a cup
_MEASURES = frozenset(
    "bunch couple crowd dozen flock group herd image kind lot number pack pair photo photograph image piece pile row "
    "set slice sort stack swarm type".split()
)
_PLURALS = (("people", "person"), ("children", "child"), ("men", "man"), ("mice", "mouse"), ("geese", "goose"),
            ("oxen", "ox"), ("teeth", "tooth"), ("feet", "foot"))  # fmt: skip
_HISSING = ("ches", "shes", "sses", "uses", "xes", "zes", "oes")


@dataclass(frozen=True)
class Meaning:
    """The meaning of a phrase.

    Attributes:
        concepts: the names that it means, in the order of their ids; () where it means none of them.
        word: the part of the phrase that was looked up, as words; "" where the lexicon has no part of it.
        nearest: of a word without concepts the name that is nearest to it, where there is one.
    """

    concepts: tuple[str, ...] = ()
    word: str = ""
    nearest: str | None = None


class Lexicon:
    """The words of one file; build it with `load`.

    Attributes:
        names: the names that the model sees by, in the order of their ids.
    """

    def __init__(self, text: str) -> None:
        """Take what the file holds, see the module's docstring. Raises ValueError for a line of another kind."""
        self._meanings: dict[str, tuple[tuple[str, ...], str | None]] = {}
        self.names: tuple[str, ...] = ()
        for line in text.splitlines():
            if line and not line.startswith("#"):
                self._add(line)

    def _add(self, line: str) -> None:
        head, mark, words = line.partition(": ")
        if not mark:
            raise ValueError(f"no ': ' in {line[:40]!r}")
        concepts, nearest = tuple(head.split(", ")), None
        if head.startswith(NEAREST):
            concepts, nearest = (), head.removeprefix(NEAREST) or None
        elif len(concepts) == 1:
            self.names += concepts
        self._meanings.update(dict.fromkeys(words.replace(" ", "").split(","), (concepts, nearest)))

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """Raises WeightsError for a file that cannot be read or is no lexicon."""
        try:
            return cls(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeError) as error:
            raise WeightsError(f"cannot read the lexicon {path}: {why_unreadable(error)}") from error
        except ValueError as error:
            raise WeightsError(f"{path} is no lexicon: {error}") from error

    def read(self, phrase: str) -> Meaning:
        """The meaning of a label or of a part of a caption, whatever it says."""
        words = normalised(phrase)[:MOST]
        whole = self._whole(words)
        return whole if whole.word else self._read(words)

    def _read(self, words: Sequence[str]) -> Meaning:
        """Look for the thing that the words are about: what stands before "with", "of", "riding"; the last noun."""
        for index, word in enumerate(words[1:], 1):
            if word in _PREPOSITIONS:
                return self._last(words[:index])
            if word == "of":
                return self._of(words[:index], words[index + 1 :])
            if word in _PARTICIPLES and (before := self._last(words[:index])).concepts:
                return before
            if word in _JOINING and (both := self._both(words[:index], words[index + 1 :])):
                return both
        return self._last(words)

    def _of(self, thing: Sequence[str], rest: Sequence[str]) -> Meaning:
        found = self._last(thing)
        is_measure = any(form in _MEASURES for form in singulars(thing[-1]))
        return self._read(rest) if is_measure and rest and not found.concepts else found

    def _both(self, first: Sequence[str], second: Sequence[str]) -> Meaning | None:
        """ "cats and dogs" means both; "orange and white cat" names one thing only."""
        parts = [self._whole(first), self._whole(second)]
        if not all(part.concepts for part in parts):
            return None
        together = {name for part in parts for name in part.concepts}
        return Meaning(tuple(name for name in self.names if name in together), " and ".join(p.word for p in parts))

    def _last(self, words: Sequence[str]) -> Meaning:
        """The longest part at the end of the words that the lexicon has."""
        parts = (self._whole(words[begin:]) for begin in range(max(0, len(words) - LONGEST), len(words)))
        return next((part for part in parts if part.word), Meaning())

    def _whole(self, words: Sequence[str]) -> Meaning:
        """All of the words, but for what stands before every noun."""
        words = content(words)
        if not words or len(words) > LONGEST:
            return Meaning()
        before = "".join(words[:-1])
        for form in singulars(words[-1]):
            if (found := self._meanings.get(before + form)) is not None:
                return Meaning(found[0], " ".join([*words[:-1], form]), found[1])
        return Meaning()


def normalised(phrase: str) -> list[str]:
    """The words of a phrase in lower case, without accents, signs, brackets and a number at the end ("dog 2")."""
    letters = unicodedata.normalize("NFKD", _POSSESSIVE.sub(" ", _BRACKETS.sub(" ", phrase)).casefold())
    words = _WORD.findall("".join(char for char in letters if not unicodedata.combining(char)))
    while len(words) > 1 and words[-1].isdecimal():
        del words[-1]
    return words


def content(words: Sequence[str]) -> list[str]:
    """The words without articles and numerals at their begin."""
    first = next((index for index, word in enumerate(words) if not (word in _DETERMINERS or word.isdecimal())), None)
    return list(words[first:]) if first is not None else []


def singulars(word: str) -> Iterator[str]:
    """The word, then what it may be the plural of, the likeliest first."""
    yield word
    yield from (word.removesuffix(plural) + singular for plural, singular in _PLURALS if word.endswith(plural))
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("ves"):
        yield word[:-3] + "f"
        yield word[:-3] + "fe"
    if word.endswith(_HISSING):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
