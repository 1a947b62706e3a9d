"""Text to word pieces, with the characters that each came from.

Reads the same two files as BERT's own tokenizer, `tokenizer.json` or `vocab.txt`, through the `tokenizers`
library: transformers would cost seconds at start.

One thing is unlike transformers' default: the text of a person is never a control token. "[SEP]" typed in a
label is read as brackets around a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from glip_cli.errors import PromptError, WeightsError
from glip_cli.types import Span

UNKNOWN, BEGIN, END = "[UNK]", "[CLS]", "[SEP]"


@dataclass(frozen=True)
class Encoded:
    """A text as the model reads it: [CLS], the word pieces, [SEP]; never truncated.

    Attributes:
        ids: vocabulary indices.
        offsets: for each token the characters [begin, end) that it came from, None for [CLS] and [SEP].
        tokens: the word pieces, for people ("tooth", "##brush").
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


class Tokenizer:
    """The WordPiece tokenizer of one model; build it with `from_dir`."""

    def __init__(self, backend: tokenizers.Tokenizer, source: str) -> None:
        """Take a backend that adds [CLS] and [SEP]; `source` names it in errors. Raises WeightsError."""
        # A saved tokenizer.json may carry the truncation or padding of whoever saved it.
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self._backend = backend
        self.unknown_id = _special_id(backend, UNKNOWN, source)
        frame = [_special_id(backend, BEGIN, source), _special_id(backend, END, source)]
        if backend.encode("").ids != frame:
            raise WeightsError(f"{source} does not put {BEGIN} and {END} around a text: not a tokenizer of BERT's kind")

    @classmethod
    def from_dir(cls, path: str | Path) -> Tokenizer:
        """Load `tokenizer.json`, or else `vocab.txt` (lower-cased as bert-base-uncased), from a folder.

        Raises WeightsError when neither is there or it cannot be read.
        """
        folder = Path(path)
        for name, load in (("tokenizer.json", _from_json), ("vocab.txt", _from_vocabulary)):
            if (folder / name).is_file():
                return cls(_guarded(load, folder / name), str(folder / name))
        raise WeightsError(f"no tokenizer in {folder}: give a folder that holds tokenizer.json or vocab.txt")

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


def _special_id(backend: tokenizers.Tokenizer, token: str, source: str) -> int:
    found = backend.token_to_id(token)
    if found is None:
        raise WeightsError(f"{source} has no {token}: not a vocabulary of BERT's kind")
    return found


def _guarded(load: Callable[[Path], tokenizers.Tokenizer], file: Path) -> tokenizers.Tokenizer:
    try:
        return load(file)
    except WeightsError:
        raise
    except Exception as error:  # tokenizers raises bare Exceptions
        raise WeightsError(f"cannot read the tokenizer {file}: {error}") from error


def _from_json(file: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))


def _from_vocabulary(file: Path) -> tokenizers.Tokenizer:
    """Build bert-base-uncased's pipeline around a list of word pieces, one per line."""
    # Not splitlines: vocabularies hold characters that it takes for line ends.
    pieces = [line.rstrip("\r") for line in file.read_text(encoding="utf-8").rstrip("\n").split("\n")]
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
