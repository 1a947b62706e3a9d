"""Images: nothing crashes on odd sizes and boxes, labels stay inside and apart, colours can be told apart."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from glip_cli.errors import UsageError
from glip_cli.outputs import draw, fonts
from glip_cli.outputs.colours import PALETTES, box_colours, palette_colours
from glip_cli.outputs.draw import Rect, annotate, place_tags, save_crops
from glip_cli.types import Detections

Boxes = list[list[float]]


def detections(boxes: Boxes, size: tuple[int, int], labels: tuple[str, ...] = ("cat", "remote")) -> Detections:
    count = len(boxes)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.3, count, dtype=np.float32),
        label_ids=np.arange(count, dtype=np.int64) % len(labels),
        labels=labels,
        spans=tuple((0, 1) for _ in labels),
        text=" . ".join(labels),
        size=size,
    )


def blank(size: tuple[int, int], colour: str = "grey") -> Image.Image:
    return Image.new("RGB", size, colour)


def same(a: Image.Image, b: Image.Image) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


# --- annotate


def test_without_detections_the_image_is_as_it_was() -> None:
    image = blank((64, 48))
    drawn = annotate(image, detections([], image.size))
    assert same(drawn, image)
    assert drawn is not image


def test_the_given_image_is_not_drawn_on() -> None:
    image = blank((64, 48))
    annotate(image, detections([[5, 20, 40, 40]], image.size))
    assert same(image, blank((64, 48)))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (10, 12), (100, 80), (640, 480), (4000, 100)])
@pytest.mark.parametrize("ground", ["white", "black"])
def test_boxes_show_on_images_of_any_size(size: tuple[int, int], ground: str) -> None:
    width, height = size
    box = [0.2 * width, 0.3 * height, 0.8 * width, 0.9 * height]
    drawn = annotate(blank(size, ground), detections([box], size))
    assert drawn.size == size
    assert not same(drawn, blank(size, ground))


@pytest.mark.parametrize(
    "box",
    [
        [10, 10, 10, 10],
        [10, 10, 10.2, 40],
        [-0.9, -0.9, 64.9, 48.9],
        [-50, -50, -10, -10],
        [100, 100, 200, 200],
        [63.9, 47.9, 64, 48],
        [-1e9, 0, 1e9, 10],
    ],
)
def test_degenerate_boxes_do_no_harm(box: list[float]) -> None:
    assert annotate(blank((64, 48)), detections([box], (64, 48))).size == (64, 48)


@pytest.mark.parametrize("colour", PALETTES["bright"])
def test_a_box_shows_on_its_own_colour(colour: str) -> None:
    image = blank((100, 100), colour)
    inside = (slice(50, 70), slice(5, 95))  # beside the label
    drawn = annotate(image, detections([[10, 30, 90, 90]], image.size), palette=[colour])
    change = np.abs(np.asarray(drawn, int)[inside] - np.asarray(image, int)[inside]).sum(axis=-1)
    assert change.max() > 60


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_a_image_of_another_mode_becomes_rgb(mode: str) -> None:
    assert annotate(blank((64, 48)).convert(mode), detections([[5, 5, 40, 40]], (64, 48))).mode == "RGB"


def test_the_best_box_is_on_top() -> None:
    size = (400, 300)
    drawn = annotate(blank(size), detections([[100, 100, 300, 200]] * 2, size), palette=["red", "blue"])
    assert drawn.getpixel((300 - 1, 150)) == (255, 0, 0)


@pytest.mark.parametrize(
    "label",
    [
        "",
        " ",
        "a\nb\tc",
        "{0.__class__} %s",
        "x" * 400,
        "собака",
        "自転車",
        "شاحنة",
        "हिन्दी",
        "🐶👨‍👩‍👧",
        "\ufffe",
        "e\u0301",
        "\udcff",
    ],
)
def test_any_label_is_drawn(label: str) -> None:
    drawn = annotate(blank((200, 150)), detections([[20, 60, 150, 120]], (200, 150), (label,)))
    assert drawn.size == (200, 150)


@given(
    st.lists(st.lists(st.floats(-50, 400, width=32), min_size=4, max_size=4), max_size=12),
    st.integers(1, 300),
    st.integers(1, 300),
)
@settings(max_examples=40, deadline=None)
def test_any_boxes_are_drawn(boxes: Boxes, width: int, height: int) -> None:
    annotate(blank((width, height)), detections(boxes, (width, height)))


def test_neighbours_of_a_label_are_told_apart() -> None:
    """Three shades from left to right, whatever the scores; the label's own where it is alone; a tag is as its box."""
    size = (600, 200)
    boxes = [[210, 50, 300, 150], [10, 50, 100, 150], [410, 50, 500, 150]]
    found = detections(boxes, size, ("person",))
    (red,) = palette_colours("bright", 1)
    middle, left, right = colours = box_colours(found, "bright")
    assert left == red
    assert len({left, middle, right}) == 3
    assert box_colours(detections(boxes[:1], size), "bright") == [red]
    assert box_colours(found, "red") == box_colours(found, ["red"]) == [(255, 0, 0)] * 3
    pixels = np.asarray(annotate(blank(size), found))
    for (x1, y1, x2, y2), colour in zip(boxes, colours, strict=True):
        tag = pixels[y1 - 15 : y1 - 4, x1 + 4 : x1 + 40].reshape(-1, 3)
        assert (pixels[y2 - 1, x1 + 20 : x2 - 20] == colour).all()
        assert (tag == colour).all(axis=1).mean() > 0.4


