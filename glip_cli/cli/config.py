"""Flags from a config file and from the environment: they become arguments that stand before the typed ones.

    glip detect a.jpg --config glip.toml        # threshold = 0.4      or under [detect]
    GLIP_THRESHOLD=0.4 glip detect a.jpg        # flag --threshold, variable GLIP_THRESHOLD

A flag beats the environment, which beats the file; a repeatable flag is replaced, not added to. A boolean flag that is
false there is left off, or typed by its other name (--no-bf16).
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from glip_cli.cli.console import Console
from glip_cli.cli.flags import ALIASES, OPTIONAL_VALUES
from glip_cli.errors import UsageError
from glip_cli.utils.option import flag_of
from glip_cli.utils.text_format import open_text, quoted, why_unreadable

Node = Any
"""A command or a parameter of click, of which typer holds a copy of its own."""
PREFIX = "GLIP_"
OWN = frozenset({"GLIP_CACHE", "GLIP_SHARED"})
"""Variables that stand for no flag; the second is of the tests."""
TRUE, FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})


def with_defaults(root: Node, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Insert the defaults of the command that `arguments` name.

    `root` is the parsed command tree: groups have `commands`, commands have `params` with `opts`. Raises UsageError for
    a bad config file, and for a value that its flag cannot have.
    """
    environment = os.environ if environment is None else environment
    command, depth = root, 0
    while depth < len(arguments) and arguments[depth] in getattr(command, "commands", {}):
        command = command.commands[arguments[depth]]
        depth += 1
    if hasattr(command, "commands"):
        return list(arguments)
    names, typed = arguments[:depth], list(_spelled_out(arguments[depth:], command.params))
    is_configured = any(word.startswith("--conf") for word in typed)
    if not is_configured and not any(name.startswith(PREFIX) for name in environment):
        return [*names, *typed]
    parsed = command.make_context(None, list(typed), resilient_parsing=True)  # nothing is said and nothing raised
    flags = _flags_of(command)
    file = parsed.params.get("config") or environment.get("GLIP_CONFIG")
    settings = _read(Path(os.path.expanduser(file)), names, flags, root) if file and "config" in flags else {}
    for key, param in flags.items():
        if key != "config" and (value := environment.get(_variable(key))) is not None:
            settings = {k: v for k, v in settings.items() if flags[k] is not param} | {key: (value, _variable(key))}
    inserted = [
        word
        for key, (value, place) in settings.items()
        if parsed.get_parameter_source(flags[key].name).name != "COMMANDLINE"
        for word in _words(key, value, flags[key], place)
    ]
    if names != ["doctor"]:  # which lists every variable
        Console(parsed.params.get("quiet") or "--quiet" in inserted).warn(*_misspelt(environment, flags))
    return [*names, *inserted, *typed]


def variables() -> set[str]:
    """All that the commands read, one for each flag."""
    from glip_cli.cli.app import build

    commands = typer.main.get_command(build()).commands.values()  # type: ignore[attr-defined]
    below = (one for command in commands for one in getattr(command, "commands", {"": command}).values())
    return {_variable(key) for command in below for key in _flags_of(command)}


def _flags_of(command: Node) -> dict[str, Node]:
    """The parameter of each long flag, by its key in a file."""
    return {
        _key(option): param
        for param in command.params
        for option in (*param.opts, *param.secondary_opts)
        if option.startswith("--")
    }


def _variable(key: str) -> str:
    return f"{PREFIX}{key.upper()}"


def _misspelt(environment: Mapping[str, str], flags: Collection[str]) -> Iterator[str]:
    """A note on each variable that looks like one of these flags' and is read by no command."""
    meant = {_variable(key): _variable(key) for key in flags}
    others = {name for name in environment if name.startswith(PREFIX)} - meant.keys() - OWN
    meant |= {
        _variable(alias[2:].replace("-", "_")): _variable(_key(alias)) for alias in ALIASES if _key(alias) in flags
    }
    for name in sorted(others):
        near = get_close_matches(name, meant, n=1, cutoff=0.85)
        if near and name not in variables():
            yield f"{name} is read by nothing; did you mean {meant[near[0]]}?"


