"""Prompt -> what the model gets: token ids, and the positions of each label's tokens among them.

The text encoder reads at most `limit` tokens (256), [CLS] and [SEP] included. Labels that do not fit are spread over
several texts, chunks; a label is never split. A caption is one chunk always.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from glip_cli.errors import PromptError
from glip_cli.prompts.prompt import typed_labels
from glip_cli.prompts.tokenizer import WINDOW, Tokenizer
from glip_cli.types import Prompt, Span
from glip_cli.utils.text_format import listed, quoted

LIMIT = WINDOW
_FRAME = 2  # [CLS] and [SEP]


@dataclass(frozen=True)
class Tokens:
    """A text for the text encoder.

    Attributes:
        ids: vocabulary indices, at most `limit`; [CLS] first, [SEP] last, no padding.
        label_tokens: for each label of the prompt the positions of its tokens in `ids`, ascending; never empty.
        tokens: the word pieces of `ids`, for display.
        notes: remarks for the user (a caption that was cut).
    """

    ids: tuple[int, ...]
    label_tokens: tuple[tuple[int, ...], ...]
    tokens: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """One text of a prompt.

    Attributes:
        prompt: the labels of this chunk, with their spans in this chunk's text.
        label_ids: the ids of those labels in the whole prompt, ascending.
        tokens: the text as the model reads it.
    """

    prompt: Prompt
    label_ids: tuple[int, ...]
    tokens: Tokens


@dataclass(frozen=True)
class LabelRow:
    """How one label is read: a line of `--explain`.

    Attributes:
        label, label_id: as typed, and its place in the whole prompt.
        words: what is read for it, as typed.
        chunk: number of the text that it is in, from 0.
        spans, text: its characters [begin, end) in that text, and what they say (several spans joined by a blank).
        tokens: (place, word piece) of each of its tokens in that text.
    """

    label: str
    label_id: int
    chunk: int
    spans: tuple[Span, ...]
    text: str
    tokens: tuple[tuple[int, str], ...]
    words: str


@dataclass(frozen=True)
class Explanation:
    """How a model reads a prompt.

    Attributes:
        notes: for the user.
        rows: one per label.
        texts: of each text, how many labels and how many tokens it has.
    """

    notes: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    texts: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, chunks: Sequence[Chunk], notes: Sequence[str] = ()) -> Explanation:
        texts = tuple((len(part.label_ids), len(part.tokens.ids)) for part in chunks)
        return cls(tuple(notes), explain(chunks), texts)


def tokenize(prompt: Prompt, tokenizer: Tokenizer, limit: int = LIMIT) -> Tokens:
    """Tokenise one text and find each label's tokens in it.

    A text longer than `limit` is cut as the official code cuts it, with [SEP] as its last token, if no label is lost.
    Raises PromptError for a label that has no token, or one past the limit.
    """
    encoded, label_tokens = tokenizer.read(prompt)
    last = min(len(encoded), limit) - 1
    for label, tokens in zip(prompt.labels, label_tokens, strict=True):
        if not tokens:
            raise PromptError(f"label {quoted(label)} has no character that the model reads; write it otherwise")
        if tokens[-1] >= last:
            raise PromptError(f"label {quoted(label)} stands past the {limit} tokens that the model reads; shorten it")
    is_cut = f"the text has {len(encoded)} tokens, of which the model reads {limit}; its end is cut off"
    notes = (is_cut,) if len(encoded) > limit else ()
    ids, pieces = encoded.ids, encoded.tokens
    return Tokens((*ids[:last], ids[-1]), label_tokens, (*pieces[:last], pieces[-1]), notes)


def chunk(prompt: Prompt, tokenizer: Tokenizer, limit: int = LIMIT, size: int | None = None) -> tuple[Chunk, ...]:
    """Spread the labels, in order, over as many texts as the model needs.

    By default a text takes as many labels as fit. With `size` it takes that many (mmdetection's `--chunked-size`), and
    where they do not fit, as many as do, which a note of the first chunk says.

    Raises PromptError for a label that does not fit alone, and for a size below one.
    """
    if size is not None and size < 1:
        raise PromptError(f"--chunked-size must be at least 1, not {size}")
    if prompt.is_caption:
        return (_chunk_of(prompt, range(len(prompt.labels)), tokenizer, limit),)
    groups = _groups(_token_counts(prompt, tokenizer, limit), limit, size)
    if len(groups) == 1:
        return (_chunk_of(prompt, groups[0], tokenizer, limit),)
    parts = [_part(prompt, group) for group in groups]
    if size is not None and any(len(group) < size for group in groups[:-1]):
        note = f"{size} labels do not always fit the {limit} tokens that the model reads; some chunks hold fewer"
        parts[0] = replace(parts[0], notes=(note,))
    return tuple(_chunk_of(part, group, tokenizer, limit) for part, group in zip(parts, groups, strict=True))


def vocabulary_notes(prompt: Prompt, tokenizer: Tokenizer, tuned_words: Collection[str] = ()) -> tuple[str, ...]:
    """Notes on labels that the vocabulary lacks, and on labels with equal tokens.

    Labels of equal tokens get equal scores: which of them is reported is chance. `tuned_words` are words
    that the model was tuned for.
    """
    read = label_ids(prompt, tokenizer)
    if tokenizer.learns_words:
        vocabulary = {
            label for label, words in zip(typed_labels(prompt), prompt.words, strict=True) if words in tuned_words
        }
        read = {label: ids for label, ids in read.items() if label not in vocabulary}
    words = dict(zip(typed_labels(prompt), prompt.words, strict=True))
    return notes_of_tokens(read, tokenizer, words, same_tokens=not prompt.is_caption)


def label_ids(prompt: Prompt, tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
    """The vocabulary indices of each label's tokens, by the label as `typed_labels` has it."""
    encoded, label_tokens = tokenizer.read(prompt)
    return {
        label: tuple(encoded.ids[token] for token in tokens)
        for label, tokens in zip(typed_labels(prompt), label_tokens, strict=True)
    }


def notes_of_tokens(
    read: Mapping[str, tuple[int, ...]],
    tokenizer: Tokenizer,
    words: Mapping[str, str] | None = None,
    *,
    same_tokens: bool = True,
) -> tuple[str, ...]:
    """`vocabulary_notes` of labels and their indices.

    Args:
        words: what is read for each label; by default the label itself.
        same_tokens: parts of one caption differ by their places.
    """
    notes = tokenizer.unread_notes(read, words or {})
    groups: dict[tuple[int, ...], list[str]] = {}
    for label, ids in read.items():
        groups.setdefault(ids, []).append(label)
    same = [labels for ids, labels in groups.items() if len(labels) > 1 and ids != tokenizer.nothing]
    if not same_tokens or not same:
        return notes
    more = f" (and {len(same) - 1} more such groups)" if len(same) > 1 else ""
    return (*notes, f"the model cannot tell these labels apart: {listed(same[0])}{more}")


def label_token_ids(prompt: Prompt, tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """All that is read of each label of a list, as indices: what stands between full stops, which does not interact."""
    encoded = tokenizer.read(prompt).encoded
    inner = [(span[0], index) for span, index in zip(encoded.offsets, encoded.ids, strict=True) if span]
    starts, ids = [start for start, _ in inner], [index for _, index in inner]
    ends = ((bisect_left(starts, spans[0][0]), bisect_left(starts, spans[-1][1])) for spans in prompt.spans)
    return [tuple(ids[first:last]) for first, last in ends]


def gather_notes(prompt: Prompt, chunks: Sequence[Chunk]) -> tuple[str, ...]:
    """Every remark that was made on the way, each once, in order."""
    made = [prompt.notes, *(notes for part in chunks for notes in (part.prompt.notes, part.tokens.notes))]
    return tuple(dict.fromkeys(note for notes in made for note in notes))


def explain(chunks: Sequence[Chunk]) -> tuple[LabelRow, ...]:
    """One row per label, in the order of their ids: which text, which characters, which tokens."""
    return tuple(
        _row(part, number, index) for number, part in enumerate(chunks) for index in range(len(part.label_ids))
    )


def _token_counts(prompt: Prompt, tokenizer: Tokenizer, limit: int) -> list[int]:
    counts = [len(ids) for ids in label_token_ids(prompt, tokenizer)]
    for label, count in zip(prompt.labels, counts, strict=True):
        if count + _FRAME > limit:
            raise PromptError(
                f"label {quoted(label)} alone has {count} tokens; the model reads at most {limit - _FRAME}; shorten it"
            )
    return counts


def _groups(counts: Sequence[int], limit: int, size: int | None) -> list[range]:
    """Runs of labels whose tokens, with a full stop between two, fit the limit."""
    begins, used = [0], _FRAME - 1
    for label, count in enumerate(counts):
        is_full = used + 1 + count > limit or (size is not None and label % size == 0)
        if label and is_full:
            begins.append(label)
            used = _FRAME - 1
        used += 1 + count
    return [range(begin, end) for begin, end in zip(begins, [*begins[1:], len(counts)], strict=True)]


def _part(prompt: Prompt, group: range) -> Prompt:
    """The labels of `group` with the stretch of text from the first to the last of them."""
    offset, end = prompt.spans[group[0]][0][0], prompt.spans[group[-1]][-1][1]
    spans = tuple(tuple((begin - offset, stop - offset) for begin, stop in prompt.spans[i]) for i in group)
    labels, words = (tuple(texts[i] for i in group) for texts in (prompt.labels, prompt.words))
    return Prompt(prompt.text[offset:end], labels, spans, words=words)


def _chunk_of(prompt: Prompt, label_ids: Sequence[int], tokenizer: Tokenizer, limit: int) -> Chunk:
    return Chunk(prompt, tuple(label_ids), tokenize(prompt, tokenizer, limit))


def _row(chunk: Chunk, number: int, index: int) -> LabelRow:
    spans = chunk.prompt.spans[index]
    text = " ".join(chunk.prompt.text[begin:end] for begin, end in spans)
    tokens = tuple((token, chunk.tokens.tokens[token]) for token in chunk.tokens.label_tokens[index])
    label, words = chunk.prompt.labels[index], chunk.prompt.words[index]
    return LabelRow(label, chunk.label_ids[index], number, spans, text, tokens, words)
