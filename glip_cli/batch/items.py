"""What an engine gets and gives: items in, records out, both in the order of the pictures."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from glip_cli.output.formats import FileNames
from glip_cli.output.records import AnyRecord
from glip_cli.sources import Source


@dataclass(frozen=True)
class Item:
    """A picture to do.

    Attributes:
        file_name: what the pictures made from it are called, without suffix; "" where none are made.
    """

    source: Source
    file_name: str = ""


class Engine(Protocol):
    """Does items.

    Attributes:
        block_size: begun anew at a multiple of it, the answers are those of an undisturbed run, digit by digit.
    """

    block_size: int

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        """One record per item, in order, each as soon as it is there. Ends early where it was told to stop."""
        ...


def name_items(sources: Iterable[Source], named: bool) -> Iterator[Item]:
    """Each source, with names for its pictures where they are wanted; the same sources always get the same names."""
    names = FileNames()
    for source in sources:
        yield Item(source, names.of(source.name) if named else "")
