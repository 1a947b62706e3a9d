"""Videos, decoded frame by frame with PyAV (the extra `video`)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from glip_cli.data.frame_inputs import Frame
from glip_cli.errors import ImageError, UnavailableError
from glip_cli.utils.frames import Clip

if TYPE_CHECKING:
    from PIL import Image

VIDEO_EXTRA = "pip install 'glip-cli[video]'"
_USUAL_RATE = Fraction(25)  # frames per second, where the file does not say
# Whatever the file is called: no playlist, which would name other files or servers.
_CONTAINERS = {"protocol_whitelist": "file", "format_whitelist": "mov,matroska,avi,mpegts,mpeg,m4v,asf,flv,ogg"}
_MOST_PIXELS = 178_956_970  # of a frame, as Pillow has it for images
_SAYS_ITS_LENGTH = ("mp4", "matroska")  # formats whose header has it; of others FFmpeg guesses
_MISSING_SECONDS = 1.0  # at the end: a header may round, and sound may be longer


def read_video(path: str, name: str, every: int = 1) -> Iterator[Frame]:
    """Every `every`-th frame of a video, the first included, as it is shown: turned upright, each with its time.

    Frames are decoded one by one, as they are taken. Raises ImageError, also in the middle: the frames before the
    damage have been given then.
    """
    number, first = -1, None
    try:
        with _opened(path, name) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            rate = Fraction(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
            clip = Clip(name, rate / every)
            for number, frame in enumerate(_frames(container, stream)):
                time = Fraction(number) / rate if frame.pts is None else frame.pts * frame.time_base
                first = time if first is None else first
                if number % every == 0:
                    yield Frame(number, partial(_image, frame, name), time - first, clip)
    except ImageError:
        raise
    except FileNotFoundError:
        raise UnavailableError(f"{name}: no such file; check the path") from None
    except PermissionError:
        raise UnavailableError(f"{name}: no permission to read it; change the file's rights") from None
    except Exception as error:  # of FFmpeg: an OSError, a ValueError or neither
        what = f"damaged after frame {number}" if number >= 0 else "not a video that FFmpeg reads, or damaged"
        raise ImageError(f"{name}: {what} ({_reason(error)}); copy or export it again") from error


@contextmanager
def _opened(path: str, name: str) -> Iterator[Any]:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ImageError(f"{name}: not a file; give a video's path")
    try:
        import av
    except ImportError:
        raise ImageError(f"{name}: a video, which needs PyAV: {VIDEO_EXTRA}") from None
    with av.open(path, metadata_errors="replace", options=_CONTAINERS) as container:
        if not container.streams.video:
            raise ImageError(f"{name}: holds no video stream")
        yield container


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """All frames. Raises ValueError, or an error of PyAV, where the file is damaged or cut short."""
    count, end = 0, Fraction(0)
    for packet in container.demux():  # of all streams: the length is that of the longest
        if packet.pts is not None:
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        for frame in packet.decode() if packet.stream is stream else ():
            if frame.is_corrupt:
                raise ValueError("a part is missing")
            count += 1
            yield frame
    if not count:
        raise ValueError("no frame in it")
    length = (container.duration or 0) / 1e6  # in matroska from 0 as FFmpeg writes it, else from the first time
    if any(name in container.format.name for name in _SAYS_ITS_LENGTH) and end + _MISSING_SECONDS < length:
        raise ValueError(f"cut short, {float(end):.1f} of {length:.1f} s are there")


def _image(frame: Any, name: str) -> Image.Image:
    """RGB, turned as the file says."""
    try:
        image: Image.Image = frame.to_image()
    except Exception as error:
        raise ImageError(f"{name}: a frame cannot be converted ({_reason(error)}); export it again") from error
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
