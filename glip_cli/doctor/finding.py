"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        name: what was looked at.
        value: what is there, in words.
        problem: what is wrong with it; None where nothing is.
        remedy: the fix, as typed or done; given for every problem.
    """

    name: str
    value: str
    problem: str | None = None
    remedy: str | None = None

    def __post_init__(self) -> None:
        if (self.problem is None) != (self.remedy is None):
            raise ValueError(f"{self.name}: a problem and its remedy go together")


@dataclass(frozen=True)
class Section:
    """The findings about one topic."""

    title: str
    findings: tuple[Finding, ...]


def size(count: float) -> str:
    """Bytes in words: "231 kB", "1.2 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} bytes"
