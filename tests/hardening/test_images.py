"""Damaged images of every format that Pillow can write: an image or an ImageError, soon, and never a bomb."""

from __future__ import annotations

import signal
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from glip_cli.data.image_io import read_image
from glip_cli.errors import ImageError
from tests.hardening.mutate import damaged
from tests.hardening.robustness import IMAGES as WHOLE

SECONDS = 20  # for one small image: more is a hang
MOST_PIXELS = 500_000  # an altered size may be an honest gigabyte, which is slow and no fault


@contextmanager
def soon() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise AssertionError("a decoder hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read(data: bytes) -> bool:
    """True where it is an image; any other exception than ImageError goes through."""
    with soon():
        try:
            image = read_image(data, "x.png")
        except ImageError as error:
            return not is_one_line(error)
    assert image.mode == "RGB"
    assert image.width * image.height > 0
    return True


def is_one_line(error: ImageError) -> bool:
    assert "\n" not in str(error)
    assert str(error).startswith("x.png: ")
    return True


def fuzz(kind: str, count: int) -> None:
    @settings(max_examples=count, database=None)
    @given(damaged(WHOLE[kind]))
    def check(data: bytes) -> None:
        read(data)

    check()


@pytest.fixture(autouse=True)
def small_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", MOST_PIXELS)


@pytest.mark.parametrize("kind", WHOLE)
def test_damaged(kind: str) -> None:
    assert read(WHOLE[kind])
    fuzz(kind, 40)


@pytest.mark.long
@pytest.mark.parametrize("kind", WHOLE)
def test_damaged_for_long(kind: str) -> None:
    fuzz(kind, 3000)


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG that says what it likes of its size."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(pixels, 9)) + part(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)]
)
def test_a_bomb_is_refused_before_it_goes_off(monkeypatch: pytest.MonkeyPatch, width: int, height: int) -> None:
    monkeypatch.undo()  # with the limit that people have
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    assert not read(png(width, height, bytes(1_000_000)))


def test_text_that_swells_is_no_bomb_either() -> None:
    """Compressed text in a PNG is let in up to a limit of Pillow's own."""
    swollen = zlib.compress(bytes(100_000_000), 9)
    whole = WHOLE["PNG"]
    content = b"x\0\0" + swollen
    part = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    tracemalloc.start()
    read(whole[:33] + part + whole[33:])
    assert tracemalloc.get_traced_memory()[1] < len(swollen) + 10_000_000
    tracemalloc.stop()


@given(st.binary(max_size=300))
@settings(max_examples=60, derandomize=True)
def test_bytes_behind_the_head_of_a_format(tail: bytes) -> None:
    for whole in WHOLE.values():
        read(whole[:16] + tail)
