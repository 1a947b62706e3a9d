"""Make a function a command: flags from its signature, and the same handling of errors for all commands."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from glip_cli.cli.exit import say_end
from glip_cli.errors import GlipError, UsageError
from glip_cli.utils.option import Option, flag_of
from glip_cli.utils.startup import INTERRUPTED
from glip_cli.utils.text_format import shown_url

Mark = TypeVar("Mark")
Values = dict[str, Any]
"""Of flags, by the names of their fields."""


@dataclass(frozen=True)
class Fields:
    """`Annotated[Values, Fields(Options, ...)]` is an argument whose flags are made from fields of `Options`.

    Attributes:
        names: which fields, in the order of the help; () for all that are options.
        given: only what is typed is in the dict, as other defaults depend on what is not known yet.
    """

    options: type
    names: tuple[str, ...] = ()
    given: bool = False

    def chosen(self) -> dict[str, Field[object]]:
        there = {one.name: one for one in fields(self.options) if "option" in one.metadata}
        return {name: there[name] for name in self.names or there}


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer can take it.

    An argument whose type is a dataclass stands for the flags that are its fields; see also `Fields`. One whose default
    is an `option`, or whose type is annotated with an `Option`, is a flag itself. An error that
    the user can correct ends it with one line and an exit code, or with a traceback under --debug.
    """
    types = get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def run(**flags: object) -> None:
        try:
            _check_out_dir(flags.get("out_dir"))
            function(**{name: _argument(kind, name, flags) for name, kind in types.items() if name != "return"})
        except (GlipError, OSError, UnicodeEncodeError) as error:
            if flags.get("debug") and not isinstance(error, BrokenPipeError):
                raise
            raise typer.Exit(say_end(error)) from None
        except KeyboardInterrupt:
            print("glip: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    parameters = [flag for one in signature(function).parameters.values() for flag in _flags(one, types[one.name])]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _check_out_dir(out_dir: object) -> None:
    """Raises UsageError for a URL, of which a path is one slash short; a command that takes one has it as text."""
    if isinstance(out_dir, str) and out_dir.lower().startswith(("s3://", "gs://", "hf://")):
        return
    scheme, mark, rest = Path(str(out_dir or "")).as_posix().partition(":/")
    if mark and len(scheme) > 1:  # one letter is a disk of Windows
        raise UsageError(
            f"--out-dir {shown_url(f'{scheme}://{rest}')}: results are written to a folder of this machine; name one, "
            "and copy it there afterwards"
        )


def _mark(kind: object, mark: type[Mark]) -> Mark | None:
    return next((one for one in getattr(kind, "__metadata__", ()) if isinstance(one, mark)), None)


def _flags(argument: Parameter, kind: Any) -> Iterator[Parameter]:
    """The flags of one argument of a command."""
    if group := _mark(kind, Fields):
        types = get_type_hints(group.options)
        for name, one in group.chosen().items():
            yield _flag(name, types[name], one, group.given)
    elif is_dataclass(kind):
        types = get_type_hints(kind, include_extras=True)
        for one in fields(kind):
            yield _flag(one.name, types[one.name], one)
    else:
        yield _flag(argument.name, kind, argument.default)


def _flag(name: str, kind: Any, default: Any, given: bool = False) -> Parameter:
    """As typer takes it. `default` may be a field, with its `Option`, unless that is in the annotation."""
    about = _mark(kind, Option)
    if isinstance(default, Field):
        about = default.metadata.get("option", about)
        default = Parameter.empty if default.default is MISSING else default.default
    if about is None:
        return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
    if given or default is Parameter.empty or about.parse or about.typed:
        default = None
    kind = about.typed or (kind.__origin__ if _mark(kind, Option) else kind)
    flag = typer.Option(
        *(about.flags or (flag_of(name),)),
        metavar=about.metavar, min=about.min, max=about.max, parser=path_of if _is_of_paths(kind) else about.parser,
        rich_help_panel=about.panel, help=about.help, show_default=about.show_default,
    )  # fmt: skip
    annotation: object = Annotated[kind | None if default is None else kind, flag]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _is_of_paths(kind: object) -> bool:
    """Path, list[Path], either of them | None."""
    return kind is Path or any(map(_is_of_paths, get_args(kind)))


def text_of(typed: str) -> str:
    """Raises BadParameter for "", and for what no path can hold."""
    if not typed:
        raise typer.BadParameter("it is empty, as of a shell's variable that is not set")
    if "\0" in typed:
        raise typer.BadParameter("it holds a NUL character")
    return typed


def path_of(typed: str | Path) -> Path:
    """As `place_of`: a path of "" is the current folder."""
    return Path(place_of(str(typed)))


def place_of(typed: str) -> str:
    """A path or a URL, as `text_of`. A shell leaves the ~ of --out-dir=~/x, and none reads variables and files."""
    return os.path.expanduser(text_of(typed))


def _argument(kind: object, name: str, flags: Mapping[str, object]) -> object:
    """The value of one argument of the command, of the flags that stand for it."""
    if group := _mark(kind, Fields):
        values = {name: _value(one, flags[name]) for name, one in group.chosen().items()}
        return {name: value for name, value in values.items() if value is not None}
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return kind(**{one.name: flags[one.name] for one in fields(kind)})
    return flags[name]


def _value(one: Field[object], typed: object) -> object:
    parse = one.metadata["option"].parse
    if typed is None or typed == []:
        return None
    return parse(typed) if parse else typed
