"""Reading an image in a long run: what may pass is tried again, and an error says whose it may be."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import Image

from glip_cli.data.image_io import FRAMES, read_bytes, read_image
from glip_cli.data.sources import ImageInput
from glip_cli.errors import GlipError, ImageError, UnavailableError
from glip_cli.outputs.records import ErrorRecord, error_record
from glip_cli.utils.threads import PAUSES

GIVE_UP = 8  # images in a row that no further try could get: then there is none; or that hung: then the run ends

T = TypeVar("T")


class ImageReader:
    """Reads images; threads may share it. Raises ImageError; GlipError where no image can be read any more."""

    def __init__(self) -> None:
        self._several, self._example = 0, ""
        self._lost = self._hung = 0  # in a row

    def __call__(self, source: ImageInput) -> Image.Image:
        image = self._patiently(read_image, source)
        if (count := image.info.get(FRAMES)) and source.frame is None:
            self._several += 1
            self._example = self._example or f"{source.name} {count}"
        return image

    def file(self, source: ImageInput) -> bytes:
        """The bytes of its file, not decoded."""
        return self._patiently(read_bytes, source)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the images."""
        if not self._several:
            return ()
        hold = "image holds" if self._several == 1 else "images hold"
        return (f"{self._several} {hold} several frames ({self._example}), of which the first is read: --frames all "
                "of detect and batch reads all",)  # fmt: skip

    def _patiently(self, read: Callable[[bytes | Path | Image.Image, str], T], source: ImageInput) -> T:
        pauses = list(PAUSES) if self._lost < GIVE_UP else []
        while True:
            try:
                image = read(source.open(), source.name)
            except UnavailableError as error:
                self._check(error)
                if not (error.brief and pauses):
                    self._lost += error.brief
                    raise
            else:
                self._lost = self._hung = 0
                return image
            time.sleep(pauses.pop(0))

    def _check(self, error: UnavailableError) -> None:
        """With a disk that is gone, each image would take as long, and none of them be at fault."""
        self._hung += error.hung
        if self._hung >= GIVE_UP:
            raise GlipError(f"{self._hung} images in a row gave no answer, the last {error}; then the same command "
                            "goes on, and --retry-failed tries these again") from None  # fmt: skip


def failed_record(name: str, error: ImageError, model: str) -> ErrorRecord:
    """The record of an image that could not be read; it names this machine where the fault may be the machine's."""
    record = error_record(name, str(error), model)
    if isinstance(error, UnavailableError):
        record["host"] = platform.node()
    return record
