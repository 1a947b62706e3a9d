"""The values of `--texts` -> labels, each exactly as typed.

    "cat . remote ."      one value is split at full stops that a blank follows, as mmdetection does
    "cat, remote."        one without such is split at lines, or else at "|" and tabs, at semicolons, or at commas
    "cat.remote."         one without any of these that ends in a full stop is split at the others
    "cat" "st. bernard"   several values: each is one label, whatever it holds
    @labels.txt           the labels in a file, see `label_files`
    $: coco               a class list of the package

A label may be asked for in other words: "shipping container = container" says container, and the model reads shipping
container (`class_and_words`; blanks around the sign, so "a=b" is a label).
Separators of other scripts count as those of ours. Nothing inside (), [] or {} is split, no number and no abbreviation.
One value that is a single label and holds a word of sentences, "two cats on a couch", is rather a caption:
`sentence_of` tells, and the command line asks it. One with words for a class is labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from glip_cli.errors import PromptError
from glip_cli.prompts.label_files import NumberedLabels, read_labels
from glip_cli.utils.text_format import listed, quoted

BRACKETED = re.compile(r"\(.*\)")
"""A remark as mmdetection takes it away: from the first "(" to the last ")"."""
ABBREVIATIONS = frozenset(
    "st mr mrs ms dr prof rev hon jr sr lt sgt maj gen gov sen rep capt col ave blvd rd mt ft vs inc co corp ltd bros "
    "jan feb aug sep sept oct nov dec a.m p.m u.s u.k u.n u.s.a d.c n.y l.a b.c a.d e.g i.e ph.d".split()
)
"""Words that end in a full stop in the midst of a sentence or a label; without that full stop."""
_NEAR = 8  # characters, more than any of them has
NAMED_LISTS = ("coco", "lvis", "objects365")
_SENTENCE_WORDS = frozenset(
    "a an the this that these those there is are was were be being am has have and or with without in inside on onto "
    "at under over above below behind beside near next between from by to into while who which".split()
)
"""Articles, prepositions and the like: of the 1,596 names of the package's class lists one has any outside brackets."""
_WIDE_STOPS = "。｡．।॥۔።"  # of scripts that put no blank after them
_STOPS = f".{_WIDE_STOPS}"
_SEPARATORS = ("\n\r", "|｜\t", ";；؛", ",，、､،")  # the strongest first: what is left of the others is part of a label
_EQUALS = " = "
_MARGIN = f" {''.join(_SEPARATORS)}"  # what is left of weaker separators at the ends of a label
_PAIRS = {")": "(", "]": "[", "}": "{"}


def parse_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """The labels that the values of `--texts` stand for, in order, duplicates kept.

    Raises PromptError for a value that is no text, an unknown list, a file that cannot be read, or no label at all.
    """
    return read_texts(texts)[0]


