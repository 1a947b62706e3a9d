"""Flags from a config file and from the environment: they become arguments that stand before the typed ones.

    glip detect a.jpg --config glip.toml        # threshold = 0.4      or under [detect]
    GLIP_THRESHOLD=0.4 glip detect a.jpg        # flag --threshold, variable GLIP_THRESHOLD

A flag beats the environment, which beats the file; a repeatable flag is replaced, not added to.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glip_cli.cli.flags import ALIASES, OPTIONAL_VALUES
from glip_cli.errors import UsageError

CONFIG = "--config"
FALSE = frozenset({"", "0", "false", "no", "off"})


def with_defaults(root: Any, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Insert the defaults of the command that `arguments` name. Raises UsageError for a bad config file.

    `root` is the parsed command tree: groups have `commands`, commands have `params` with `opts`.
    """
    environment = os.environ if environment is None else environment
    command, depth = root, 0
    while depth < len(arguments) and arguments[depth] in getattr(command, "commands", {}):
        command = command.commands[arguments[depth]]
        depth += 1
    if hasattr(command, "commands"):
        return list(arguments)
    typed = [_spelled_out(word) for word in arguments[depth:]]
    flags = {_key(option): param for param in command.params for option in _long_options(param)}
    file = _config_path(typed, environment)
    settings = _read(file, arguments[:depth], flags, root) if file and CONFIG.lstrip("-") in flags else {}
    for key, param in flags.items():
        if (value := environment.get(f"GLIP_{key.upper()}")) is not None:
            settings = {k: v for k, v in settings.items() if flags[k] is not param} | {key: value}
    inserted = [
        word
        for key, value in settings.items()
        if not _is_given(flags[key], typed)
        for word in _words(key, value, flags)
    ]
    return [*arguments[:depth], *inserted, *typed]


def _spelled_out(word: str) -> str:
    """A flag by its own name, where an alias was typed; a flag that may stand without its value, with it."""
    flag, equals, value = word.partition("=")
    if not equals and flag in OPTIONAL_VALUES:
        return f"{flag}={OPTIONAL_VALUES[flag]}"
    return ALIASES.get(flag, flag) + equals + value


def _long_options(param: Any) -> list[str]:
    return [option for option in param.opts if option.startswith("--") and option != "--help"]


def _key(option: str) -> str:
    option = f"--{option.lstrip('-').replace('_', '-')}"
    return ALIASES.get(option, option).lstrip("-").replace("-", "_")


def _config_path(typed: Sequence[str], environment: Mapping[str, str]) -> Path | None:
    for i, word in enumerate(typed):
        if word == CONFIG and i + 1 < len(typed):
            return Path(typed[i + 1])
        if word.startswith(f"{CONFIG}="):
            return Path(word.partition("=")[2])
    return Path(environment["GLIP_CONFIG"]) if environment.get("GLIP_CONFIG") else None


def _read(file: Path, names: Sequence[str], flags: Mapping[str, Any], root: Any) -> dict[str, Any]:
    """The settings for one command: those at the top of the file, overlaid by those of its table."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {file}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {file} is not TOML: {error}") from None
    tables = {name for name, value in content.items() if isinstance(value, dict)}
    if strange := tables - set(root.commands):
        raise UsageError(f"--config {file}: [{min(strange)}] is no command of glip")
    own = content.get(names[0], {}) if names else {}
    settings = {_key(k): v for k, v in content.items() if k not in tables} | {_key(k): v for k, v in own.items()}
    for key in settings:
        if key not in flags:
            raise UsageError(f"--config {file}: glip {' '.join(names)} has no flag --{key.replace('_', '-')}")
    return settings


def _is_given(param: Any, typed: Sequence[str]) -> bool:
    """Was the flag typed, by any of its names? Words after "--" are no flags."""
    flags = typed[: list(typed).index("--")] if "--" in typed else typed
    long = [option for option in param.opts if option.startswith("--")]
    short = [option for option in param.opts if not option.startswith("--")]
    return any(
        word in param.opts
        or any(word.startswith(f"{option}=") for option in long)
        or any(word.startswith(option) and not word.startswith("--") for option in short)
        for word in flags
    )


def _words(key: str, value: Any, flags: Mapping[str, Any]) -> list[str]:
    """A setting as it would be typed."""
    option = f"--{key.replace('_', '-')}"
    if getattr(flags[key], "is_flag", False):
        on = value.lower() not in FALSE if isinstance(value, str) else bool(value)
        return [option] if on else []
    values = value if isinstance(value, list) else [value]
    return [f"{option}={item}" for item in values]
