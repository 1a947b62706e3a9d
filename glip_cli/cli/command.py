"""What makes a function a command: its flags out of its signature, and an end that is the same for all of them."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

import typer

from glip_cli.cli.console import say_error
from glip_cli.errors import DataError, GlipError, OptionError, OutputError, UnknownModelError, UsageError
from glip_cli.utils.interrupt import INTERRUPTED


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer can take it.

    An argument whose type is a dataclass stands for the flags that are its fields. It ends with one line for what a
    person can mend, and without a traceback, unless there is a flag --debug, which was given.
    """
    kinds = get_type_hints(function, include_extras=True)
    groups = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}

    @functools.wraps(function)
    def run(**flags: Any) -> None:
        try:
            function(**_gathered(groups, flags))
        except (GlipError, OSError, UnicodeEncodeError) as error:
            if flags.get("debug") and not isinstance(error, BrokenPipeError):
                raise
            raise typer.Exit(_ended(error)) from None
        except KeyboardInterrupt:
            print("glip: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    parameters = list(_spread(function, kinds, groups))
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _spread(function: Callable[..., None], kinds: Mapping[str, Any], groups: Mapping[str, Any]) -> Iterator[Parameter]:
    """The parameters of a function, the fields of a dataclass in its place."""
    for name, parameter in signature(function).parameters.items():
        if name not in groups:
            yield parameter.replace(annotation=kinds[name], kind=Parameter.KEYWORD_ONLY)
            continue
        types = get_type_hints(groups[name], include_extras=True)
        for field in fields(groups[name]):
            default = Parameter.empty if field.default is MISSING else field.default
            yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=types[field.name])


def _gathered(groups: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the function: flags of a group as its dataclass, the others by themselves."""
    members = {name: [field.name for field in fields(group)] for name, group in groups.items()}
    gathered = {name: group(**{field: flags[field] for field in members[name]}) for name, group in groups.items()}
    within = {field for names in members.values() for field in names}
    return gathered | {name: value for name, value in flags.items() if name not in within}


def _ended(error: Exception) -> int:
    """Say the one line; return the exit code."""
    if isinstance(error, GlipError):
        return fail(error)
    if isinstance(error, BrokenPipeError):
        return reader_is_gone()
    if isinstance(error, UnicodeEncodeError):
        return fail(_unwritable(error))
    assert isinstance(error, OSError)
    return fail(refused(error))  # a place that nobody foresaw would refuse


def fail(error: GlipError) -> int:
    """Say the one line; return the exit code."""
    if isinstance(error, OptionError):  # as a flag
        error = UsageError(f"--{error.option.replace('_', '-')} {error.value}: {error.advice}")
    say_error(error)
    return 2 if isinstance(error, UsageError | DataError | UnknownModelError) else 1


def reader_is_gone() -> int:
    """The reader of stdout has left, as `head` does: keep Python from complaining again when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def refused(error: OSError) -> OutputError:
    """What the system says of a file, or of standard output, as the one line."""
    place = f"{error.filename}: " if error.filename is not None else ""
    return OutputError(f"{place}{error.strerror or error}; check the path, its rights and the room on its disk")


def _unwritable(error: UnicodeEncodeError) -> OutputError:
    letters = error.object[error.start : error.end]
    return OutputError(f"names of files are {error.encoding} here, which has no {letters!a}; set PYTHONUTF8=1")
