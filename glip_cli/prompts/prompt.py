"""Labels or a caption -> the exact text that the model reads, and the spans of each label in it.

    labels.py          what was typed -> labels
    spans.py           parts of a caption -> spans
    noun_phrases.py    the noun phrases of a caption -> spans; needs a tagger, so nothing here imports it
    this file          labels | caption + spans -> Prompt
    chunking.py        Prompt -> token ids and token places per label, in texts that fit the model

The text is mmdetection's (3.3.0, mmdet/models/detectors/glip.py): names cleaned and joined by ". ", with none at
the end. Labels come back exactly as typed; a label whose words are given is their class, and is not read.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from types import MappingProxyType

from glip_cli.errors import PromptError
from glip_cli.prompts.labels import BRACKETED, ambiguity_notes, check_text, class_and_words, one_wording, read_texts
from glip_cli.prompts.spans import check_spans, find_phrase, gather_phrases
from glip_cli.prompts.words import Words
from glip_cli.types import Prompt, Span
from glip_cli.utils.text_format import quoted

SEPARATOR = ". "
"""Between two names, as in training; also what ends a caption."""

Labels = Sequence[str] | Mapping[str, str]
"""Labels, or label -> the words that the model reads for it."""

_NO_BRACKETS = str.maketrans("", "", "()")
_WHITE = frozenset("\t\n\r")


def label_prompt(labels: Labels, words: Words = MappingProxyType({})) -> Prompt:
    """The prompt of a list of labels; a label's id is its place in the list, also where labels repeat.

    A label's span covers its name as the model reads it, with the blanks that cleaning leaves at its ends. Line ends
    and tabs are blanks to the tokenizer; other control characters it drops, which a note says.

    Args:
        labels: each exactly as it is; or label -> words, {"container": "shipping container"}, where the words are
            what the model reads.
        words: those of some of the labels.

    Raises PromptError, with the place, for a label that is no text or is blank, and for an empty list.
    """
    if isinstance(labels, Mapping):
        words = labels
    typed = _checked(labels if isinstance(labels, str) else list(labels))
    return _list_prompt(typed, [_checked_words(label, words.get(label, label)) for label in typed])


def texts_prompt(texts: Sequence[str], *, files: bool = True, exact: bool = False) -> Prompt:
    """The prompt of the values of `--texts`, with notes on those that may have been meant otherwise.

    Args:
        files: False where none may be looked for.
        exact: "a = b" is a label and not words for one.

    Raises PromptError as `parse_texts`, `class_and_words` and `label_prompt`.
    """
    typed, number_notes = read_texts(texts)
    labels, words = (typed, typed) if exact else one_wording(map(class_and_words, typed))
    prompt = _list_prompt(_checked(labels), words)
    return replace(prompt, notes=(*number_notes, *ambiguity_notes(texts, typed, files=files), *prompt.notes))


def with_negatives(prompt: Prompt, negatives: Sequence[str]) -> Prompt:
    """The prompt of a list of labels with negatives behind them, and notes on these. Raises PromptError."""
    full = _list_prompt(_checked([*prompt.labels, *negatives]), (*prompt.words, *negatives))
    once = tuple(dict.fromkeys(negatives))
    both = _one_note(
        f"{quoted(label)} is both a label and a negative, which compete for the same boxes; take out one of them"
        for label in once
        if label in typed_labels(prompt)
    )
    return replace(full, notes=(*prompt.notes, *both, *_list_prompt(once, once).notes))


def typed_labels(prompt: Prompt) -> tuple[str, ...]:
    """Each label, and before it the words that are read for it where they differ: "shipping container = container"."""
    pairs = zip(prompt.labels, prompt.words, strict=True)
    return tuple(label if words == label else f"{words} = {label}" for label, words in pairs)


def join_names(names: Sequence[str]) -> tuple[str, list[int]]:
    """The text of a list of names, and where each begins."""
    begins = accumulate((len(name) + len(SEPARATOR) for name in names[:-1]), initial=0)
    return SEPARATOR.join(names), list(begins)


def _list_prompt(labels: tuple[str, ...], words: Sequence[str]) -> Prompt:
    names = [_model_name(wording) for wording in words]
    text, begins = join_names(names)
    spans = tuple(((begin, begin + len(name)),) for begin, name in zip(begins, names, strict=True))
    return Prompt(text, labels, spans, notes=tuple(_label_notes(labels, words, names)), words=tuple(words))


def caption_prompt(
    text: str,
    *,
    spans: Sequence[Sequence[Span]] | None = None,
    phrases: Sequence[str] | None = None,
    parts: Sequence[Span] | None = None,
) -> Prompt:
    """The prompt of a sentence, of which some parts are the labels.

    Args:
        text: the caption; the model reads it with ". " at its end unless it ends with a full stop.
        spans: for each label its characters [begin, end) in `text` (mmdetection's `tokens_positive`). The label is
            those characters of the caption, several spans joined by a blank.
        phrases: for each label words of the caption, found wherever they stand as whole words, whatever the case. The
            label is the phrase as typed.
        parts: characters [begin, end) in `text`, one phrase each (`nouns.noun_phrases`, `read_brackets`). A phrase that
            occurs several times, whatever its case, is one label with all its spans; the label is its first words.

    Raises PromptError unless exactly one of the three is given, and for a span or a phrase that is not in the caption.
    """
    caption = check_text(text, "the caption")
    if not caption.strip():
        raise PromptError("the caption is blank; write a sentence")
    ways = sum(way is not None for way in (spans, phrases, parts))
    if not ways:
        raise PromptError("which parts of the caption? name them with --phrases or --tokens-positive")
    if ways > 1:
        raise PromptError("give either --phrases or --tokens-positive, not both")
    labels = _labels_of(caption, spans, phrases, parts)
    if not labels:
        raise PromptError("no part of the caption is named; give --phrases or --tokens-positive")
    full = caption if caption.endswith(".") else caption + SEPARATOR
    typed = tuple(label for label, _ in labels)
    return Prompt(full, typed, tuple(label_spans for _, label_spans in labels), True, tuple(_duplicate_notes(typed)))


def _labels_of(
    caption: str,
    spans: Sequence[Sequence[Span]] | None,
    phrases: Sequence[str] | None,
    parts: Sequence[Span] | None,
) -> list[tuple[str, tuple[Span, ...]]]:
    """Each label with its places."""
    if phrases is not None:
        return [(phrase, find_phrase(phrase, caption)) for phrase in _checked(phrases, "phrase")]
    if parts is not None:
        grouped = gather_phrases([span for (span,) in check_spans([[part] for part in parts], caption)], caption)
        return [(caption[label_spans[0][0] : label_spans[0][1]], label_spans) for label_spans in grouped]
    return [(" ".join(caption[b:e] for b, e in label), label) for label in check_spans(spans or (), caption)]


def display_text(prompt: Prompt) -> tuple[str, tuple[Span, ...]]:
    """The prompt for display, with the first span of each label in it.

    Words as typed, "cat . remote ."; or the caption as the model reads it, less the ". " that was put after it.
    """
    if prompt.is_caption:
        first = tuple(spans[0] for spans in prompt.spans)
        return prompt.text.removesuffix(SEPARATOR), first
    begins = accumulate((len(words) + len(" . ") for words in prompt.words[:-1]), initial=0)
    display_spans = tuple((begin, begin + len(words)) for begin, words in zip(begins, prompt.words, strict=True))
    return " . ".join(prompt.words) + " .", display_spans


def clean_name(label: str) -> str:
    """A label as the model was trained to read it: mmdetection's three replacements, with their quirks.

    From the first "(" to the last ")" everything goes; the blank before it stays. Pairs of blanks are halved once.
    """
    return BRACKETED.sub("", label).replace("_", " ").replace("  ", " ")


def _model_name(label: str) -> str:
    """The cleaned label; where cleaning leaves nothing, the words inside its brackets, or else the label itself."""
    candidates = (clean_name(label), clean_name(label.translate(_NO_BRACKETS)), label)
    return next(name for name in candidates if name.strip())


def _checked(labels: Sequence[str], what: str = "label") -> tuple[str, ...]:
    if isinstance(labels, str):  # mmdetection reads such a string letter by letter
        raise PromptError(f"{what}s come as a list, not as one text: [{quoted(labels)}]")
    typed = tuple(check_text(label, f"{what} {number}") for number, label in enumerate(labels, 1))
    if not typed:
        raise PromptError(f"no {what}; give at least one")
    for number, label in enumerate(typed, 1):
        if not label.strip():
            raise PromptError(f"{what} {number} of {len(typed)} is blank: {quoted(label)}; leave it out or name it")
    return typed


def _checked_words(label: str, words: object) -> str:
    what = f"what to read for label {quoted(label)}"
    if not check_text(words, what).strip():
        raise PromptError(f"{what} is blank; write words, or leave them out")
    return str(words)


def _label_notes(labels: Sequence[str], typed: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    yield from _one_note(
        f"label {quoted(label)}: nothing is left without its brackets, so the model reads {quoted(name)}"
        for label, name in zip(typed, names, strict=True)
        if not clean_name(label).strip()
    )
    yield from _one_note(
        f"label {quoted(label)} holds control characters, which the model does not read"
        for label in typed
        if any(unicodedata.category(char) == "Cc" and char not in _WHITE for char in label)
    )
    yield from _duplicate_notes(labels)


def _one_note(notes: Iterable[str]) -> Iterator[str]:
    """The first of several notes of one kind, and how many more there are."""
    messages = list(notes)
    if messages:
        yield messages[0] + (f" (and {len(messages) - 1} more such labels)" if len(messages) > 1 else "")


def _duplicate_notes(typed: Sequence[str]) -> Iterator[str]:
    return _one_note(
        f"label {quoted(label)} is given {count} times; each keeps an id of its own"
        for label, count in Counter(typed).items()
        if count > 1
    )
