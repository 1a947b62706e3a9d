"""One image that is still to be read, wherever it lies."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.data.archives import MemberPosition, is_archive, read_member, why_no_image
from glip_cli.data.download import fetch
from glip_cli.data.frame_inputs import Frame
from glip_cli.data.stores import is_stored, read_stored
from glip_cli.errors import ImageError
from glip_cli.utils.frames import Clip
from glip_cli.utils.text_format import one_line, shown_path

if TYPE_CHECKING:
    from PIL import Image

    from glip_cli.outputs.records import Position

_WEB = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class ImageInput:
    """One image that is still to be read.

    Attributes:
        name: what records and errors call it: as typed, or the path as found; always valid Unicode.
        location: a path, or a URL: http(s), or of a store.
        offline: True forbids the network.
        frame: which one of the file; None for the whole.
        member: its position in the file `location`, if that is an archive; see `archives`.
        content: its bytes, where they are at hand.
    """

    name: str
    location: str
    offline: bool = False
    frame: Frame | None = None
    member: MemberPosition | None = None
    content: bytes | None = field(default=None, repr=False)

    @property
    def is_url(self) -> bool:
        return is_url(self.location)

    @property
    def clip(self) -> Clip | None:
        """The video that it is a frame of."""
        return self.frame.clip if self.frame else None

    @property
    def position(self) -> Position:
        """The frame's position, for its record."""
        if self.frame is None:
            return {}
        if self.frame.time is None:
            return {"frame": self.frame.number}
        return {"frame": self.frame.number, "time": round(float(self.frame.time), 6)}

    def open(self) -> bytes | Path | Image.Image:
        """The bytes behind a URL, a path, or the image of a frame: what `read_image` takes.

        Raises:
            UnavailableError: the URL cannot be fetched.
            ImageError: `offline` forbids it, or no such scheme can be fetched; the body is no image; the frame cannot
                be decoded.
            UsageError: the package that reads such a store is missing.
        """
        if self.frame is not None:
            return self.frame.image()
        if self.content is not None:
            return self.content
        if self.is_url and self.offline:
            raise ImageError(f"{self.name}: --offline forbids fetching it; download it first or drop --offline")
        if self.member is not None:
            return read_member(self.location, self.member, self.name)
        if is_web(self.location):
            return fetch(self.location)
        if is_archive(self.location) and not os.path.isdir(self.location):
            raise why_no_image(self.location, self.name)
        if is_stored(self.location):
            return read_stored(self.location, self.name)
        if "://" in self.location and not os.path.lexists(self.location):
            raise ImageError(f"{self.name}: no such file; only http, https, s3, gs and hf can be fetched")
        return Path(self.location)


def shown_file(typed: str, path: str) -> str:
    """The name of a file in records and errors, unique for each file; backslashes typed for slashes stay."""
    return shown_path(typed) if "\\" in path and os.path.lexists(path) else one_line(typed)


def is_url(text: str) -> bool:
    """Whether it is the URL of something on the web or in a store."""
    return is_web(text) or is_stored(text)


def is_web(text: str) -> bool:
    """Whether it is an http(s) URL."""
    return bool(_WEB.match(text))
