"""Parts of a caption, given as words, as [bracketed] words, or as character spans."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence

from glip_cli.errors import PromptError
from glip_cli.prompts.labels import check_text
from glip_cli.types import Span
from glip_cli.utils.text_format import counted, quoted

_BRACKETS = "put [brackets] around words of the caption, none inside others; for brackets that are text use --phrases"
_SYNTAX = "write one list of [begin, end) character spans per label, like [[[0, 5]], [[7, 9], [12, 15]]]"


def parse_tokens_positive(literal: str) -> tuple[tuple[Span, ...], ...]:
    """Read mmdetection's `--tokens-positive`: for each label a list of spans, or one span.

    "[[[0,5]]]" and "[[0,5],[7,9]]" are read as data (JSON, round brackets allowed), never evaluated. Raises
    PromptError for anything else, and for a span that is empty or reversed.
    """
    try:
        value = json.loads(check_text(literal, "--tokens-positive").translate(str.maketrans("()", "[]")))
    except (ValueError, RecursionError) as error:
        raise PromptError(f"cannot read the spans {quoted(literal)}; {_SYNTAX}") from error
    if not isinstance(value, list) or not value:
        raise PromptError(f"no spans in {quoted(literal)}; {_SYNTAX}")
    return tuple(_label_spans(item) for item in value)


def check_spans(spans: Sequence[Sequence[Span]], caption: str) -> tuple[tuple[Span, ...], ...]:
    """The spans of each label in reading order, each once; PromptError for one that is not a part of `caption`."""
    checked = tuple(tuple(sorted(set(_label_spans(item)))) for item in spans)
    for begin, end in (span for item in checked for span in item):
        if end > len(caption):
            length = counted(len(caption), "character")
            raise PromptError(f"span [{begin}, {end}) ends past the caption, which has {length}")
        if not caption[begin:end].strip():
            raise PromptError(f"span [{begin}, {end}) holds nothing but blanks: {quoted(caption[begin:end])}")
    return checked


def find_phrase(phrase: str, caption: str) -> tuple[Span, ...]:
    """Every place where `phrase` stands in `caption` as whole words, whatever the case; in `caption`'s characters.

    Outer blanks of the phrase do not count. Raises PromptError when it is blank or stands nowhere.
    """
    folded_phrase = check_text(phrase, "a phrase").strip().casefold()
    if not folded_phrase:
        raise PromptError("a phrase is blank; leave it out or write words of the caption")
    occurrences = tuple(_occurrences(folded_phrase, caption))
    if not occurrences:
        raise PromptError(f"phrase {quoted(phrase)} is not in the caption {quoted(caption)} as whole words")
    return occurrences


def read_brackets(caption: str) -> tuple[str, tuple[Span, ...]]:
    """ "two [cats] and a [remote]" -> the same without the brackets, and what stood in them as spans of that.

    Blanks inside a bracket's ends belong to no span. Raises PromptError for brackets that do not match, stand inside
    others or hold no words, and for a caption without any.
    """
    text, spans, open_at, begin = "", list[Span](), None, 0
    for position, char in enumerate(check_text(caption, "the caption")):
        if char not in "[]":
            text += char
        elif (char == "[") != (open_at is None):
            raise PromptError(f"a {char!r} too many at character {position} of {quoted(caption)}; {_BRACKETS}")
        elif char == "[":
            open_at, begin = position, len(text)
        else:
            spans.append(_trimmed(text, begin, caption))
            open_at = None
    if open_at is not None:
        raise PromptError(f"the '[' at character {open_at} of {quoted(caption)} is not closed; {_BRACKETS}")
    if not spans:
        raise PromptError(f"no brackets in {quoted(caption)}; {_BRACKETS}")
    return text, tuple(spans)


def gather_phrases(spans: Sequence[Span], caption: str) -> tuple[tuple[Span, ...], ...]:
    """One label for each phrase: spans with the same words, whatever their case and blanks, belong together.

    Labels are in the order of their first span, as are the spans of one.
    """
    labels: dict[str, list[Span]] = {}
    for begin, end in sorted(spans):
        labels.setdefault(" ".join(caption[begin:end].casefold().split()), []).append((begin, end))
    return tuple(map(tuple, labels.values()))


def _trimmed(text: str, begin: int, caption: str) -> Span:
    """[begin, end of `text`) without blanks at its ends."""
    words = text[begin:]
    if not words.strip():
        raise PromptError(f"an empty pair of brackets in {quoted(caption)}; {_BRACKETS}")
    return begin + len(words) - len(words.lstrip()), begin + len(words.rstrip())


def _label_spans(item: object) -> tuple[Span, ...]:
    """One label's spans; a bare [begin, end] counts as a list of one."""
    if not isinstance(item, list | tuple) or not item:
        raise PromptError(f"no span in {quoted(item)}; {_SYNTAX}")
    pairs = item if isinstance(item[0], list | tuple) else [item]
    return tuple(_span(pair) for pair in pairs)


def _span(pair: object) -> Span:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or any(type(position) is not int for position in pair):
        raise PromptError(f"not a span: {quoted(pair)}; {_SYNTAX}")
    begin, end = pair
    if not 0 <= begin < end:
        raise PromptError(f"span [{begin}, {end}) is empty, reversed or negative; {_SYNTAX}")
    return begin, end


def _occurrences(folded_phrase: str, caption: str) -> Iterator[Span]:
    # Folding may lengthen a text ("ß" -> "ss"), so each folded character remembers its own.
    pairs = [(small, i) for i, char in enumerate(caption) for small in char.casefold()]
    folded = "".join(small for small, _ in pairs)
    origin = [*(i for _, i in pairs), len(caption)]
    at = folded.find(folded_phrase)
    while at >= 0:
        after = at + len(folded_phrase)
        if _is_whole(folded, at, after) and _cuts_no_character(origin, at, after):
            yield origin[at], origin[after]
            at = folded.find(folded_phrase, after)
        else:
            at = folded.find(folded_phrase, at + 1)


def _is_whole(text: str, begin: int, end: int) -> bool:
    """Whether no word goes on over either edge of [begin, end)."""
    return not (
        (begin > 0 and _in_word(text[begin - 1]) and _in_word(text[begin]))
        or (end < len(text) and _in_word(text[end - 1]) and _in_word(text[end]))
    )


def _in_word(char: str) -> bool:
    return char.isalnum() or char == "_" or unicodedata.category(char).startswith("M")


def _cuts_no_character(origin: list[int], begin: int, end: int) -> bool:
    return (begin == 0 or origin[begin - 1] != origin[begin]) and origin[end - 1] != origin[end]
