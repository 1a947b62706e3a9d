"""Words that the model reads for a class, while outputs have the name of the class.

x.json           {"container": "shipping container"}
x.toml           container = "shipping container"
anything else    lines of `--texts @FILE`: shipping container = container
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from glip_cli.errors import PromptError, UsageError
from glip_cli.prompts.labels import check_text, class_and_words, one_wording, parse_texts
from glip_cli.utils.text_format import listed, open_text, quoted, why_unreadable

Words = Mapping[str, str]
"""Class -> words; a class that it lacks is its own words."""


def words_for(labels: Iterable[str], words: Words) -> tuple[str, ...]:
    """The words that the model reads for each label."""
    return tuple(words.get(label, label) for label in labels)


def other_words(labels: Sequence[str], words: Words) -> dict[str, str]:
    """The `words` of `labels`, where they differ from the label."""
    return {label: words[label] for label in labels if words.get(label, label) != label}


def check_words(words: Words, labels: Iterable[str]) -> None:
    """Raises UsageError where words are given for a class that is none of the labels."""
    classes = tuple(labels)
    if unknown := [label for label in words if label not in classes]:
        raise UsageError(f"--words: there is no class {quoted(unknown[0])}; the classes are {listed(classes)}")


def read_words(path: Path) -> dict[str, str]:
    """The words of classes, from a file. Raises UsageError for one that has none."""
    if path.suffix.lower() not in (".json", ".toml"):
        way_out = 'or {"class": "words"} into a .json file, where a class may hold the sign'
        labels, words = one_wording(class_and_words(line, way_out) for line in parse_texts([f"@{path}"]))
        return dict(zip(labels, words, strict=True))
    table = read_table(path, "--words", "classes and their words")
    if not table:
        raise UsageError(f'--words {path}: has no class; write {{"container": "shipping container"}} as JSON')
    return {label: _checked(words, f"--words {path}: the words of {quoted(label)}") for label, words in table.items()}


def _checked(words: object, what: str) -> str:
    if not check_text(words, what).strip():
        raise PromptError(f"{what} are blank; write some, or leave the class out")
    return str(words)


# --------------------------------------------------------------------------------------------------------------- tables
# Files of labels and what belongs to each, JSON or TOML, as flags name them.


def read_content(path: Path, flag: str) -> str:
    """The text of the file that `flag` names. Raises UsageError."""
    try:
        with open_text(path) as file:
            return file.read()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{flag} {path}: cannot be read ({why_unreadable(error)}); check the path") from None


def read_table(path: Path, flag: str, contents: str) -> dict[str, object]:
    """Label -> value, from TOML by the file's suffix, else JSON. Raises UsageError.

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
