"""Files that hold several images: from one input to an input for each frame, in order, one at a time.

A file is decoded in the order of its frames by whoever takes the next input; nothing is listed ahead. So at most the
frames that are in somebody's hands are in memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from glip_cli.data.image_files_below import VIDEO_SUFFIXES
from glip_cli.errors import ImageError, UnavailableError, without_frames
from glip_cli.utils.frames import Clip, frame_name
from glip_cli.utils.text_format import words_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video import VideoFrame, VideoStream
    from PIL import Image

    from glip_cli.data.sources import ImageInput


@dataclass(frozen=True)
class FrameChoice:
    """Which frames are read.

    Attributes:
        all: of images too, where one file holds several; and of videos that are found in folders.
        every: one of so many, the first included.
    """

    all: bool = False
    every: int = 1


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a file.

    Attributes:
        number: from 0, among all frames of the file.
        image: gives it, upright RGB; raises ImageError.
        time: in a video, seconds after the first frame.
        clip: the video that it is a frame of; None for images.
    """

    number: int
    image: Callable[[], Image.Image]
    time: Fraction | None = None
    clip: Clip | None = None


def is_video(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES


def count_images(sources: Iterable[ImageInput], choice: FrameChoice) -> int | None:
    """The number of images; None where frames would have to be decoded to count them."""
    count = 0
    for source in sources:
        if choice.all or is_video(source.location):
            return None
        count += 1
    return count


def in_frames(source: ImageInput, choice: FrameChoice) -> Iterator[ImageInput]:
    """An input for each frame that is chosen, or `source` itself where it is one image.

    What cannot be decoded further ends with an input whose `open` raises the ImageError.
    """
    if source.is_url and is_video(source.location.split("?")[0]):
        error = ImageError(f"{source.name}: a video behind a URL is not read; download it first")
        yield replace(source, frame=Frame(0, _raises(error)))
        return
    if is_video(source.location) and not source.is_url:
        found = read_video(source.location, source.name, choice.every)
    else:
        source, is_several = _looked_at(source) if choice.all else (source, False)
        if not is_several:
            yield source
            return
        found = _image_frames(source, choice.every)
    after = 0
    try:
        for frame in found:
            after = frame.number + 1
            yield replace(source, name=frame_name(source.name, frame.number), frame=frame, content=None)
    except ImageError as error:
        name = frame_name(source.name, after) if after else source.name
        yield replace(source, name=name, frame=Frame(after, _raises(without_frames(error))))


def _looked_at(source: ImageInput) -> tuple[ImageInput, bool]:
    """With its bytes, where they had to be fetched; and whether it holds several images.

    False too for what cannot be read, which fails by itself when its turn comes.
    """
    from glip_cli.data.image_io import holds_several

    try:
        opened = source.open()
        if isinstance(opened, bytes):
            source = replace(source, content=opened)
        return source, holds_several(opened, source.name)
    except (ImageError, OSError):
        return source, False


def _image_frames(source: ImageInput, every: int) -> Iterator[Frame]:
    from glip_cli.data.image_io import read_frames

    for number, image in read_frames(source.open(), source.name, every):
        yield Frame(number, lambda image=image: image)  # type: ignore[misc]


def _raises(error: ImageError) -> Callable[[], Image.Image]:
    def image() -> Image.Image:
        raise error

    return image


# --------------------------------------------------------------------------------------------------------------- videos
# Decoded frame by frame with PyAV (the extra `video`).


VIDEO_EXTRA = "pip install 'glip-cli[video]'"
_USUAL_RATE = Fraction(25)  # frames per second, where the file does not say
# Whatever the file is called: no playlist, which would name other files or servers.
_CONTAINERS = {"protocol_whitelist": "file", "format_whitelist": "mov,matroska,avi,mpegts,mpeg,m4v,asf,flv,ogg"}
_MOST_PIXELS = 178_956_970  # of a frame, as Pillow has it for images
_SAYS_ITS_LENGTH = ("mp4", "matroska")  # formats whose header has it; of others FFmpeg guesses
_MISSING_SECONDS = 1.0  # at the end: a header may round, and sound may be longer


def read_video(path: str, name: str, every: int = 1) -> Iterator[Frame]:
    """Every `every`-th frame of a video, the first included: upright, each with its time.

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
                ticks, tick = frame.pts, frame.time_base
                time = Fraction(number) / rate if ticks is None or tick is None else ticks * tick
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
def _opened(path: str, name: str) -> Iterator[InputContainer]:
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


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames. Raises ValueError, or an error of PyAV, where the file is damaged or cut short."""
    count, end = 0, Fraction(0)
    for packet in container.demux():  # of all streams: the length is that of the longest
        if packet.pts is not None:
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        for frame in stream.decode(packet) if packet.stream is stream else ():
            if frame.is_corrupt:
                raise ValueError("a part is missing")
            count += 1
            yield frame
    if not count:
        raise ValueError("no frame in it")
    length = (container.duration or 0) / 1e6  # in matroska from 0 as FFmpeg writes it, else from the first time
    if any(name in container.format.name for name in _SAYS_ITS_LENGTH) and end + _MISSING_SECONDS < length:
        raise ValueError(f"cut short, {float(end):.1f} of {length:.1f} s are there")


def _image(frame: VideoFrame, name: str) -> Image.Image:
    """RGB, turned as the file says."""
    try:
        image: Image.Image = frame.to_image()
    except Exception as error:
        raise ImageError(f"{name}: a frame cannot be converted ({_reason(error)}); export it again") from error
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or words_of(error)
