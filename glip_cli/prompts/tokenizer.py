"""Text to word pieces, with the characters that each came from.

Reads the same two files as BERT's own tokenizer, `tokenizer.json` or `vocab.txt`, through the `tokenizers`
library: transformers would cost seconds at start.

One thing is unlike transformers' default: typed text is never a control token. "[SEP]" typed in a
label is read as brackets around a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from glip_cli.errors import PromptError, WeightsError
from glip_cli.prompts import lexicon
from glip_cli.types import Prompt, Span
from glip_cli.utils.text_format import listed

UNKNOWN, BEGIN, END = "[UNK]", "[CLS]", "[SEP]"
WINDOW = 256  # tokens that BERT reads


@dataclass(frozen=True)
class Encoded:
    """A text as the model reads it: [CLS], the word pieces, [SEP]; never truncated.

    Attributes:
        ids: vocabulary indices.
        offsets: for each token the characters [begin, end) that it came from, None for [CLS] and [SEP].
        tokens: the word pieces, for display ("tooth", "##brush").
    """

    ids: tuple[int, ...]
    offsets: tuple[Span | None, ...]
    tokens: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def char_to_token(self, char: int) -> int | None:
        """The first token that holds character `char`; None for a blank, or outside the text."""
        return self._token_at.get(char)

    @cached_property
    def _token_at(self) -> dict[int, int]:
        # The first token wins: a Hangul syllable becomes several tokens of one character.
        first: dict[int, int] = {}
        for index, span in enumerate(self.offsets):
            for char in range(*(span or (0, 0))):
                first.setdefault(char, index)
        return first


class TokenizedPrompt(NamedTuple):
    """A prompt as the model reads it, and for each label the positions of its tokens, ascending."""

    encoded: Encoded
    label_tokens: tuple[tuple[int, ...], ...]


class Tokenizer:
    """The WordPiece tokenizer of one model; build it with `from_dir`.

    Attributes:
        window: tokens that the models of this kind read.
        unknown_id: of what the vocabulary lacks.
        nothing: the indices of a label that stands for nothing, where there are such.
        reads_definitions: whether a model may read a text about a label beside its name.
        learns_words: whether training can teach a model labels that are read as others, or as nothing.
    """

    window = WINDOW
    nothing: tuple[int, ...] = ()
    reads_definitions = True
    learns_words = False

    def __init__(self, backend: tokenizers.Tokenizer, source: str) -> None:
        """Take a backend that adds [CLS] and [SEP]; `source` names it in errors. Raises WeightsError."""
        # A saved tokenizer.json may carry the truncation or padding of whoever saved it.
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self._backend = backend
        self.unknown_id = token_id(backend, UNKNOWN, source)
        frame = [token_id(backend, BEGIN, source), token_id(backend, END, source)]
        if backend.encode("").ids != frame:
            raise WeightsError(f"{source} does not put {BEGIN} and {END} around a text: not a tokenizer of BERT's kind")

    @classmethod
    def from_dir(cls, path: str | Path) -> Tokenizer:
        """Load `tokenizer.json`, or else `vocab.txt` (lower-cased as bert-base-uncased), from a folder.

        Beside a lexicon stands none: its words are read in concepts, see `concepts.ConceptTokenizer`. Raises
        WeightsError when there is neither, or it cannot be read.
        """
        folder = Path(path)
        if (folder / lexicon.FILE).is_file():
            from glip_cli.prompts.concepts import ConceptTokenizer

            return ConceptTokenizer.of_lexicon(folder / lexicon.FILE)
        return cls(*load_backend(folder))

    @property
    def vocabulary_size(self) -> int:
        """Rows that the model's word embedding needs at least."""
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> Encoded:
        """Tokenise `text`, whole. Raises PromptError for half characters (lone surrogates)."""
        try:
            encoding = self._backend.encode(text)
        except (TypeError, UnicodeEncodeError) as error:
            raise PromptError(f"not readable as text: {text!r}") from error
        framed = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        offsets = tuple(None if special else span for span, special in framed)
        return Encoded(tuple(encoding.ids), offsets, tuple(encoding.tokens))

    def read(self, prompt: Prompt) -> TokenizedPrompt:
        """Tokenise a prompt, whole, and find each label's tokens; () for one that has none. Raises PromptError."""
        encoded = self.encode(prompt.text)
        tokens = ({token for span in spans for token in _span_tokens(encoded, span)} for spans in prompt.spans)
        return TokenizedPrompt(encoded, tuple(tuple(sorted(token_ids)) for token_ids in tokens))

    def is_read(self, part: str) -> bool:
        """Whether a part of a caption has a token. Raises PromptError."""
        return len(self.encode(part)) > len((BEGIN, END))

    def end(self, text: str, spans: Sequence[Span], window: int) -> int:
        """How many characters of a caption with the labels `spans` fit a window. Raises PromptError."""
        offsets = self.encode(text).offsets
        last = offsets[window - 2] if len(offsets) > window else None
        return last[1] if last else len(text)

    def unread_notes(self, read: Mapping[str, tuple[int, ...]], words: Mapping[str, str]) -> tuple[str, ...]:
        """Notes on labels that the vocabulary holds in part or not at all.

        `words` are what is read for a label, where that is not the label itself.
        """
        nothing = [label for label, ids in read.items() if ids and set(ids) == {self.unknown_id}]
        partly = [label for label, ids in read.items() if self.unknown_id in ids and label not in nothing]
        return tuple(
            f"the model's vocabulary knows {how_much} of {listed(labels)}: it reads [UNK] instead"
            for how_much, labels in (("nothing", nothing), ("not all", partly))
            if labels
        )


