"""What each sense of a word stands for: names of the 80, or a class of things that are none of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from scripts.glip_nano.synsets import ABOVE, CONCEPTS
from scripts.glip_nano.wordnet import Sense, Synset, WordNet

Meaning = tuple[str, ...]
"""Names; or one class that begins with "?"."""

LEAST = 300  # synsets of a class of other things
NAMES = tuple(CONCEPTS)
_ROW = re.compile(r"([-=]?)([a-z][a-z ]*\.\d+)")
# Words that insult are no labels, and are kept out of the file
_RUDE = re.compile(
    r"offensive|disparag|derogat|slur|obscen|vulgar|contempt|abusive|insult|slang|unpleasant|stupid|despi"
)


class Meanings:
    """
    Attributes:
        of: synset -> what it stands for.
        others: synset -> the class of things that it is in, whatever it stands for.
    """

    def __init__(self, wordnet: WordNet) -> None:
        self._wordnet = wordnet
        self._tops, self._alone, self._above = dict[int, Meaning](), dict[int, Meaning](), dict[int, Meaning]()
        for name, row in CONCEPTS.items():
            for sign, synset in _rows(row):
                place = self._alone if sign == "=" else self._tops
                place[wordnet.named(synset).offset] = () if sign == "-" else (name,)
        for row, members in ABOVE.items():
            for _, synset in _rows(row):
                self._above[wordnet.named(synset).offset] = tuple(members.split(", "))
        self.others = {offset: self._other(synset) for offset, synset in wordnet.synsets.items()}
        self.of = {offset: self._names(offset) or self.others[offset] for offset in wordnet.synsets}

    def senses(self, word: str) -> list[Sense]:
        """Those that a label may have: no insults."""
        return [one for one in self._wordnet.senses[word] if not _RUDE.search(one.synset.gloss)]

    def is_common(self, word: str) -> bool:
        """Whether it is more than a name of its own, as Paris is."""
        return any(not one.synset.is_instance for one in self.senses(word))

    def _names(self, offset: int) -> Meaning:
        """Of the synset itself, or else of the nearest one above it that has some."""
        if itself := self._alone.get(offset) or self._above.get(offset):
            return itself
        level, seen = [offset], {offset}
        while level:
            hits = [self._tops[one] for one in level if one in self._tops]
            if hits:
                return min(hits, key=lambda names: NAMES.index(names[0]) if names else -1)
            above = [over for one in level for over in self._wordnet.synsets[one].above]
            level = [one for one in dict.fromkeys(above) if one not in seen]
            seen.update(level)
        return ()

    def _other(self, synset: Synset) -> Meaning:
        """The lowest synset above it that is large enough for a class."""
        chain = list(self._chain(synset))
        large = next((one for one in chain if self._sizes[one.offset] >= LEAST), chain[-1])
        return ("?" if synset.is_instance else f"?{large.words[0]} {large.offset}",)

    @cached_property
    def _sizes(self) -> Counter[int]:
        """How many synsets that stand for no name are at or below each, first hypernyms counted only."""
        synsets = self._wordnet.synsets.values()
        others = [one for one in synsets if not one.is_instance and not self._names(one.offset)]
        return Counter(above.offset for one in others for above in self._chain(one))

    def _chain(self, synset: Synset) -> Iterator[Synset]:
        yield synset
        while synset.above:
            synset = self._wordnet.synsets[synset.above[0]]
            yield synset


def _rows(row: str) -> list[tuple[str, str]]:
    return _ROW.findall(row)