def _spelled_out(words: Sequence[str], params: Sequence[Node]) -> Iterator[str]:
    """A flag by its own name, where an alias was typed; a flag that may stand without its value, with it.

    Left as they are: what another flag takes as its value, and all that follows "--".
    """
    options = {option: param for param in params for option in (*param.opts, *param.secondary_opts)}
    rest = iter(words)
    for word in rest:
        if word == "--":
            yield from (word, *rest)
            return
        flag, equals, value = word.partition("=")
        flag = ALIASES.get(flag, flag)
        if not equals and flag in OPTIONAL_VALUES:
            equals, value = "=", OPTIONAL_VALUES[flag]
        yield flag + equals + value
        if not equals and _takes_next(flag, options):
            yield from islice(rest, 1)


def _takes_next(word: str, options: Mapping[str, Node]) -> bool:
    """Whether the word behind a flag is its value; the last of short flags in one word, "-qt", may take one."""
    if word in options:
        return word.startswith("-") and not options[word].is_flag
    if word.startswith("--") or not word.startswith("-"):
        return False
    letters = [options.get(f"-{letter}") for letter in word[1:]]
    valued = [place for place, param in enumerate(letters, 1) if param is not None and not param.is_flag]
    return valued[:1] == [len(letters)]


def _key(option: str) -> str:
    option = flag_of(option.lstrip("-"))
    return ALIASES.get(option, option).lstrip("-").replace("-", "_")


def _read(file: Path, names: Sequence[str], flags: Mapping[str, Node], root: Node) -> dict[str, tuple[object, str]]:
    """The settings for one command and where they stand: those at the top of the file, overlaid by its table's."""
    try:
        with open_text(file) as stream:
            content = tomllib.loads(stream.read())
    except OSError as error:
        raise UsageError(f"--config {file}: {why_unreadable(error)}") from None
    except (ValueError, RecursionError) as error:  # of TOML, or of its letters
        raise UsageError(f"--config {file} is not TOML: {error}") from None
    tables = {name for name, value in content.items() if isinstance(value, dict) and _key(name) not in flags}
    if strange := tables - set(root.commands):
        raise UsageError(f"--config {file}: {quoted(min(strange))} is a table, and no command of glip")
    own = content[names[0]] if names and names[0] in tables else {}
    settings = {_key(k): v for k, v in content.items() if k not in tables} | {_key(k): v for k, v in own.items()}
    for key in settings:
        if key not in flags:
            raise UsageError(f"--config {file}: glip {' '.join(names)} has no flag {quoted(flag_of(key))}")
    return {key: (value, f"--config {file}: {key}") for key, value in settings.items()}


def _words(key: str, value: object, param: Node, place: str) -> list[str]:
    """A setting as it would be typed. Raises UsageError, which begins with `place`."""
    option = flag_of(key)
    if getattr(param, "is_flag", False):
        return _flag_words(option, _truth(value, place), param)
    if isinstance(value, bool) and option in OPTIONAL_VALUES:
        return [f"{option}={OPTIONAL_VALUES[option]}"] if value else []
    values = value if isinstance(value, list) else [value]
    for item in values:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise UsageError(f"{place} takes a text or a number, not {quoted(item)}{_as_texts(key, item)}")
    if len(values) != 1 and not param.multiple:
        raise UsageError(f"{place} takes one value, not {len(values)}")
    return [f"{option}={item}" for item in values]


def _as_texts(key: str, value: object) -> str:
    """How a table is written for a flag whose texts have two sides."""
    if not isinstance(value, dict) or not value or key not in ("texts", "class_threshold"):
        return ""
    left, right = next(iter(value.items()))
    return f"; write [{json.dumps(f'{right} = {left}' if key == 'texts' else f'{left}={right}', ensure_ascii=False)}]"


def _flag_words(option: str, on: bool, param: Node) -> list[str]:
    """A boolean flag that is off is left out where it has no other name."""
    same, other = (param.opts, param.secondary_opts) if option in param.opts else (param.secondary_opts, param.opts)
    return list((same if on else other)[:1])


def _truth(value: object, place: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in TRUE | FALSE:
        return value.strip().lower() in TRUE
    raise UsageError(f"{place} is on or off: write true or false, not {quoted(value)}")
