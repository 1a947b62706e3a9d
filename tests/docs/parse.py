"""A command line of a page that is not run: is all of it there? Programs, flags, scripts, targets, extras."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence

import typer

from glip_cli.cli.app import Misuse, app
from glip_cli.cli.config import with_defaults
from tests.docs.pages import ROOT, Command
from tests.docs.shell import HARMLESS, take_apart


def parse_line(command: Command) -> None:
    """Raises AssertionError for what is not there."""
    for words in take_apart(command.words)[1]:
        assert words[0] in PROGRAMS, f"nothing is known of {words[0]}"
        PROGRAMS[words[0]](words)


def _glip(words: Sequence[str]) -> None:
    """Arguments and flags fit the command; its function is not called."""
    command = typer.main.get_command(app)
    given = with_defaults(command, words[1:], {})
    while commands := getattr(command, "commands", None):
        assert given[0] in commands, f"glip has no command {given[0]}"
        command, given = commands[given[0]], given[1:]
    try:
        command.make_context("glip", list(given))
    except Misuse as error:
        raise AssertionError(f"{' '.join(words)}: {error}") from None


def _launched(words: Sequence[str]) -> None:
    """torchrun, accelerate: what stands behind `-m glip_cli` is glip's."""
    assert "glip_cli" in words
    _glip(words[words.index("glip_cli") :])


def _python(words: Sequence[str]) -> None:
    """A script or module of the repository, which mentions every flag that it is given."""
    sources = sorted((ROOT / words[2]).glob("*.py")) if words[1] == "-m" else [ROOT / words[1]]
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    for word in words[2:]:
        if word.startswith("--"):
            assert f'"{word}"' in text, f"{sources} have no {word}"


def _make(words: Sequence[str]) -> None:
    targets = re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(words[1:]) <= set(" ".join(targets).split())


def _pip(words: Sequence[str]) -> None:
    """Extras are those of pyproject.toml."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = {extra for word in words for group in re.findall(r"\[(.+)\]", word) for extra in group.split(",")}
    assert asked <= set(extras)


def _paths(words: Sequence[str]) -> None:
    """ruff, pytest: what looks like a path of the repository is one."""
    for word in words[1:]:
        if "/" in word:
            assert (ROOT / word.partition("::")[0]).exists(), f"there is no {word}"


def _anything(words: Sequence[str]) -> None:
    """cp, git ...: nothing of theirs can be out of date here."""


PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    "glip": _glip,
    "torchrun": _launched,
    "accelerate": _launched,
    "python": _python,
    "make": _make,
    "pip": _pip,
    "pytest": _paths,
    "ruff": _paths,
    "mypy": _anything,
    **dict.fromkeys(["cp", "export", "ray", "scp", "ssh"], _anything),
    "curl": _anything,
    "cvat-cli": _anything,
    "label-studio": _anything,
    **dict.fromkeys(HARMLESS, _anything),
}
