"""The tokenizer of glip-nano: a label becomes the names that it means, "automobile" -> [car], and then its word pieces.

    [CLS] car auto ##mobile . bird cat dog horse ... animal . [UNKNOWN] stethoscope [SEP]

The indices: bert-base-uncased's word pieces, [UNKNOWN] after them, then the names in the lexicon's order. A label's
tokens are its names, or [UNKNOWN] where it means none of them; which of a text are the word pieces of one label, the
full stops tell. So what is built on tokens (chunks, training, `--explain`) reads it as any text.

Of a caption the parts that are asked for are read, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import tokenizers

from glip_cli.prompts.lexicon import Lexicon, content, normalised
from glip_cli.prompts.tokenizer import BEGIN, END, Encoded, TokenizedPrompt, Tokenizer, load_backend, token_id
from glip_cli.types import Prompt, Span
from glip_cli.utils.text_format import listed, quoted

MODEL = "glip-nano"
NOTHING = "[UNKNOWN]"  # no [UNK]: the word pieces are known, the meaning is not
WINDOW = 1024
PIECES = Path(__file__).parents[1] / "assets" / "bert-base-uncased"
STOP = "."
SHOWN = 2  # of the unknown labels, with what is nearest to them

_Token = tuple[int, Span | None, str]


class ConceptTokenizer(Tokenizer):
    """See the module's docstring; build it with `of_lexicon`."""

    window = WINDOW
    reads_definitions = False
    learns_words = True

    def __init__(self, backend: tokenizers.Tokenizer, source: str, lexicon: Lexicon) -> None:
        """`backend` is of bert-base-uncased's word pieces; `source` names it in errors. Raises WeightsError."""
        super().__init__(backend, source)
        self.lexicon = lexicon
        self.unknown_id = super().vocabulary_size
        self.nothing = (self.unknown_id,)
        self._ids = {name: self.unknown_id + index for index, name in enumerate(lexicon.names, 1)}
        self._begin, self._stop, self._end = (token_id(backend, token, source) for token in (BEGIN, STOP, END))

    @classmethod
    def of_lexicon(cls, path: Path) -> ConceptTokenizer:
        """Raises WeightsError."""
        backend, source = load_backend(PIECES)
        return cls(backend, source, Lexicon.load(path))

    @property
    def vocabulary_size(self) -> int:
        return self.unknown_id + 1 + len(self._ids)

    def read(self, prompt: Prompt) -> TokenizedPrompt:
        """The labels in their order; of a label with several spans the first is read."""
        tokens: list[_Token] = [(self._begin, None, BEGIN)]
        label_tokens = []
        for number, ((begin, end), *_) in enumerate(prompt.spans):
            if number:
                before = prompt.spans[number - 1][0][1]
                tokens.append((self._stop, (before, before + 1), STOP))
            names, pieces = self._label(prompt.text[begin:end], begin)
            label_tokens.append(tuple(range(len(tokens), len(tokens) + len(names))))
            tokens += names + pieces
        ids, offsets, words = zip(*tokens, (self._end, None, END), strict=True)
        return TokenizedPrompt(Encoded(ids, offsets, words), tuple(label_tokens))

    def _label(self, text: str, begin: int) -> tuple[list[_Token], list[_Token]]:
        """The names that a label means, and its word pieces, of a text that stands at `begin`."""
        span = (begin, begin + len(text))
        meant = self.lexicon.read(text).concepts
        names: list[_Token] = [(self._ids[name], span, name) for name in meant] or [(self.unknown_id, span, NOTHING)]
        encoded = self.encode(text)
        read = zip(encoded.ids, encoded.offsets, encoded.tokens, strict=True)
        pieces = [
            (index, (begin + at[0], begin + at[1]), word) for index, at, word in read if at and index != self._stop
        ]
        return names, list[_Token](pieces)

    def is_read(self, part: str) -> bool:
        return True

    def end(self, text: str, spans: Sequence[Span], window: int) -> int:
        used, fits = len((BEGIN, END)) - 1, len(text)
        for begin, end in sorted(set(spans), key=lambda span: span[1]):
            used += 1 + sum(map(len, self._label(text[begin:end], begin)))
            if used > window:
                return min(fits, end - 1)
        return fits

    def unread_notes(self, read: Mapping[str, tuple[int, ...]], words: Mapping[str, str]) -> tuple[str, ...]:
        """Labels that are not known, and those of which a part alone is read: colours and the like mean nothing."""
        meant = {label: self.lexicon.read(words.get(label, label)) for label in read}
        unknown = [label for label, ids in read.items() if ids == self.nothing]
        near = [f"{quoted(meant[label].nearest)} to {quoted(label)}" for label in unknown if meant[label].nearest]
        rest = [label for label in read if label not in unknown]
        partly = [label for label in rest if _is_part(words.get(label, label), meant[label].word)]
        notes = []
        if unknown:
            nearest = f"; the nearest that it knows: {', '.join(near[:SHOWN])}" if near else ""
            notes.append(f"{MODEL} does not know {listed(unknown)}{nearest}")
        if partly:
            known_words = dict.fromkeys(meant[label].word for label in partly)
            notes.append(f"{MODEL} reads no more of {listed(partly)} than {listed(known_words)}")
        return tuple(notes)


def _is_part(label: str, word: str) -> bool:
    return len(content(normalised(label))) > len(word.split())
