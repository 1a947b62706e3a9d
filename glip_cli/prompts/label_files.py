"""The labels in a file, `--texts @FILE`, each as it stands there.

x.json, x.yaml, x.toml    a list of texts; or an object with `names`, as YOLO's data.yaml, or COCO's `categories`
x.csv, x.tsv              its one column, or the one that its first line calls name, label, class or category
anything else             one label per line; blank lines and lines that begin with # are passed over
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Callable, Iterable
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from glip_cli.errors import PromptError
from glip_cli.utils.json import parsed
from glip_cli.utils.text_format import first_line, open_text, quoted, whole_number, why_unreadable

_MOST_CHARACTERS = 16_000_000  # of a file: a device, as /dev/zero, has no end
_COLUMNS = ("name", "label", "class", "category")
_OTHERS = (".jsonl", ".xml", ".html", ".pbtxt")  # whose lines are no labels


class NumberedLabels(NamedTuple):
    """Labels in order, and the numbers that `names` of a file gives them; () where nothing does."""

    labels: list[str]
    numbers: tuple[int, ...] = ()


def read_labels(name: str) -> NumberedLabels:
    """Raises PromptError for a file that cannot be read, holds no label, or holds them in another way."""
    content, suffix = _content(name), Path(name).suffix.lower()
    if suffix in _OTHERS:
        raise PromptError(f"{quoted(name)}: labels are not read from {suffix[1:]}; write one per line into a .txt")
    if suffix in (".csv", ".tsv"):
        labels = list(_column(name, content))
    elif suffix in _PARSERS:
        return _listed(name, _parsed(name, content, _PARSERS[suffix]))
    elif content.lstrip()[:1] in ("[", "{") and (value := parsed(content)) is not None:
        return _listed(name, value)
    else:  # not splitlines: a label may hold one of the rarer characters that it takes for line ends
        labels = [line for line in content.split("\n") if not line.lstrip().startswith("#")]
    return NumberedLabels([label for label, _ in _stripped(name, ((label, 0) for label in labels))])


def _stripped(name: str, numbered: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Without blank labels, which have a number of their own."""
    stripped = [(label.strip(), number) for label, number in numbered if label.strip()]
    if not stripped:
        raise PromptError(f"no label in the file {quoted(name)}; write one per line")
    return stripped


def _content(name: str) -> str:
    try:
        with open_text(Path(name).expanduser()) as file:
            content = file.read(_MOST_CHARACTERS + 1)
    except (OSError, RuntimeError, ValueError) as error:
        raise PromptError(f"cannot read labels from {quoted(name)}: {why_unreadable(error)}") from error
    if len(content) > _MOST_CHARACTERS:
        raise PromptError(f"{quoted(name)} is no list of labels: it has more than {_MOST_CHARACTERS:,} characters")
    return content


def _yaml(content: str) -> object:
    """Every scalar stays the text it was typed as: "no" is a label, and no truth value."""
    import yaml  # only here, as every start would pay for it

    try:
        return yaml.load(content, getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except yaml.YAMLError as error:
        raise ValueError(first_line(error)) from None


_PARSERS: dict[str, Callable[[str], object]] = {
    ".json": json.loads, ".yaml": _yaml, ".yml": _yaml, ".toml": tomllib.loads,
}  # fmt: skip


def _parsed(name: str, content: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(content)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"labels of {quoted(name)}: {first_line(error)}; correct it") from None


def _listed(name: str, value: object) -> NumberedLabels:
    """The texts of a list, of `names` by their numbers, or the names of `categories`."""
    has_numbers = isinstance(value, dict) and "names" in value
    if isinstance(value, dict):
        value = value.get("names", value.get("categories"))
    numbers: Iterable[int | None] = range(len(value)) if isinstance(value, list) else ()
    if isinstance(value, dict):
        numbers, value = [whole_number(str(key)) for key in value], list(value.values())
    items = [item.get("name") if isinstance(item, dict) else item for item in value] if isinstance(value, list) else []
    numbered = [
        (item, number)
        for item, number in zip(items, numbers, strict=True)
        if isinstance(item, str) and number is not None
    ]
    if not items or len(numbered) < len(items):
        raise PromptError(f"{quoted(name)}: no list of labels; write a list of texts, or names: as in YOLO's data.yaml")
    labels, kept = zip(*_stripped(name, sorted(numbered, key=itemgetter(1))), strict=True)
    return NumberedLabels(list(labels), kept if has_numbers else ())


def _column(name: str, content: str) -> Iterable[str]:
    """Of several columns the labels of one, each once: a row may be a box."""
    head = content.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)  # Excel writes semicolons where a comma is the decimal point
    try:
        rows = [row for row in csv.reader(io.StringIO(content), delimiter=delimiter, strict=True) if any(row)]
    except csv.Error as error:
        raise PromptError(f"labels of {quoted(name)}: no CSV ({error}); check its quotes") from None
    titles = [cell.strip().lower() for cell in rows[0]] if rows else []
    if title := next((title for title in _COLUMNS if title in titles), None):
        place = titles.index(title)
        return dict.fromkeys(row[place] for row in rows[1:] if place < len(row))
    if any(len(row) > 1 for row in rows):
        raise PromptError(
            f"{quoted(name)}: several columns, and its first line calls none {' or '.join(_COLUMNS)}; name one so, or "
            "put double quotes around a label with separators"
        )
    return [row[0] for row in rows]
