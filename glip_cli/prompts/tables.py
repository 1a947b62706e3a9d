"""Files of labels and what belongs to each, JSON or TOML, as flags name them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from glip_cli.errors import UsageError
from glip_cli.utils.text_format import open_text, why_unreadable


def read_content(path: Path, flag: str) -> str:
    """The text of the file that `flag` names. Raises UsageError."""
    try:
        with open_text(path) as file:
            return file.read()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{flag} {path}: cannot be read ({why_unreadable(error)}); check the path") from None


def read_table(path: Path, flag: str, contents: str) -> dict[str, object]:
    """What stands for each label, TOML by the file's suffix, else JSON. Raises UsageError.

    Args:
        flag: the one that names the file, for messages.
        contents: what the table must be of, for messages: "labels and definitions".
    """
    content = read_content(path, flag)
    try:
        value = tomllib.loads(content) if path.suffix.lower() == ".toml" else json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{flag} {path}: neither JSON nor TOML ({error}); correct it") from None
    if not isinstance(value, dict):
        raise UsageError(f"{flag} {path}: must be an object of {contents}")
    return value
