"""An option is defined once, as a field of a dataclass: its type, default, help and constraint.

`glip_cli.cli.command` makes the flag of it, and with the flag the key of --config and the GLIP_ variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glip_cli.errors import OptionError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WHAT, KEEP, MODEL, OUTPUT, HOW = "What to find", "What to keep", "Model", "Output", "How to run"
TRAIN, TUNING, SERVER = "Training data", "Tuning", "Server"


@dataclass(frozen=True)
class Constraint:
    """Which values are allowed, and the advice for all others."""

    allows: Callable[[Any], bool]
    advice: str

    def holds(self, value: Any) -> bool:
        """Whether it is allowed; one of another type, such as a text for a number, is not."""
        try:
            return self.allows(value)
        except (TypeError, LookupError, ValueError):  # ValueError: whether an array is true
            return False


@dataclass(frozen=True)
class Option:
    """The parts of a flag besides the field's name, type and default.

    Attributes:
        panel: the heading of the help under which it stands.
        flags: its spellings; () for the name of the field.
        typed: the type of its values on the command line, where that is not the field's.
        parse: from such a value to the field's.
        parser: from one word to a value, as typer calls it; raises `typer.BadParameter`.
        min, max: the least and the greatest number that the command line takes.
    """

    help: str
    panel: str
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    typed: type | None = None
    parse: Callable[[Any], Any] | None = None
    parser: Callable[[str], Any] | None = None
    show_default: bool = False
    allowed: Constraint | None = None
    min: int | None = None
    max: int | None = None


def option(default: Any, help: str, panel: str, metavar: str | None = None, **more: Any) -> Any:
    """A field with an `Option`; `more` are its other attributes. A mapping, which has no hash, is not hashed."""
    metadata = {"option": Option(help, panel, metavar, **more)}
    if default == {}:
        return field(default_factory=dict, hash=False, metadata=metadata)
    return field(default=default, hash=False if more.get("typed") is Path else None, metadata=metadata)


def flag_of(name: str) -> str:
    """ "batch_size" -> "--batch-size"."""
    return f"--{name.replace('_', '-')}"


def in_flags(error: Exception) -> str:
    """What an error says, with the flag of an option in the place of its name in Python."""
    return f"{flag_of(error.option)} {error.value}: {error.advice}" if isinstance(error, OptionError) else str(error)


def flags_of(one: Field[Any]) -> tuple[str, ...]:
    """The spellings of a field's flag: "--batch-size", "-b"."""
    about: Option | None = one.metadata.get("option")
    return (about.flags if about else ()) or (flag_of(one.name),)


def check_options(options: DataclassInstance) -> None:
    """Raise OptionError for the first field whose value is not allowed; None is where it is of the field's type."""
    for one in fields(options):
        allowed = one.metadata["option"].allowed if "option" in one.metadata else None
        value = getattr(options, one.name)
        kind = str(one.type)
        if kind == "bool" and type(value).__name__ not in ("bool", "bool_"):  # a text "no" would be true
            raise OptionError(one.name, repr(value), "give True or False")
        if not allowed or (value is None and kind.endswith("None")):
            continue
        shown = repr(value) if isinstance(value, str) and not kind.startswith("str") else as_typed(value)
        if kind.startswith("int") and not isinstance(value, Integral):
            raise OptionError(one.name, shown, f"it is no whole number; {allowed.advice}")
        if not allowed.holds(value):
            raise OptionError(one.name, shown, allowed.advice)


def as_typed(value: object) -> object:
    """(0.67, 0.89) -> "0.67,0.89"; a float without needless digits."""
    if isinstance(value, tuple | list):
        return ",".join(str(as_typed(item)) for item in value)
    if not isinstance(value, float):
        return value
    return short if float(short := f"{value:g}") == value else repr(float(value))  # 1.0000001 is not 1


def at_least(least: float) -> Constraint:
    return Constraint(lambda value: math.isfinite(value) and value >= least, f"give a number of at least {least:g}")


def one_of(names: Sequence[str]) -> Constraint:
    return Constraint(lambda value: value in names, f"there are {', '.join(names)}")


POSITIVE = Constraint(lambda value: math.isfinite(value) and value > 0, "give a number greater than 0")
SHARE = Constraint(lambda value: 0 <= value <= 1, "give a number from 0 to 1")
