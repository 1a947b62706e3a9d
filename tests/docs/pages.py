"""The pages that people read, taken apart: fenced blocks, the commands in them, code spans, links, headings."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIARY = "docs/log.md"  # tells what was, so its commands need not be true today
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One `$ ` line, without the dollar, and the lines that the page shows under it."""

    text: str
    output: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first fence, from 1."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[Command]:
        """Raises ValueError where something stands before the first command."""
        joined = self.text.replace("\\\n", " ").splitlines()
        starts = [i for i, line in enumerate(joined) if line.startswith("$ ")]
        if joined and starts[:1] != [0]:
            raise ValueError(f"{self.name}: a console block begins with a command")
        ends = [*starts[1:], len(joined)]
        return [Command(joined[a][2:], tuple(joined[a + 1 : b])) for a, b in zip(starts, ends, strict=True)]


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def pages() -> tuple[str, ...]:
    """README.md, CONTRIBUTING.md and those of docs/, as paths from the root of the repository."""
    own = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
    return ("README.md", "CONTRIBUTING.md", *(page for page in own if page != DIARY))


def blocks(language: str) -> list[Block]:
    """Every fenced block of that language, in the order of the pages."""
    return [
        Block(page, text_of(page).count("\n", 0, found.start()) + 1, found[1], found[2])
        for page in pages()
        for found in FENCE.finditer(text_of(page))
        if found[1] == language
    ]


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def code_spans(page: str) -> list[str]:
    """What stands between backticks in the prose; a span may go over the end of a line."""
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page))]


def links(page: str) -> list[str]:
    """Targets of links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: str) -> set[str]:
    """What a link may name after #: headings in lower case, signs gone, blanks as hyphens."""
    titles = re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
