"""Small JPEG files of images, for pages that show many at once. Each holds the name of its image, as a comment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from glip_cli.errors import ImageError
from glip_cli.outputs.files import atomic_write
from glip_cli.utils.marks import MARK

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
    """Those of a run, in `thumbnails/` of its folder.

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
        if self._read is None or not os.path.isfile(image):
            return False
        try:
            save_thumbnail(self._read(image), path, image)
        except ImageError:
            return False
        return True
