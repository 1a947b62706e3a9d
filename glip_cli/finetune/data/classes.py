"""The classes of a training set: which can be asked for, and which the model cannot tell apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from glip_cli.data.issues import DataIssue, Tally
from glip_cli.data.reading import shown
from glip_cli.data.rows import category_name
from glip_cli.data.tables import Tables
from glip_cli.prompts.prompt import clean_name

_BACKGROUND = frozenset({"background", "__background__", "_background_"})


def class_names(tables: Tables, used: Collection[int], tally: Tally) -> dict[int, str]:
    """Class id -> name, those left out that mean the background and are not `used`."""
    rows: dict[int, dict[str, Any]] = {}
    for row in tables.categories:
        number = row["id"]
        if category_name(rows.setdefault(number, row)) != category_name(row):
            tally.add(DataIssue.CATEGORY_ID, f"{shown(row.get('name'))}, id {number}")
    for number in [number for number, row in rows.items() if number not in used and _is_background(number, rows)]:
        tally.add(DataIssue.CATEGORY_BACKGROUND, f"{shown(rows.pop(number).get('name'))}, id {number}")
    names = {number: category_name(row) for number, row in rows.items()}
    _remark_names(names, tally)
    return names


def _is_background(number: int, rows: Mapping[int, Mapping[str, Any]]) -> bool:
    """Named so, or id 0 named as the others' supercategory (Roboflow); an id 0 with a name of its own is a class."""
    name = category_name(rows[number])
    above = {str(row.get("supercategory")) for other, row in rows.items() if other != 0}
    return name.strip().lower() in _BACKGROUND or (number == 0 and name in above)


def _remark_names(names: Mapping[int, str], tally: Tally) -> None:
    read: set[str] = set()
    for number, name in names.items():
        if not name.strip():
            tally.add(DataIssue.CATEGORY_UNNAMED, f"id {number}")
        elif (alike := read_as(name)) in read:
            tally.add(DataIssue.CATEGORY_SAME, f"{shown(name)}, id {number}")
        else:
            read.add(alike)


def read_as(name: str) -> str:
    """What the model reads of a class name: equal for those that it cannot tell apart."""
    return " ".join(clean_name(name).lower().split()) or name
