"""The caption under an image: every letter of it, inside the image's width, each phrase on its box's colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glip_cli.outputs import caption_image
from glip_cli.outputs.caption_image import CaptionPiece, add_caption, words_of, wrap
from glip_cli.outputs.colours import palette_colours
from glip_cli.outputs.draw import annotate
from glip_cli.outputs.images import AnnotatedImages
from glip_cli.outputs.records import record
from glip_cli.types import Detections, Span

CAPTION = "Two cats and a remote's button.\nThe cats sleep"
PLACES: tuple[tuple[Span, ...], ...] = (((4, 8), (36, 40)), ((13, 21),), ((24, 30),))


def found(
    label_ids: list[int],
    size: tuple[int, int] = (400, 60),
    text: str = CAPTION,
    all_spans: tuple[tuple[Span, ...], ...] = PLACES,
) -> Detections:
    count = len(label_ids)
    labels = tuple(text[spans[0][0] : spans[0][1]] for spans in all_spans)
    return Detections(
        boxes=np.array([[1, 1, 9, 9]] * count, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.3, count, dtype=np.float32),
        label_ids=np.array(label_ids, np.int64),
        labels=labels,
        spans=tuple(spans[0] for spans in all_spans),
        text=text,
        size=size,
        all_spans=all_spans,
    )


def strip(image: Image.Image, height: int) -> np.ndarray:
    """What was put below the first `height` lines: uint8 [h, w, 3]."""
    return np.asarray(image)[height:]


def pixels(area: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((area == np.array(colour, np.uint8)).all(-1).sum())


# ----------------------------------------------------------------------------------------------------- images


def test_phrases_stand_on_the_colour_of_their_boxes() -> None:
    """A phrase that comes back is marked each time; one without a box is grey."""
    image = Image.new("RGB", (400, 60), "black")
    red, blue, yellow = palette_colours("bright", 3)
    below = strip(add_caption(image, found([0, 0, 2])), 60)
    assert pixels(below, red) > 3 * pixels(below, yellow) / 4 > 50
    assert pixels(below, blue) == 0
    assert pixels(below, caption_image._NOT_FOUND) > 50
    once = strip(add_caption(image, found([0], all_spans=(((4, 8),), *PLACES[1:]))), 60)
    assert 1.9 < pixels(below, red) / pixels(once, red) < 2.1


def test_the_palette_is_that_of_the_boxes() -> None:
    below = strip(add_caption(Image.new("RGB", (400, 60)), found([0]), "lime,navy"), 60)
    assert pixels(below, (0, 255, 0)) > 50
    assert pixels(below, (0, 0, 128)) == 0


def test_the_image_stays_as_it_was() -> None:
    image = annotate(Image.new("RGB", (400, 60), "grey"), found([0, 1]))
    whole = add_caption(image, found([0, 1]))
    assert whole.width == image.width
    assert np.array_equal(np.asarray(whole)[:60], np.asarray(image))


@pytest.mark.parametrize("size", [(100, 80), (100, 3000), (640, 480), (8000, 6000), (8000, 100), (61, 1)])
def test_any_size(size: tuple[int, int]) -> None:
    """Nothing is drawn over the right edge, and the last line is inside."""
    whole = add_caption(Image.new("RGB", size, "black"), found([0, 1, 2], size))
    assert whole.width == size[0]
    assert whole.height > size[1]
    below = strip(whole, size[1])
    assert (below[:, -1] == 255).all()
    assert (below[-1] == 255).all()
    assert (below != 255).any()


def test_a_stamp_is_too_small_for_words() -> None:
    image = Image.new("RGB", (40, 40))
    assert add_caption(image, found([0], (40, 40))) is image


def test_a_book_is_cut_and_a_jpeg_can_hold_the_rest() -> None:
    text = "cat " * 6_000
    for size in ((100, 100), (100, 64_900), (100, 64_995)):
        whole = add_caption(Image.new("RGB", size), found([0], size, text, (((0, 3),),)))
        assert whole.height <= 65_500
        assert whole.height <= max(2 * size[1], size[1] + 200) + 20


def test_only_captions_are_written_below() -> None:
    image, labels = Image.new("RGB", (400, 60)), found([0])
    plain = Detections(labels.boxes, labels.scores, labels.label_ids, labels.labels, labels.spans, CAPTION, (400, 60))
    images = AnnotatedImages(folder=Path("x"))
    assert images.draw(image, labels).height > 60
    assert np.array_equal(np.asarray(images.draw(image, plain)), np.asarray(annotate(image, plain)))


# ------------------------------------------------------------------------------------------------------- layout


def test_words_know_their_phrases() -> None:
    words = words_of(found([0]))
    assert words[:2] == [(CaptionPiece("Two", None),), (CaptionPiece("cats", (0, 0)),)]
    assert words[4] == (CaptionPiece("remote", (1, 0)), CaptionPiece("'s", None))
    assert words[5] == (CaptionPiece("button", (2, 0)), CaptionPiece(".", None))
    assert words[7] == (CaptionPiece("cats", (0, 1)),)


def test_where_phrases_overlap_the_found_one_is_seen() -> None:
    places: tuple[tuple[Span, ...], ...] = (((4, 8),), ((0, 12),))
    assert [word[0].phrase for word in words_of(found([1], all_spans=places))][:3] == [(1, 0)] * 3
    assert [word[0].phrase for word in words_of(found([0], all_spans=places))][:3] == [(1, 0), (0, 0), (1, 0)]


spans = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=60)
@given(st.text(min_size=61, max_size=90), st.lists(st.lists(spans, min_size=1, max_size=3).map(tuple), min_size=1,
       max_size=3), st.integers(12, 400))  # fmt: skip
def test_every_letter_is_written_once_and_inside(text: str, places: list[tuple[Span, ...]], width: int) -> None:
    words = words_of(found([0], text=text, all_spans=tuple(places)))
    assert "".join(piece.text for word in words for piece in word) == "".join(text.split())
    pen = caption_image._Pen(caption_image.font_for("abc", 12), 12, 3)
    lines = wrap(words, pen, width)
    assert "".join(piece.text for line in lines for word in line for piece in word) == "".join(text.split())
    for line in lines:
        length = sum(map(pen.room, line)) + (len(line) - 1) * pen.width(" ")
        assert length <= width or len(line) == len(line[0]) == len(line[0][0].text) == 1


# -------------------------------------------------------------------------------------------------------- records


def test_a_record_of_a_caption_has_every_span() -> None:
    made = record("a.jpg", found([0, 1]), "m")
    assert made["prompt"] == CAPTION
    assert made["spans"] == [[[4, 8], [36, 40]], [[13, 21]], [[24, 30]]]
    for label, places in zip(made["labels"], made["spans"], strict=True):
        assert {CAPTION[begin:end] for begin, end in places} == {label}
    assert [detection["span"] for detection in made["detections"]] == [[4, 8], [13, 21]]


def test_places_belong_to_labels() -> None:
    with pytest.raises(ValueError, match="lists of spans"):
        Detections(*[np.zeros(s, t) for s, t in (((0, 4), "f4"), (0, "f4"), (0, "i8"))], ("cat",), ((0, 3),), "cat",
                   (9, 9), all_spans=(((0, 3),), ((0, 3),)))  # fmt: skip
