"""The files of Flickr30k Entities (Plummer et al., arXiv 1505.04870): sentences with marked phrases, boxes per chain.

    Sentences/ID.txt      one sentence per line; phrases as `[/EN#<chain>/<type>/<type> words of the phrase]`
    Annotations/ID.xml    one <object> per box, with the chains that it belongs to as <name>

A chain is what all phrases of an image name that mean the same thing. Read as the data set's own tools do
(flickr30k_entities_utils.py): words are what blanks separate, and one blank goes between two of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from glip_cli.data.values import read_text
from glip_cli.errors import DataError
from glip_cli.types import Span

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2) in absolute pixels, as the file has it."""

_OPENING = "[/EN#"
_CLOSING = "]"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class MarkedPhrase:
    """A marked part of a sentence.

    Attributes:
        text: its words; `sentence.text[begin:end]` for its span.
        span: its characters [begin, end) in the sentence.
        chain: id of what it names; "0" for phrases that name nothing visible.
        types: one or more of people, clothing, bodyparts, animals, vehicles, instruments, scene, other, notvisual.
    """

    text: str
    span: Span
    chain: str
    types: tuple[str, ...]


@dataclass(frozen=True)
class Sentence:
    """A sentence without its markup, and its phrases in reading order."""

    text: str
    phrases: tuple[MarkedPhrase, ...]


def read_sentences(path: Path) -> tuple[Sentence, ...]:
    """Every sentence of a file, blank lines passed over.

    Raises:
        DataError: the file cannot be read, or its markup is broken; names file and line.
    """
    # Not splitlines: a sentence may hold one of the rarer characters that it takes for line ends.
    lines = enumerate(read_text(path).split("\n"), 1)
    return tuple(_sentence(line, f"{path}, line {number}") for number, line in lines if line.strip())


def read_boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    """The boxes of one image by chain id, at least one each, in the order of the file.

    Objects without a box (`<nobndbox>`, `<scene>`) give none. An object of two names gives its box to both.

    Raises:
        DataError: the file cannot be read, is no xml, or lacks a number where one belongs.
    """
    try:
        root = ElementTree.fromstring(read_text(path))
    except ElementTree.ParseError as failure:
        raise DataError(f"{path}: not a whole xml file ({failure}); fetch it again") from None
    boxes: dict[str, tuple[Box, ...]] = {}
    for item in root.findall("object"):
        corners = item.find("bndbox")
        if corners is not None:
            x1, y1, x2, y2 = (_number(corners, corner, path) for corner in _CORNERS)
            for name in item.findall("name"):
                chain = (name.text or "").strip()
                boxes[chain] = (*boxes.get(chain, ()), (x1, y1, x2, y2))
    return boxes


def _sentence(line: str, where: str) -> Sentence:
    words: list[str] = []
    phrases: list[MarkedPhrase] = []
    tokens = iter(line.split())
    for token in tokens:
        if not token.startswith("["):
            words.append(token)
            continue
        chain, types = _tag(token, where)
        begin = sum(map(len, words)) + len(words)
        inside = list(_words_inside(tokens, where)) if not token.endswith(_CLOSING) else []
        if inside:  # a phrase without words can be neither asked for nor found
            text = " ".join(inside)
            phrases.append(MarkedPhrase(text, (begin, begin + len(text)), chain, types))
            words += inside
    return Sentence(" ".join(words), tuple(phrases))


def _tag(token: str, where: str) -> tuple[str, tuple[str, ...]]:
    """Chain and types of `[/EN#chain/type/type`."""
    chain, *types = token.removeprefix(_OPENING).removesuffix(_CLOSING).split("/")
    if not token.startswith(_OPENING) or not chain or not all(types) or not types:
        raise DataError(f"{where}: {token!r} opens no phrase; one begins with [/EN#chain/type")
    return chain, tuple(types)


def _words_inside(tokens: Iterator[str], where: str) -> Iterator[str]:
    """The words up to the closing bracket, which ends a word."""
    for token in tokens:
        if token.startswith(_OPENING):
            raise DataError(f"{where}: a phrase begins inside another, at {token!r}; close the first with ]")
        if word := token.removesuffix(_CLOSING):
            yield word
        if token.endswith(_CLOSING):
            return
    raise DataError(f"{where}: a phrase is not closed; it ends with ]")


def _number(element: ElementTree.Element, tag: str, path: Path) -> float:
    text = element.findtext(tag)
    try:
        return float(int(text or ""))
    except ValueError:
        raise DataError(f"{path}: <{tag}> is {text!r}, not a whole number; fetch the file again") from None
