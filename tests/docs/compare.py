"""Does a command print what its page shows?

Exactly, but for what differs from machine to machine: seconds and rates are not compared, the last digit of a number
with decimals may be off by two, and blanks that align columns count as one. "..." in the page stands for any text, on a
line of its own for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ELLIPSIS = "..."
TIMES = re.compile(r"[\d.,]+(?= (?:s|images/s|captions/s|s per image|[MG]B free)\b|% of the time)")
PROGRESS = re.compile(r"\d+( of \d+)? (images|captions), .+ left")  # a line every ten seconds, on a slow machine
DECIMAL = re.compile(r"(?<![\w.])(\d+\.\d+)(?![\w.])")


def difference(shown: Sequence[str], printed: Sequence[str]) -> str | None:
    """None where they agree, else both."""
    kept = [line for line in printed if not PROGRESS.fullmatch(line)]
    if _agree([_plain(line) for line in shown], [_plain(line) for line in kept]):
        return None
    return "\n".join(["the page shows", *(f"  {line}" for line in shown), "but this is", *(f"  {x}" for x in printed)])


def _plain(line: str) -> str:
    return " ".join(TIMES.sub("#", line).split())


def _agree(shown: list[str], printed: list[str]) -> bool:
    if not shown:
        return not printed
    if shown[0] == ELLIPSIS:
        return any(_agree(shown[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and _line_agrees(shown[0], printed[0]) and _agree(shown[1:], printed[1:])


def _line_agrees(shown: str, printed: str) -> bool:
    if ELLIPSIS in shown:
        return re.fullmatch(".*".join(map(re.escape, shown.split(ELLIPSIS))), printed) is not None
    ours, theirs = DECIMAL.split(shown), DECIMAL.split(printed)
    if len(ours) != len(theirs) or ours[::2] != theirs[::2]:
        return False
    return all(map(_near, ours[1::2], theirs[1::2]))


def _near(shown: str, printed: str) -> bool:
    digits = len(shown.partition(".")[2])
    return len(printed.partition(".")[2]) == digits and abs(float(shown) - float(printed)) < 2.5 * 10**-digits