def _span_tokens(encoded: Encoded, span: Span) -> range:
    """The tokens from the span's first character to its last (microsoft/GLIP, engine/inference.py:137-161).

    The reference passes over at most two characters without a token (blanks) at either edge, and else drops the span,
    so that a label with more blanks around it is never found. Here the search goes on to the other edge of the span.
    Wherever the reference finds tokens, they are these.
    """
    begin, end = span
    first = _first_token(encoded, range(begin, end))
    last = _first_token(encoded, range(end - 1, begin - 1, -1))
    return range(0) if first is None or last is None else range(first, last + 1)


def _first_token(encoded: Encoded, chars: range) -> int | None:
    return next((token for char in chars if (token := encoded.char_to_token(char)) is not None), None)


def token_id(backend: tokenizers.Tokenizer, token: str, source: str) -> int:
    index = backend.token_to_id(token)
    if index is None:
        raise WeightsError(f"{source} has no {token}: not a vocabulary of BERT's kind")
    return index


def load_backend(folder: Path) -> tuple[tokenizers.Tokenizer, str]:
    """The tokenizer of a folder, and the file that it is read from. Raises WeightsError."""
    file = next((file for name in ("tokenizer.json", "vocab.txt") if (file := folder / name).is_file()), None)
    if file is None:
        raise WeightsError(f"no tokenizer in {folder}: give a folder that holds tokenizer.json or vocab.txt")
    try:
        text = file.read_text(encoding="utf-8")
        load = tokenizers.Tokenizer.from_str if file.suffix == ".json" else partial(_from_vocabulary, file)
        return load(text), str(file)
    except WeightsError:
        raise
    except Exception as error:  # tokenizers raises bare Exceptions
        raise WeightsError(f"cannot read the tokenizer {file}: {error}") from error


def _from_vocabulary(file: Path, text: str) -> tokenizers.Tokenizer:
    """Build bert-base-uncased's pipeline around a list of word pieces, one per line."""
    # Not splitlines: vocabularies hold characters that it takes for line ends.
    pieces = [line.rstrip("\r") for line in text.rstrip("\n").split("\n")]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    missing = [token for token in (UNKNOWN, BEGIN, END) if token not in vocabulary]
    if missing:
        raise WeightsError(f"{file} has no {', '.join(missing)}: not a vocabulary of BERT's kind")
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    frame = [(token, vocabulary[token]) for token in (BEGIN, END)]
    backend.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=frame)
    return backend