def read_texts(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As `parse_texts`, and notes on files whose numbers of classes are not the ids of the labels."""
    values = (texts,) if isinstance(texts, str) else tuple(texts)
    alone = len(values) == 1
    labels, notes = list[str](), list[str]()
    for place, value in enumerate(values, 1):
        read = _expand(value, place, alone)
        notes += _number_notes(value, read, len(labels))
        labels += read.labels
    if not labels:
        given = quoted(values[0]) if alone else "--texts"
        raise PromptError(f'no label in {given}; write them like "cat . remote ." or "cat, remote"')
    return tuple(labels), tuple(notes)


def sentence_of(texts: Sequence[str]) -> str | None:
    """The one value of `texts`, without outer blanks, where it reads like a caption; None where it is labels.

    "of" is no sign of a sentence (a glass of wine is a thing), nor are words in round brackets, which the model does
    not read. Values with separators, files and class lists are labels always. Raises as `parse_texts`.
    """
    text = check_text(texts[0], "text 1").strip() if len(texts) == 1 else ""
    if text.startswith(("@", "$:")) or not text or _equals(text):
        return None
    words = {word.strip(".,;:!?\"'").casefold() for word in BRACKETED.sub("", text).split()}
    if not words & _SENTENCE_WORDS or len(words) == 1:
        return None
    is_stopped = text.endswith(".") and "\n" not in text and not _full_stops(text.strip(". "))
    return text if is_stopped or len(parse_texts(texts)) == 1 else None


def class_and_words(text: str, way_out: str = "or -c for labels as they stand") -> tuple[str, str]:
    """The class in outputs, and the words that the model reads: both sides of " = " outside brackets, or `text`.

    "shipping container = container" -> ("container", "shipping container"). Raises PromptError for several such signs,
    with the `way_out` of a class that has one itself.
    """
    whole = text.strip()
    cuts = _equals(whole)
    if len(cuts) > 1:
        raise PromptError(f'{quoted(text)} has {len(cuts)} " = "; write words = class, {way_out}')
    if not cuts:
        return text, text
    return whole[cuts[0] + len(_EQUALS) :].strip(), whole[: cuts[0]].strip()


def parse_negatives(texts: Sequence[str]) -> tuple[str, ...]:
    """The words of the values of `--negative`, whose classes are not reported. Raises as `parse_texts`."""
    return tuple(class_and_words(one, "or the words alone")[1] for one in parse_texts(texts))


def one_wording(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Classes and their words, of pairs. Raises PromptError for a class that is given twice with different words."""
    listing = tuple(pairs)
    first: dict[str, str] = {}
    for label, words in listing:
        if first.setdefault(label, words) != words:
            both = f"{quoted(first[label])} and {quoted(words)}"
            raise PromptError(f"class {quoted(label)} is given twice, as {both}; give each class once")
    return tuple(label for label, _ in listing), tuple(words for _, words in listing)


def ambiguity_notes(texts: Sequence[str], labels: Sequence[str], *, files: bool = True) -> tuple[str, ...]:
    """Notes on values of which `labels` were read, and which may have been meant as several, or as a file of labels.

    Lines of a file and class lists are taken as they stand; a file of one line may be a list. Without `files` none is
    looked for: a client of a server must not learn which there are.
    """
    values = (texts,) if isinstance(texts, str) else texts
    alone = len(values) == 1
    given = labels if alone and (len(labels) == 1 or _is_typed(values[0])) else ()
    checked = given if alone else [value.strip() for value in values if _is_typed(value)]
    files_of_labels = [label for label in checked if files and _is_file(label)]
    several = [label for label in checked if label not in files_of_labels and _looks_like_several(label)]
    notes = []
    if files_of_labels:
        named = quoted(files_of_labels[0])
        notes.append(f"{named} is taken as a label, and is also a file here: write @ before it to read labels from it")
    if several:
        notes.append(f"taken as one label, though it looks like several: {listed(several)}")
    return tuple(notes)


def check_text(text: object, what: str) -> str:
    """Return `text` if it is a str of whole characters; `what` names it in the PromptError otherwise."""
    if not isinstance(text, str):
        raise PromptError(f"{what} is not a text but {type(text).__name__}: {quoted(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"{what} is not valid Unicode: {quoted(text)}") from error
    return text


def _number_notes(value: str, read: NumberedLabels, first: int) -> list[str]:
    """A note where the labels, whose ids count up from `first`, have other numbers in their file."""
    moved = [(label, number, i) for i, (label, number) in enumerate(zip(*read, strict=False), first) if number != i]
    if not moved:
        return []
    label, number, i = moved[0]
    more = f" (and {len(moved) - 1} more such labels)" if len(moved) > 1 else ""
    return [f"{quoted(label)} has number {number} in {quoted(value.strip()[1:].strip())}, and {i} in results, which "
            f"number labels from 0 without gaps{more}"]  # fmt: skip


def _expand(value: str, place: int, alone: bool) -> NumberedLabels:
    text = check_text(value, f"text {place}").strip()
    if text.startswith("@"):
        return read_labels(text[1:].strip())
    if text.startswith("$:"):
        return NumberedLabels(_named_labels(text[2:].strip()))
    if alone:
        return NumberedLabels(_split(text))
    if not text:
        raise PromptError(f"text {place} is empty; leave it out or write a label")
    return NumberedLabels([text])


def _named_labels(name: str) -> list[str]:
    if name not in NAMED_LISTS:
        raise PromptError(f"no class list {quoted(name)}; there are {', '.join(NAMED_LISTS)}")
    content = files("glip_cli").joinpath("names", f"{name}.txt").read_text(encoding="utf-8")
    # Nothing is stripped: some names of Objects365 end in a blank.
    return content.removesuffix("\n").split("\n")


def _split(text: str) -> list[str]:
    """Split at full stops (mmdet/models/detectors/glip.py, custom_entities), or else at what separates a list."""
    cuts = _full_stops(text)
    if cuts or text.endswith(tuple(_STOPS)):
        text = text.strip(f"{_STOPS} ")
        cuts = _full_stops(text) or _list_cuts(text) or _inner_stops(text)
    else:
        cuts = _list_cuts(text)
    edges = zip([0, *(cut + 1 for cut in cuts)], [*cuts, len(text)], strict=True)
    parts = [text[begin:end].strip(_MARGIN).strip() for begin, end in edges]
    return [part for part in parts if part]


def _full_stops(text: str) -> list[int]:
    """Full stops that a blank follows, and that end no abbreviation; those of scripts that put no blank after them."""
    return [
        i
        for i in _outside_brackets(text)
        if text[i] in _WIDE_STOPS or (text[i] == "." and text[i + 1 : i + 2].isspace() and not _is_abbreviated(text, i))
    ]


def _list_cuts(text: str) -> list[int]:
    """The places of the strongest separators that there are."""
    outside = _outside_brackets(text)
    found = ([i for i in outside if text[i] in kind] for kind in _SEPARATORS)
    return next((cuts for cuts in found if cuts), [])


def _inner_stops(text: str) -> list[int]:
    """Full stops between two letters, as in "cat.remote"; not those of numbers and abbreviations."""
    return [
        i
        for i in _outside_brackets(text)
        if text[i] == "." and text[i - 1 : i].isalpha() and text[i + 1 : i + 2].isalpha()
        and not _is_abbreviated(text, i)
    ]  # fmt: skip


def _is_abbreviated(text: str, stop: int) -> bool:
    """Whether the full stop at `stop` is part of an abbreviation: "St. Bernard", "e.g"."""
    near = text[max(stop - _NEAR, 0) : stop]
    before = near.split()[-1] if near and not near[-1].isspace() else ""
    after = text[stop : stop + _NEAR].split()[0]
    return not {before.lower(), f"{before}{after}".rstrip(".").lower()}.isdisjoint(ABBREVIATIONS)


def _equals(text: str) -> list[int]:
    """The places of " = " outside brackets."""
    return [i for i in _outside_brackets(text) if text.startswith(_EQUALS, i)] if _EQUALS in text else []


def _looks_like_several(label: str) -> bool:
    text = label[1:-1] if _PAIRS.get(label[-1:]) == label[:1] else label  # "[cat, dog]"
    text = re.sub(r"(?<=\d),(?=\d)", "", text)  # "1,000 bill"
    return bool(_full_stops(text) or _list_cuts(text) or _inner_stops(text))


def _is_typed(value: str) -> bool:
    return not value.strip().startswith(("@", "$:"))


def _is_file(label: str) -> bool:
    try:
        return Path(label).is_file()
    except (OSError, ValueError):  # longer than a name can be, or with a NUL in it
        return False


def _outside_brackets(text: str) -> list[int]:
    """The places of `text` that no bracket encloses: all of them where brackets do not match, as in ":( , :)"."""
    outside = []
    open_brackets: list[str] = []
    for i, char in enumerate(text):
        if char in _PAIRS.values():
            open_brackets.append(char)
        elif char in _PAIRS and (not open_brackets or open_brackets.pop() != _PAIRS[char]):
            return list(range(len(text)))
        elif not open_brackets:
            outside.append(i)
    return list(range(len(text))) if open_brackets else outside


# -------------------------------------------------------------------------------------------------------------- sides
# Words that a mirror makes wrong: an image of "the left cup" shows the right cup when it is mirrored.
#
# `--tta` and training ask here before they mirror an image. A doubtful word counts: the price is one view less.

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
"""Letters between anything else, as in "top_left" and "left-handed"; a capital begins a word, as in "TurnLeft"."""
_SIDED = re.compile(
    r"(top|bottom|upper|lower|center|centre|middle)?(left|right)"
    r"(most|wards?|wardly|hand|hande[dr]|handers|sided?|wing|wingers?|bound|facing|pointing|arrows?|turns?)?"
    r"|left(y|ies)|right(y|ies)|leftright|rightleft"
    r"|(anti|counter)?clockwise"
)


def mentions_left_or_right(text: str) -> bool:
    """Whether a text mentions left or right: "the left cup", "leftward", "right-handed", "turn_left", "clockwise".

    "bright", "copyright", "upright", "leftover" and "rights" do not.
    """
    return any(_SIDED.fullmatch(word.lower()) for word in _WORDS.findall(text))
