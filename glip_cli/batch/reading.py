"""Reading an image in a long run: what may pass is tried again, and an error says whose it may be."""

from __future__ import annotations

import platform
import time

from PIL import Image

from glip_cli.errors import ImageError, UnavailableError
from glip_cli.image import read_image
from glip_cli.output.records import ErrorRecord, error_record
from glip_cli.sources import Source

PAUSES = (0.5, 2.0)  # seconds before each further try
GIVE_UP = 8  # images in a row that no further try could get; from then on there is none


class Reading:
    """Reads images; threads may share it."""

    def __init__(self) -> None:
        self._lost_in_a_row = 0

    def __call__(self, source: Source) -> Image.Image:
        """The image. Raises ImageError."""
        pauses = list(PAUSES)
        while True:
            try:
                image = read_image(source.open(), source.name)
            except UnavailableError as error:
                if not error.brief:
                    raise
                if not pauses or self._lost_in_a_row >= GIVE_UP:
                    self._lost_in_a_row += 1
                    raise
            else:
                self._lost_in_a_row = 0
                return image
            time.sleep(pauses.pop(0))


def failed_record(name: str, error: ImageError, model: str) -> ErrorRecord:
    """The record of an image that could not be read; it names this machine where the fault may be the machine's."""
    record = error_record(name, str(error), model)
    if isinstance(error, UnavailableError):
        record["host"] = platform.node()
    return record
