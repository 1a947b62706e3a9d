"""Read JSON of files, processes and servers."""

from __future__ import annotations

import json
from typing import Any

JsonObject = dict[str, Any]
"""What a JSON object holds, unchecked; and what a table of TOML does."""


def parsed(text: str | bytes) -> object:
    """The value of a JSON text; None if it is invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def parsed_object(text: str | bytes) -> JsonObject | None:
    """The object that JSON says; None for what is none, or no object."""
    value = parsed(text)
    return value if isinstance(value, dict) else None
