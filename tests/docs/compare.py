"""Does a command print what its page shows?

Exactly, but for what differs from machine to machine: numbers with decimals (scores, coordinates, seconds, rates), what
a model's scores decide (how many it found), and blanks that align columns, which count as one. "..." in the page stands
for any text, on a line of its own for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ELLIPSIS = "..."
PROGRESS = re.compile(r"\d+( of \d+)? (images|captions), .+ left")  # a line every ten seconds, on a slow machine
DECIMAL = r"(?<![\w.])[+-]?\d+\.\d+(?:e[+-]\d+)?(?![\w.])"
TIMES = r"[\d.,]+(?= (?:s|images/s|captions/s|s per image|[MG]B free)\b|% of the time)"
FOUND = r"\d+(?= found\b| detections agree\b| of \d+ (?:captions|phrases)\b| boxes, \d+ failed)|^\d+(?= boxes$)"
MEASURED = re.compile(f"{DECIMAL}|{TIMES}|{FOUND}")


def difference(shown: Sequence[str], printed: Sequence[str]) -> str | None:
    """None where they agree, else both."""
    kept = [line for line in printed if not PROGRESS.fullmatch(line)]
    if _agree([_plain(line) for line in shown], [_plain(line) for line in kept]):
        return None
    return "\n".join(["the page shows", *(f"  {line}" for line in shown), "but this is", *(f"  {x}" for x in printed)])


def _plain(line: str) -> str:
    return " ".join(MEASURED.sub("#", line).split())


def _agree(shown: list[str], printed: list[str]) -> bool:
    if not shown:
        return not printed
    if shown[0] == ELLIPSIS:
        return any(_agree(shown[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and _line_agrees(shown[0], printed[0]) and _agree(shown[1:], printed[1:])


def _line_agrees(shown: str, printed: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split(ELLIPSIS))), printed) is not None
