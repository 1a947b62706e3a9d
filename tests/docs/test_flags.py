"""Flags and commands: what the pages name exists, and what exists is named on a page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from glip_cli.cli.app import app
from glip_cli.cli.flags import ALIASES
from tests.docs.pages import ROOT, code_spans, pages, text_of

FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
FOREIGN = {"torchrun", "sbatch", "rsync", "accelerate", "python", "pip", "pytest", "cvat-cli"}
"""Spans that begin so have flags of their own."""

OF_OTHERS = {"--conf-threshold": "cvat-cli", "--mmdetection": "python -m benchmarks"}
"""Flags that a page names alone, and whose they are."""


def commands(parent: Any, name: str) -> Iterator[tuple[str, Any]]:
    """("weights list", command) and so on, in the order of the help."""
    for word, command in parent.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name}{word} ")
        else:
            yield f"{name}{word}", command


ROOM = typer.main.get_command(app)
COMMANDS = dict(commands(ROOM, ""))
PAGES = "\n".join(map(text_of, pages()))


def flags_of(command: Any, hidden: bool) -> list[tuple[str, ...]]:
    """The names of each of its flags."""
    return [(*p.opts, *p.secondary_opts) for p in command.params if p.opts[0][0] == "-" and (hidden or not p.hidden)]


OWNERS: dict[tuple[str, ...], set[str]] = defaultdict(set)
for _name, _command in COMMANDS.items():
    for _flag in flags_of(_command, False):
        OWNERS[_flag].add(_name.split(" ")[0])


@pytest.mark.parametrize("page", pages())
def test_a_flag_that_a_page_names_exists(page: str) -> None:
    known = {name for command in (ROOM, *COMMANDS.values()) for names in flags_of(command, True) for name in names}
    known |= {*ALIASES, *OF_OTHERS, "--help"}
    own = [span for span in code_spans(page) if span.split(" ")[0] not in FOREIGN]
    assert {flag for span in own for flag in FLAG.findall(span)} - known == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_a_command_is_on_a_page(name: str) -> None:
    named = set(FLAG.findall(PAGES)) | set(re.findall(r"(?<![\w-])-\w(?![\w-])", PAGES))
    missing = [names for names in flags_of(COMMANDS[name], False) if not named & set(names)]
    assert missing == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_on_a_page(name: str) -> None:
    assert re.search(rf"glip {name}\b", PAGES)


@pytest.mark.parametrize("name", ROOM.commands)
def test_every_command_has_a_page_that_names_its_own_flags(name: str) -> None:
    page = f"docs/{name}.md"
    assert (ROOT / page).is_file()
    text = text_of(page)
    own = [names for names, owners in OWNERS.items() if owners == {name}]
    assert [names for names in own if not any(flag in text for flag in names)] == []


def test_of_others_is_named() -> None:
    assert [flag for flag in OF_OTHERS if flag not in PAGES] == []
