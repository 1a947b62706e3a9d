"""Ids as files have them, whole numbers or text, and the whole numbers that stand for them here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from glip_cli.data.reading import as_id

UNLISTED = -1


@dataclass(frozen=True)
class Ids:
    """
    Attributes:
        numbers: spelling -> number, where the file has text for ids; empty where its own numbers serve.
    """

    numbers: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[object]) -> Ids:
        """The ids of a table: the file's own numbers, or 1, 2, ... where some are no number or two would be one."""
        spellings = dict.fromkeys(spelling for value in values if (spelling := spelling_of(value)) is not None)
        numbers = {int(one) for one in spellings if one.isascii() and one.isdecimal()}
        if len(numbers) == len(spellings):
            return cls()
        return cls({spelling: i for i, spelling in enumerate(spellings, 1)})

    def number(self, value: object, where: str) -> int:
        """The number of an id; of text that is not listed, one that nothing has.

        Raises:
            UsageError: it is neither a whole number from 0 nor text where the file has text for ids.
        """
        spelling = spelling_of(value) if self.numbers else None
        return as_id(value, where) if spelling is None else self.numbers.get(spelling, UNLISTED)

    def original(self, number: int) -> int | str:
        """The id as the file spells it."""
        return self._spellings.get(number, number)

    @cached_property
    def _spellings(self) -> dict[int, str]:
        return {number: spelling for spelling, number in self.numbers.items()}


def spelling_of(value: object) -> str | None:
    """The same for 7, "7", " 7" and 7.0; None for what is no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip() or None if not isinstance(value, int) or value >= 0 else None
