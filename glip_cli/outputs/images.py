"""The images that a run saves: each image with its boxes, what is inside each box, and thumbnails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from glip_cli.errors import ImageError, OutputError, UsageError
from glip_cli.outputs.caption_image import add_caption
from glip_cli.outputs.colours import palette_colours
from glip_cli.outputs.draw import annotate, save_crops
from glip_cli.outputs.files import atomic_write
from glip_cli.outputs.records import as_recorded
from glip_cli.types import Detections
from glip_cli.utils.marks import MARK
from glip_cli.utils.text_format import path_of_shown

JPEG_QUALITY = 92


@dataclass(frozen=True)
class AnnotatedImages:
    """Which to save, and where. Raises UsageError for a palette that cannot be meant."""

    folder: Path
    drawn: bool = False  # vis/NAME.jpg, the image with its boxes
    crops: bool = False  # crops/LABEL/NAME..., the content of each box
    palette: str = "bright"
    thumbnails: bool = False  # thumbnails/NAME.jpg, the image alone, small

    def __post_init__(self) -> None:
        palette_colours(self.palette, 1)  # a wrong one is refused before the work

    @property
    def folders(self) -> tuple[Path, Path, Path]:
        """The folders of the three kinds of images."""
        return self.folder / "vis", self.folder / "crops", self.folder / THUMBNAILS

    @property
    def any(self) -> bool:
        return self.drawn or self.crops or self.thumbnails

    @property
    def kinds(self) -> list[str]:
        """The kinds of images that the user requested."""
        return ["vis"] * self.drawn + ["crops"] * self.crops

    def save(
        self, image: Image.Image, detections: Detections, name: str, image_name: str, in_video: bool = False
    ) -> None:
        """Write what is wanted of one image. Raises OSError.

        Args:
            name: what the files are called, without suffix.
            image_name: what records call the image.
            in_video: it is a frame of a video, and drawn there.
        """
        if self.drawn and not in_video:
            with atomic_write(self.folders[0] / f"{name}.jpg") as stream:
                self.draw(image, detections).save(stream, "JPEG", quality=JPEG_QUALITY, comment=MARK + b"drawn")
        if self.crops:
            save_crops(image, as_recorded(detections), self.folders[1], name)
        if self.thumbnails:
            save_thumbnail(image, self.folders[2] / f"{name}.jpg", image_name)

    def draw(self, image: Image.Image, detections: Detections) -> Image.Image:
        return plot(image, detections, self.palette)


def save_detections(detections: Detections, path: Path) -> None:
    """Write the record as .json, or the image in the format that its suffix names. Raises UsageError, OutputError."""
    form = Image.registered_extensions().get(path.suffix.lower())
    is_json = path.suffix.lower() == ".json"
    if not is_json and form not in Image.SAVE:
        raise UsageError(f"{path}: its suffix names no format; end it in .jpg, .png or .json")
    content = None if is_json else detections.plot()
    try:
        with atomic_write(path) as stream:
            if content:
                content.save(stream, form, quality=JPEG_QUALITY)
            else:
                stream.write(json.dumps(detections.to_dict(), ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


def plot(
    image: Image.Image, detections: Detections, palette: str | Sequence[str] = "bright", names: Sequence[str] = ()
) -> Image.Image:
    """The image with its boxes; below it the caption, where the prompt was one. Drawn is what the record says.

    `names`: what is written at each box, where that is not its label.
    """
    detections = as_recorded(detections)
    drawn = annotate(image, detections, palette, names)
    return add_caption(drawn, detections, palette) if detections.all_spans else drawn


# ----------------------------------------------------------------------------------------------------------- thumbnails
# Small JPEG files of images, for pages that show many at once. Each holds the name of its image, as a comment.


THUMBNAILS = "thumbnails"
"""Their folder."""
ReadImage = Callable[[str], Image.Image]
"""From a path to an upright image in RGB; raises ImageError."""
SIDE = 320  # pixels of the longer side, at most
QUALITY = 80
_COMMENT_BYTES = 4000  # JPEG has room for 65,533


def save_thumbnail(image: Image.Image, path: Path, name: str) -> None:
    """Write `image`, upright RGB, as a thumbnail of the image called `name`. Raises OSError."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    with atomic_write(path) as stream:
        small.save(stream, "JPEG", quality=QUALITY, comment=_comment(name))


def is_thumbnail_of(path: Path, name: str) -> bool:
    """Whether there is one, and of the image called `name`, not of another that an earlier run called so."""
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            return image.info.get("comment") == _comment(name)
    except (OSError, SyntaxError, ValueError):
        return False


def _comment(name: str) -> bytes:
    return MARK + name.encode("utf-8", "backslashreplace")[:_COMMENT_BYTES]


class Thumbnails:
    """The thumbnails of a run, in `thumbnails/` of its folder.

    They are written while the images are at hand. One that is missing is made from the image's file, where there is
    one that `read_image` can read; images of the web then get none.
    """

    def __init__(self, folder: Path, read_image: ReadImage | None = None) -> None:
        self._folder, self._read = folder / THUMBNAILS, read_image

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.jpg"

    def has(self, image: str, name: str) -> bool:
        """Whether there is one of the image that records call `image`, made now where it can be. Raises OSError."""
        path = self.path(name)
        if is_thumbnail_of(path, image):
            return True
        file = path_of_shown(image)
        if self._read is None or not os.path.isfile(file):
            return False
        try:
            save_thumbnail(self._read(file), path, image)
        except ImageError:
            return False
        return True
