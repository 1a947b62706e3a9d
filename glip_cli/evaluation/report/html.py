"""Safe HTML: text is escaped unless it is `Html` already, so a class called `<script>` stays a name.

    element("td", "<b>", class_="name")  ->  <td class="name">&lt;b&gt;</td>

Also the frame of a report: its one template, style and script, which stand beside this file.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from glip_cli.utils.text_format import valid_unicode

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")  # HTML has no way to hold them
_VOID = {"br", "img", "input", "meta"}
NONE = "–"
"""Stands for a number that there is no ground truth for."""

Attribute = str | int | float | bool | None


class Html(str):
    """Text that is markup already. Only this module and literals make it."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: Attribute) -> Html:
    """`<tag attributes>children</tag>`, all of it escaped but `Html`.

    `class_` and `data_value` become `class` and `data-value`. An attribute that is None or False is left out,
    one that is True stands alone. Floats are written with two decimals: they are pixels of a chart.
    """
    opening = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{opening}>")
    return Html(f"<{tag}{opening}>{fragment(children)}</{tag}>")


def fragment(parts: Iterable[str]) -> Html:
    """Parts one after the other, escaped where they are not `Html`."""
    return Html("".join(part if isinstance(part, Html) else escaped(part) for part in parts))


def _attribute(name: str, value: Attribute) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{escaped(f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value))}"'


def escaped(text: str) -> Html:
    """`text` as content or attribute: `&<>"'` as entities; what UTF-8 or HTML cannot hold, as an escape of Python."""
    return Html(html.escape(_CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", valid_unicode(text))))


def shortened(text: str, limit: int) -> str:
    """`text` on one line in at most `limit` characters, with an ellipsis where it was longer."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def name(text: str, limit: int = 60) -> Html:
    """A name from a data set: apart from the direction of the text around it; whole in the tooltip where it was cut."""
    short = shortened(text, limit)
    return element("bdi", short or "(blank)", title=text if short != text else None)


def is_number(value: float | None) -> bool:
    """False for None, NaN and the evaluators' -1, which stands for "no ground truth"."""
    return value is not None and not math.isnan(value) and value > -1


def percent(share: float | None) -> str:
    """0.5128 -> "51.3"; a dash where there is no number."""
    return f"{100 * share:.1f}" if share is not None and is_number(share) else NONE


def count(number: int) -> str:
    """With thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def compact(number: int) -> str:
    """In at most five characters: 9999, 12k, 3.4M."""
    if number < 10_000:
        return str(number)
    return f"{number / 1000:.0f}k" if number < 999_500 else f"{number / 1e6:.1f}M"


def plural(number: int, one: str, many: str | None = None) -> str:
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


@dataclass(frozen=True)
class Section:
    """A part of the page: `anchor` is its id and its address in the list at the top."""

    anchor: str
    title: str
    content: Html


def paragraph(*children: str) -> Html:
    return element("p", *children)


def facts_list(facts: Mapping[str, str]) -> Html:
    """Names and values in two columns."""
    rows = (element("div", element("dt", key), element("dd", element("bdi", value))) for key, value in facts.items())
    return element("dl", *rows, class_="facts") if facts else Html("")


def notes_list(notes: Sequence[str]) -> Html:
    return element("ul", *(element("li", note) for note in notes), class_="notes") if notes else Html("")


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A whole document: nothing in it is fetched, and its policy forbids the browser to fetch anything."""
    style, script = _resource("report.css"), _resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    links = (element("a", section.title, href=f"#{section.anchor}") for section in sections)
    return Template(_resource("report.html")).substitute(
        title=escaped(title),
        heading=element("bdi", title),
        lead=fragment([lead]),
        links=fragment(links),
        sections=fragment(map(_section, sections)),
        style=style,
        script=script,
        digest=digest,
    )


def _section(section: Section) -> Html:
    return element("section", element("h2", section.title), section.content, id=section.anchor)


def _resource(file_name: str) -> str:
    return resources.files("glip_cli.evaluation.report").joinpath(file_name).read_text(encoding="utf-8")