# --- places of labels


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_labels_stay_inside_the_image(data: st.DataObject) -> None:
    image = data.draw(st.tuples(st.integers(1, 500), st.integers(1, 500)))
    boxes, tags = [], []
    for _ in range(data.draw(st.integers(0, 15))):
        x, y = data.draw(st.integers(0, image[0] - 1)), data.draw(st.integers(0, image[1] - 1))
        boxes.append(Rect(x, y, data.draw(st.integers(x + 1, image[0])), data.draw(st.integers(y + 1, image[1]))))
        tags.append((data.draw(st.integers(1, 200)), data.draw(st.integers(1, 40))))
    for place, tag in zip(place_tags(boxes, tags, image), tags, strict=True):
        if place is None:
            assert tag[0] > image[0] or tag[1] > image[1]
        else:
            assert 0 <= place.left < place.right <= image[0]
            assert 0 <= place.top < place.bottom <= image[1]
            assert (place.right - place.left, place.bottom - place.top) == tag


@pytest.mark.parametrize("count", [2, 4, 6])
def test_labels_of_one_and_the_same_box_avoid_each_other(count: int) -> None:
    places = place_tags([Rect(100, 100, 300, 250)] * count, [(80, 20)] * count, (400, 350))
    for a, b in combinations([place for place in places if place], 2):
        assert min(a.right, b.right) <= max(a.left, b.left) or min(a.bottom, b.bottom) <= max(a.top, b.top)


def test_a_label_sits_on_its_box_and_not_on_a_small_neighbour() -> None:
    assert place_tags([Rect(50, 50, 150, 150)], [(60, 20)], (300, 300)) == [Rect(50, 30, 110, 50)]
    (first, _) = place_tags([Rect(50, 50, 90, 70), Rect(50, 28, 90, 48)], [(60, 20)] * 2, (300, 300))
    assert first == Rect(50, 70, 110, 90)


@pytest.mark.parametrize("label", ["word " * 100, "x" * 300])
def test_a_label_as_wide_as_a_novel_is_cut_and_keeps_its_score(label: str) -> None:
    tag = draw._tag(label, 0.5, draw.Sizes(line=2, letter=12, padding=3), (160, 100))
    assert tag.size[0] <= 160
    name, score = tag.parts
    assert (name.text[-1], score.text) == ("…", "0.50")
    assert len(name.text) > 10


@pytest.mark.parametrize("width", [1, 30, 60, 61, 62, 63, 64, 160, 640])
def test_a_label_is_cut_no_more_than_it_must_be(width: int) -> None:
    """Found by halving, which must be what cutting letter by letter finds."""
    label, font = "a few words and more of them", fonts.font_for("a", 12)
    fitting = [
        cut
        for length in range(1, len(label) + 1)
        if font.getlength(cut := label if length == len(label) else f"{label[:length].rstrip()}…") <= width
    ]
    assert draw.shorten_to_width(label, font, width) == (fitting[-1] if fitting else "")


def test_a_label_without_end_is_cut_before_it_is_measured() -> None:
    tag = draw._tag("x" * 10_000_000, 0.5, draw.Sizes(line=2, letter=12, padding=3), (160, 100))
    assert tag.size[0] <= 160
    assert [part.text[-2:] for part in tag.parts] == ["x…", "50"]


