"""Tables: cells that know the value they sort by, with a bar where a share is easier to see than to read."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from glip_cli.evaluation.report.html import Html, count, element, is_number, name, percent

_LONG = 25  # rows; longer tables scroll, and the script gives them a search field
_NAME_LIMIT = 120  # characters of a name in a table; the rest is in its tooltip


def table(columns: Sequence[str], rows: Sequence[Sequence[Html]], *, sortable: bool = True) -> Html:
    """Columns' titles and `<td>`s. A column whose first cell is a number is set to the right.

    With `sortable`, the page's script makes the titles buttons; each cell sorts by its `data-value`, and cells
    without one (no number) always come last.
    """
    numeric = [bool(rows) and 'class="number' in rows[0][i][:40] for i in range(len(columns))]
    titles = zip(columns, numeric, strict=True)
    heads = (element("th", title, scope="col", class_="number" if right else None) for title, right in titles)
    body = element("tbody", *(element("tr", *row) for row in rows))
    whole = element("table", element("thead", element("tr", *heads)), body, class_="sortable" if sortable else None)
    tall = " tall" if len(rows) > _LONG else ""
    return element("div", whole, class_=f"scroll{tall}", tabindex=0)


def name_cell(text: str, link: str | None = None) -> Html:
    """A name, and where it leads to.

    Raises:
        ValueError: `link` is not a relative path, so a report could lead out of its folder.
    """
    shown: Html = name(text, _NAME_LIMIT)
    if link is not None:
        shown = element("a", shown, href=_relative(link))
    return element("td", shown, class_="name", data_value=text[:_NAME_LIMIT])


def _relative(link: str) -> str:
    """`quote` turns the colon of a scheme into `%3A`; what begins with a slash would still lead elsewhere."""
    link = link.replace("\\", "/")
    if link.startswith("/"):
        raise ValueError(f"a link of a report must be relative: {link!r}")
    return f"./{quote(link)}"


def text_cell(text: str, explanation: str = "") -> Html:
    """Words of this package's own, with an explanation below them."""
    small = element("small", explanation) if explanation else Html("")
    return element("td", text, small, data_value=text)


def count_cell(number: int | None) -> Html:
    shown = count(number) if number is not None else ""
    return element("td", shown, class_="number", data_value=number if number is not None else "")


def share_cell(share: float | None, *, bar: bool = False, full: float = 1.0) -> Html:
    """A share of one in percent; with `bar`, over a bar that is full at `full`."""
    value = f"{share:.6f}" if is_number(share) else ""
    style = None
    if bar and share is not None and is_number(share) and full > 0:
        style = f"--share:{min(max(share / full, 0.0), 1.0):.3f}"
    return element("td", percent(share), class_="number bar" if bar else "number", data_value=value, style=style)


def difference_cell(share: float | None) -> Html:
    """With its sign, in points."""
    shown = f"{100 * share:+.1f}".replace("-", "−") if share is not None else ""
    return element("td", shown, class_="number", data_value=f"{share:.6f}" if share is not None else "")
