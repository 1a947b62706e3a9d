"""Boxes stay on their things, in the convention of the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from glip_cli.errors import UsageError
from glip_cli.inference.preprocess import preprocess
from glip_cli.training.transforms import Augmentation, flipped, sub_one, view
from tests.shared import golden

SIZE = st.tuples(st.integers(8, 300), st.integers(8, 300))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def corners(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


@given(SIZE, st.sampled_from([16, 50, 97]), st.sampled_from([80, 200]), st.booleans())
def test_pixels_are_those_of_inference(size: tuple[int, int], shorter: int, longer: int, flip: bool) -> None:
    image = noise(*size)
    mine, known = view(image, corners([]), shorter, longer, flip).prepared, preprocess(image, shorter, longer)
    assert torch.equal(mine.pixels.flip(2) if flip else mine.pixels, known.pixels)
    assert (mine.size, mine.scale) == (known.size, known.scale)


def test_by_hand() -> None:
    """640 x 480 to 800 x 600 (1.25): x2 = 101 ends at pixel 100, which goes to 125; mirrored, 799 - 125 = 674."""
    image, boxes = noise(640, 480), corners([[20, 40, 101, 81]])
    assert view(image, boxes, 600, 800, flip=False).boxes.tolist() == [[25, 50, 125, 100]]
    assert view(image, boxes, 600, 800, flip=True).boxes.tolist() == [[674, 50, 774, 100]]


@given(SIZE, st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5), st.integers(16, 64))
def test_boxes_are_scaled_as_prepare_says(size: tuple[int, int], shares: list[tuple[float, ...]], shorter: int) -> None:
    width, height = size
    low = np.array([[x, y] for x, y, _, _ in shares]).reshape(-1, 2) * [width * 0.4, height * 0.4]
    high = low + 2 + np.array([[x, y] for _, _, x, y in shares]).reshape(-1, 2) * [width * 0.3, height * 0.3]
    boxes = np.concatenate([low, high], axis=1).astype(np.float32)
    made = view(noise(*size), boxes, shorter, 1000, flip=False)
    x, y = made.prepared.scale
    expected = (boxes - [0, 0, 1, 1]) * [x, y, x, y]
    kept = made.kept.numpy()
    np.testing.assert_allclose(made.boxes, expected[kept], rtol=1e-5, atol=1e-4)
    assert set(kept) >= {i for i, box in enumerate(expected) if min(box[2:] - box[:2]) > 1.001}
    assert (made.boxes[:, 2:] - made.boxes[:, :2] > 1).all()


@given(SIZE, st.lists(st.tuples(*[st.integers(0, 290)] * 4), max_size=5))
def test_mirrored_twice_is_nothing(size: tuple[int, int], rows: list[tuple[int, ...]]) -> None:
    boxes = sub_one(corners([list(map(float, row)) for row in rows]), size)
    once = flipped(boxes)
    assert torch.equal(once.as_subclass(Tensor)[:, 1::2], boxes.as_subclass(Tensor)[:, 1::2])
    assert torch.equal(flipped(once).as_subclass(Tensor), boxes.as_subclass(Tensor))


def test_boxes_lie_on_their_things_also_mirrored() -> None:
    """A white block, not resized: the sub-one box goes from its first to its last pixel."""
    image = Image.new("RGB", (64, 48))
    image.paste((255, 255, 255), (10, 6, 30, 20))
    for flip in (False, True):
        made = view(image, corners([[10, 6, 30, 20]]), 48, 64, flip)
        y, x = (made.prepared.pixels[0] > 0).nonzero(as_tuple=True)
        assert made.boxes.tolist() == [[x.min(), y.min(), x.max(), y.max()]]


def test_boxes_of_one_pixel_are_left_out() -> None:
    """After the resize, less the far corner: what is one pixel wide or high there teaches nothing."""
    made = view(noise(100, 100), corners([[0, 0, 50, 50], [0, 0, 5, 50], [0, 0, 3, 50]]), 50, 50, flip=False)
    assert made.kept.tolist() == [0, 1]


def test_boxes_are_those_of_the_reference() -> None:
    """Mmdetection's pipeline on 240 x 320, not resized; image 1 is mirrored (see the losses' README)."""
    stored = np.load(golden("losses/loss-golden-a-main.npz"))
    for i, flip in enumerate((False, True)):
        made = view(noise(320, 240), stored[f"raw_boxes{i}"].astype(np.float32), 240, 320, flip)
        np.testing.assert_allclose(made.boxes, stored[f"gt_boxes{i}"], atol=1e-4)


@pytest.mark.parametrize(
    "text",
    ["dog on the right.", "left-handed man", "leftward arrow", "turn_left"],
)
def test_texts_that_tell_left_from_right_are_never_mirrored(text: str) -> None:
    usual = Augmentation.of_size((32, 64))
    assert not any(
        usual.view(noise(40, 40), corners([]), text, np.random.default_rng(seed)).flipped for seed in range(30)
    )


@pytest.mark.parametrize("text", ["a bright star", "two cleft rocks. upright", ""])
def test_texts_that_do_not_are_mirrored(text: str) -> None:
    usual = Augmentation.of_size((32, 64))
    seen = {usual.view(noise(40, 40), corners([]), text, np.random.default_rng(seed)).flipped for seed in range(30)}
    assert seen == {False, True}


def test_sides_are_the_five_of_the_reference() -> None:
    usual = Augmentation.of_size((800, 1333))
    assert (usual.sides, usual.longer, usual.flip) == ((480, 560, 640, 720, 800), 1333, 0.5)
    assert Augmentation.of_size((160, 320)).sides == (96, 112, 128, 144, 160)


def test_all_sides_are_drawn_and_the_longer_limit_holds() -> None:
    usual = Augmentation.of_size((40, 60))
    views = [usual.view(noise(100, 80), corners([]), "", np.random.default_rng(seed)) for seed in range(60)]
    assert {view.prepared.pixels.shape[1] for view in views} == {24, 28, 32, 36, 40}
    wide = [usual.view(noise(200, 50), corners([]), "", np.random.default_rng(seed)) for seed in range(9)]
    assert {view.prepared.pixels.shape[2] for view in wide} == {60}
    plain = Augmentation((30,), 60, flip=0)
    assert not any(plain.view(noise(9, 9), corners([]), "", np.random.default_rng(i)).flipped for i in range(30))


def test_draws_do_not_hang_on_the_text() -> None:
    """So that what follows in the stream stays the same."""
    states = []
    for text in ("left", "up"):
        rng = np.random.default_rng(4)
        Augmentation.of_size((40, 60)).view(noise(50, 50), corners([]), text, rng)
        states.append(rng.random())
    assert states[0] == states[1]


def test_sizes_that_a_person_chose() -> None:
    """GLIP-T's are 480 .. 800 and 1333, in steps of a tenth; what is not given stays."""
    size = (800, 1333)
    assert Augmentation.of_size(size) == Augmentation((480, 560, 640, 720, 800), 1333)
    assert Augmentation.of_size(size, (320, 400)) == Augmentation((320, 400), 1333)
    assert Augmentation.of_size(size, (), 1000) == Augmentation((480, 560, 640, 720, 800), 1000)
    assert Augmentation.of_size(size, (320, 400), 500) == Augmentation((320, 400), 500)
    with pytest.raises(UsageError, match=r"^size 1600: the shorter side, but the longer one has at most 1333 pixels"):
        Augmentation.of_size(size, (800, 1600))


def test_images_get_the_sides_that_were_chosen() -> None:
    one, rng = Augmentation.of_size((800, 1333), (64, 96), 120), np.random.default_rng(0)
    views = [one.view(Image.new("RGB", (200, 100)), np.zeros((0, 4), np.float32), "a cat", rng) for _ in range(20)]
    assert {tuple(view.prepared.pixels.shape) for view in views} == {(3, 60, 120)}  # the longer side decides
    views = [one.view(Image.new("RGB", (100, 100)), np.zeros((0, 4), np.float32), "a cat", rng) for _ in range(20)]
    assert {tuple(view.prepared.pixels.shape) for view in views} == {(3, 64, 64), (3, 96, 96)}