@given(st.lists(st.tuples(*[st.integers(0, 90)] * 2, *[st.integers(1, 60)] * 2), max_size=12))
@settings(max_examples=40, deadline=None)
def test_places_hide_the_least_of_those_there_are(rects: list[tuple[int, int, int, int]]) -> None:
    """What only looks at things nearby finds what counting every pixel of every thing finds."""
    image, tag = (150, 150), (30, 12)
    boxes = [Rect(x, y, x + w, y + h) for x, y, w, h in rects]
    taken: list[Rect] = []
    for box, place in zip(boxes, place_tags(boxes, [tag] * len(boxes), image), strict=True):
        small = [other for other in boxes if (other.right - other.left) * (other.bottom - other.top) < 4 * 30 * 12]
        costs = [
            4 * sum(hidden(one, other) for other in taken) + sum(hidden(one, other) for other in small)
            for one in draw._candidates(box, tag, image)
        ]
        assert place == draw._candidates(box, tag, image)[costs.index(min(costs))]
        taken.append(place)


def hidden(a: Rect, b: Rect) -> int:
    width, height = min(a.right, b.right) - max(a.left, b.left), min(a.bottom, b.bottom) - max(a.top, b.top)
    return max(width, 0) * max(height, 0)


# --- colours


@pytest.mark.parametrize("palette", ["bright", "okabe-ito"])
def test_neighbours_differ(palette: str) -> None:
    colours = palette_colours(palette, 200 if palette == "bright" else 7)
    for a, b in pairwise(colours):
        assert sum(abs(x - y) for x, y in zip(a, b, strict=True)) > 120


def test_twenty_labels_have_twenty_colours() -> None:
    assert len(set(palette_colours("bright", 20))) == 20
    assert len(set(palette_colours("bright", 1200))) > 1000


def test_colours_of_ones_own() -> None:
    assert palette_colours("red, #00ff00,hsl(240,100%,50%)", 4) == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0)]
    assert palette_colours(["#11223344"], 2) == [(17, 34, 51)] * 2


@pytest.mark.parametrize("palette", ["mauve-ish", "", "red,nope", [], "rgb("])
def test_a_palette_that_is_none(palette: str | list[str]) -> None:
    with pytest.raises(UsageError, match="palette"):
        palette_colours(palette, 3)


# --- fonts


def test_ascii_looks_the_same_everywhere() -> None:
    assert fonts._best_path(frozenset(map(chr, range(33, 127)))) is None


def test_a_font_that_has_the_letters_is_found() -> None:
    letters = frozenset("собака")
    if all(fonts._covered(path, letters) < len(letters) for path in fonts._system_fonts()):
        pytest.skip("no font with Cyrillic is installed")
    assert fonts._covered(fonts._best_path(letters), letters) == len(letters)


def test_a_letter_that_no_font_has_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ("/no/such/font.ttf",))
    assert isinstance(fonts.font_for("\U000e0fff犬", 20), ImageFont.FreeTypeFont | ImageFont.ImageFont)


def test_files_that_are_no_fonts_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ttf").write_bytes(b"no font")
    (tmp_path / "b.txt").touch()
    monkeypatch.setattr(fonts, "_font_folders", lambda: [tmp_path, tmp_path / "missing"])
    fonts._system_fonts.cache_clear()
    try:
        assert fonts._system_fonts() == (str(tmp_path / "a.ttf"),)
        assert fonts._covered(str(tmp_path / "a.ttf"), frozenset("a")) == 0
    finally:
        fonts._system_fonts.cache_clear()


# --- crops


def test_crops_are_the_boxes(tmp_path: Path) -> None:
    image = Image.fromarray(np.indices((48, 64)).sum(0).astype(np.uint8)).convert("RGB")
    found = detections([[10.4, 5.6, 30.2, 20.1], [50, 40, 99, 99], [70, 0, 80, 9]], image.size, ("a/b", "..", "con"))
    save_crops(image, found, tmp_path, "photo")
    with Image.open(tmp_path / "a_b/photo-0.jpg") as first, Image.open(tmp_path / "_/photo-1.jpg") as second:
        assert (first.size, second.size) == ((21, 16), (14, 8))
        assert abs(first.getpixel((0, 0))[0] - 15) < 4
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["photo-0.jpg", "photo-1.jpg"]
