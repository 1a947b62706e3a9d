"""A page that fetches nothing, from sections; and tables of numbers as such a page.

Templates escape every text, so a class called `<script>` stays a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from glip_cli.outputs.files import atomic_write, policy_hash, writing
from glip_cli.utils.text_format import percent, valid_unicode

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")  # HTML has no way to hold them
_POLICY = b"img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"  # which pages of every version have
_HEAD_BYTES = 1000


@dataclass(frozen=True)
class ReportSection:
    """A part of a page."""

    kind: str  # the macro of templates/sections.html that renders it
    title: str
    content: object  # what the macro takes
    wide: bool = True  # over the whole width, where there is room for two columns
    anchor: str = ""  # the id in the page; its kind by default


@dataclass(frozen=True)
class ReportRow:
    """Cells of a table. A float is a share of one, shown in percent; None a number that does not exist.

    `link` is where the first cell leads to: a path relative to the report.
    """

    cells: tuple[str | int | float | None, ...]
    link: str | None = None


@dataclass(frozen=True)
class ReportTable:
    title: str
    columns: tuple[str, ...]
    rows: tuple[ReportRow, ...]
    note: str = ""


def write_page(
    path: Path,
    title: str,
    sections: Sequence[ReportSection],
    *,
    lead: Sequence[str] = (),
    summary: Mapping[str, float] | None = None,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write a page under `path`, whole or not at all; its folder is made.

    At the top stand `title`, `lead` on one line, `summary` (metric -> share of one, or -1) large, and `facts`.

    Raises:
        OutputError: the file cannot be written.
    """
    page = environment().get_template("report.html")
    text = page.render(title=title, sections=sections, lead=lead, summary=summary or {}, facts=facts or {})
    with writing(path, "choose another"), atomic_write(path) as stream:
        stream.write(text.encode("utf-8"))


def is_report(path: Path) -> bool:
    """Whether a file is such a page. Raises OSError."""
    with path.open("rb") as stream:
        return _POLICY in stream.read(_HEAD_BYTES)


def write_table_report(path: Path, *, title: str, facts: Mapping[str, str], tables: Sequence[ReportTable]) -> None:
    """Sortable tables of numbers as a page.

    Raises:
        ValueError: a row's link is not relative.
        OutputError: the file cannot be written.
    """
    sections = [ReportSection("table", one.title, one, anchor=f"table{i}") for i, one in enumerate(tables, 1)]
    write_page(path, title, sections, facts=facts)


@cache
def environment() -> Environment:
    """The templates, with the filters that they use."""
    made = Environment(
        loader=PackageLoader("glip_cli.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    filters = (percent, points, count, plural, sortable, shortened, relative)
    made.filters |= {one.__name__: one for one in filters} | {"sha256": policy_hash}
    return made


def _printable(value: object) -> object:
    """A text with escapes for what UTF-8 or HTML cannot hold."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", valid_unicode(value))


def shortened(text: str, limit: int) -> str:
    """`text` on one line in at most `limit` characters, with an ellipsis where it was longer."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def sortable(value: float | None) -> str:
    """The sort key of a number in a column; "" for any other value."""
    return f"{value:.6f}" if value is not None and value >= 0 else ""


def points(share: float | None) -> str:
    """A difference in percent points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−") if share is not None else ""


def count(number: int) -> str:
    """With thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def plural(number: int, noun: str, ending: str = "s") -> str:
    return f"{count(number)} {noun}{'' if number == 1 else ending}"


def relative(link: str) -> str:
    """`quote` turns the colon of a scheme into `%3A`. Raises ValueError for a path that leads out of the folder."""
    link = link.replace("\\", "/")
    if link.startswith("/"):
        raise ValueError(f"a link of a report must be relative: {link!r}")
    return f"./{quote(link)}"
