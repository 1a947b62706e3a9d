"""A caption under its image: each phrase on the colour of its boxes, one without a box on grey.

Limits: words run from left to right, and one font draws all of them (see `fonts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from PIL import Image, ImageDraw

from glip_cli.outputs.colours import Colour, ink_on, palette_colours
from glip_cli.outputs.draw import sizes_for
from glip_cli.outputs.fonts import AnyFont, font_for
from glip_cli.types import Detections

_PAPER, _PLAIN, _NOT_FOUND = (255, 255, 255), (70, 70, 70), (222, 222, 222)
_NARROWEST = 60  # pixels of an image's width that still hold words
_LETTERS_PER_LINE = 20  # at least so many on a narrow image, as long as they can be read
_LEAST_LETTER = 9  # pixels
_LINES = 12  # of a caption taller than its image; the rest is left out
_TALLEST = 65_000  # pixels: JPEG ends at 65,535


class CaptionPiece(NamedTuple):
    """Letters without a blank that belong to one phrase; `phrase` is None for those outside of all phrases.

    `phrase` is (label id, number of the span among the label's).
    """

    text: str
    phrase: tuple[int, int] | None


Word = tuple[CaptionPiece, ...]
"""What stands between two blanks; more than one piece where a phrase begins or ends inside, as in "cat's"."""


class _Pen(NamedTuple):
    font: AnyFont
    letter: int  # pixels
    padding: int  # around the words of a phrase, and of the whole

    def width(self, text: str) -> float:
        return float(self.font.getlength(text))

    def room(self, word: Word) -> float:
        """The maximum width of a word, with the padding of each phrase that it touches."""
        return sum(self.width(piece.text) + 2 * self.padding * (piece.phrase is not None) for piece in word)


def add_caption(image: Image.Image, detections: Detections, palette: str | Sequence[str] = "bright") -> Image.Image:
    """`image` with the caption in a strip below it; unchanged if it is too narrow for words.

    Args:
        image: RGB, with its boxes drawn.
        detections: those of a caption; `all_spans` are the spans of its labels.
        palette: as it was given to `draw.annotate`.
    """
    if image.width < _NARROWEST:
        return image
    # as high as the letters at the boxes, and lower on an image too narrow for them
    font_size = min(sizes_for(image.size, 0).letter, max(_LEAST_LETTER, 2 * image.width // _LETTERS_PER_LINE))
    pen = _Pen(font_for(detections.text, font_size), font_size, max(1, round(0.22 * font_size)))
    lines = wrap(words_of(detections), pen, image.width - 2 * pen.padding)
    step = round(1.5 * font_size)
    fitting = (_TALLEST - image.height) // step - 1
    limit = max(min(max(_LINES, image.height // step), fitting), 0)
    if len(lines) > limit > 0:
        lines[limit - 1][-1] = (CaptionPiece("…", None),)
    lines = lines[:limit]
    if not lines:
        return image
    whole = Image.new("RGB", (image.width, image.height + len(lines) * step + 2 * pen.padding), _PAPER)
    whole.paste(image)
    colours = dict(enumerate(palette_colours(palette, len(detections.labels))))
    found = {i: colours[i] for i in set(detections.label_ids.tolist())}
    for number, line in enumerate(lines):
        _draw_line(ImageDraw.Draw(whole), line, image.height + pen.padding + number * step, step, pen, found)
    return whole


def words_of(detections: Detections) -> list[Word]:
    """The caption's words, each letter with its phrase. Where spans overlap, a phrase with a box comes first."""
    text = detections.text
    owners: list[tuple[int, int] | None] = [None] * len(text)
    found = set(detections.label_ids.tolist())
    for label in sorted(range(len(detections.labels)), key=lambda i: (i in found, -i)):
        for number, (begin, end) in enumerate(detections.all_spans[label]):
            owners[begin:end] = [(label, number)] * (min(end, len(text)) - begin)
    letters = [CaptionPiece(letter, owner) for letter, owner in zip(text, owners, strict=True)]
    words = groupby(letters, lambda letter: letter.text.isspace())
    return [tuple(_joined(word)) for blank, word in words if not blank]


def _joined(pieces: Iterable[CaptionPiece]) -> Iterator[CaptionPiece]:
    """Neighbours of one phrase as one piece."""
    for phrase, group in groupby(pieces, lambda piece: piece.phrase):
        yield CaptionPiece("".join(piece.text for piece in group), phrase)


def wrap(words: Iterable[Word], pen: _Pen, width: float) -> list[list[Word]]:
    """Lines of words, none wider than `width` pixels; a word that is wider alone is broken."""
    lines: list[list[Word]] = []
    used = math.inf
    blank = pen.width(" ")
    for word in (part for whole in words for part in _broken(whole, pen, width)):
        room = pen.room(word)
        if used + blank + room > width:
            lines.append([])
            used = -blank
        lines[-1].append(word)
        used += blank + room
    return lines


def _broken(word: Word, pen: _Pen, width: float) -> Iterator[Word]:
    """The word, or its letters in pieces that fit, each of at least one letter."""
    if pen.room(word) <= width:
        yield word
        return
    for text, phrase in word:
        begin = 0
        for end in range(1, len(text) + 1):
            if end == len(text) or pen.room((CaptionPiece(text[begin : end + 1], phrase),)) > width:
                yield (CaptionPiece(text[begin:end], phrase),)
                begin = end


def _draw_line(
    canvas: ImageDraw.ImageDraw, line: list[Word], top: int, step: int, pen: _Pen, found: dict[int, Colour]
) -> None:
    """Words of one phrase stand on one ground, blanks included."""
    x, middle = float(pen.padding), top + step / 2
    for text, phrase in _runs(line):
        if phrase is None:
            canvas.text((x, middle), text, fill=_PLAIN, font=pen.font, anchor="lm")
            x += pen.width(text)
            continue
        colour = found.get(phrase[0], _NOT_FOUND)
        right = x + pen.width(text) + 2 * pen.padding
        ground = (x, top + step * 0.06, right - 1, top + step * 0.94)
        canvas.rounded_rectangle(ground, radius=pen.padding, fill=colour)
        canvas.text((x + pen.padding, middle), text, fill=ink_on(colour), font=pen.font, anchor="lm")
        x = right


def _runs(line: list[Word]) -> Iterator[CaptionPiece]:
    """The pieces of a line with the blanks between words; neighbours of one phrase are one."""
    pieces: list[CaptionPiece] = []
    for word in line:
        if pieces:
            pieces.append(CaptionPiece(" ", pieces[-1].phrase if pieces[-1].phrase == word[0].phrase else None))
        pieces.extend(word)
    return _joined(pieces)
