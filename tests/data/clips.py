"""Videos and files of several images, made here: a red square that moves over grey."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

SIZE = (96, 64)


def draw(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """The square's left edge is at 2 * `number` pixels."""
    pixels = np.full((size[1], size[0], 3), 128, np.uint8)
    left = 2 * number % (size[0] - 20)
    pixels[20:40, left : left + 20] = (230, 20, 20)
    return Image.fromarray(pixels)


def make_clip(
    path: Path,
    count: int = 12,
    codec: str = "libx264",
    rate: int = 10,
    times: list[float] | None = None,
    key: int = 4,
    form: str | None = None,
) -> Path:
    """`count` frames at `rate` per second, or at `times`; every `key`-th is a keyframe."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    base = Fraction(1, 1000 if times else rate)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.thread_count = key, 1
        stream.codec_context.time_base = base
        for number in range(count):
            frame = av.VideoFrame.from_image(draw(number))
            frame.time_base = base
            frame.pts = round((times[number] if times else number / rate) / base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def square_left(image: Image.Image) -> int:
    """Where the red square begins."""
    red = np.asarray(image)[30, :, 0].astype(int) - np.asarray(image)[30, :, 1]
    return int(np.flatnonzero(red > 100)[0])
