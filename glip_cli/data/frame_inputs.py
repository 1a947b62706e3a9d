"""Files that hold several images: from one input to an input for each frame, in order, one at a time.

A file is decoded in the order of its frames by whoever takes the next input; nothing is listed ahead. So at most the
frames that are in somebody's hands are in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from glip_cli.data.image_files_below import VIDEO_SUFFIXES
from glip_cli.errors import ImageError, without_frames
from glip_cli.utils.frames import Clip, frame_name

if TYPE_CHECKING:
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
    """How many images they are; None where frames would have to be counted, which takes decoding them."""
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
        from glip_cli.data.video import read_video

        found = read_video(source.location, source.name, choice.every)
    elif choice.all and _holds_several(source):
        found = _image_frames(source, choice.every)
    else:
        yield source
        return
    after = 0
    try:
        for frame in found:
            after = frame.number + 1
            yield replace(source, name=frame_name(source.name, frame.number), frame=frame)
    except ImageError as error:
        name = frame_name(source.name, after) if after else source.name
        yield replace(source, name=name, frame=Frame(after, _raises(without_frames(error))))


def _holds_several(source: ImageInput) -> bool:
    """False too for what cannot be read, which fails by itself when its turn comes."""
    from glip_cli.data.image_io import holds_several

    try:
        return holds_several(source.open(), source.name)
    except (ImageError, OSError):
        return False


def _image_frames(source: ImageInput, every: int) -> Iterator[Frame]:
    from glip_cli.data.image_io import read_frames

    for number, image in read_frames(source.open(), source.name, every):
        yield Frame(number, lambda image=image: image)  # type: ignore[misc]


def _raises(error: ImageError) -> Callable[[], Image.Image]:
    def image() -> Image.Image:
        raise error

    return image
