"""The interface of an engine: items in, records out, both in the order of the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from glip_cli.data.sources import ImageInput
from glip_cli.outputs.files import FileNames
from glip_cli.outputs.records import AnyRecord
from glip_cli.runs.in_flight import InFlight


@dataclass(frozen=True)
class Item:
    """An image to do.

    Attributes:
        file_name: what the images made from it are called, without suffix; "" where none are made.
    """

    source: ImageInput
    file_name: str = ""


class RecordLine(NamedTuple):
    """The line number of a record, and that of the last line of its block."""

    number: int
    last: int


class Work:
    """The remaining items of a share, in order, and the line numbers of their records.

    Answers depend on the block that an image is in, so a block that was begun, or in which an image failed that is to
    be tried again, is done again from its first image.

    Attributes:
        lines: of the items that were given and have no answer yet; None where the line is there and stays.
    """

    def __init__(self, done: Iterator[tuple[AnyRecord, Item]], left: Iterator[Item], before: int, block_size: int,
                 retry_failed: bool):  # fmt: skip
        """`done` are the first `before` items, each with its record, and `left` those after them."""
        self.lines: deque[RecordLine | None] = deque()
        self._done, self._left, self._before = done, left, before
        self._block_size, self._retry = block_size, retry_failed

    def __iter__(self) -> Iterator[Item]:
        for first in range(0, self._before, self._block_size):
            block = list(islice(self._done, self._block_size))
            again = self._retry and any("error" in record for record, _ in block)
            if again or len(block) < self._block_size:
                last = first + len(block) - 1
                for number, (_, item) in enumerate(block, first):
                    self.lines.append(RecordLine(number, last) if again else None)
                    yield item
        for number, item in enumerate(self._left, self._before):
            self.lines.append(RecordLine(number, number))
            yield item


class Engine(Protocol):
    """Detects in items.

    Attributes:
        block_size: resumed at a multiple of it, the answers are those of an undisturbed run, digit by digit.
        flight: where images are noted that this process reads or detects.
        host: the machine that made the last record.
    """

    block_size: int
    flight: InFlight

    @property
    def host(self) -> str: ...

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        """One record per item, in order, each as soon as it is ready. Ends early if a stop is requested."""


def name_items(sources: Iterable[ImageInput], names: FileNames | None) -> Iterator[Item]:
    """Each source, with a name for its images where names are given."""
    for source in sources:
        yield Item(source, names.of(source.name) if names else "")
