"""A function becomes a command: dataclasses of flags as its arguments, and one way to end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from glip_cli.cli.command import command
from glip_cli.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    FetchError,
    GlipError,
    OptionError,
    UsageError,
)

Debug = Annotated[bool, typer.Option("--debug")]


@dataclass(frozen=True)
class Base:
    first: Annotated[str, typer.Option("--first", "-f", help="The first of them.")] = "one"
    many: Annotated[list[int] | None, typer.Option("--many")] = None


@dataclass(frozen=True)
class Group(Base):
    place: Annotated[Path | None, typer.Option("--place")] = None


@dataclass(frozen=True)
class Needed:
    name: Annotated[str, typer.Argument(metavar="NAME")]


def typed(function: object, *words: str) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command(function))  # type: ignore[arg-type]
    return CliRunner().invoke(app, words)


def shown(*, before: bool = False, group: Group, after: int = 3, needed: Needed) -> None:
    """What it was given."""
    print(before, group, after, needed)


def test_the_fields_of_a_dataclass_are_flags() -> None:
    result = typed(shown, "it", "-f", "x", "--many", "1", "--many", "2", "--place", "here", "--before")
    assert result.output.strip() == f"True {Group('x', [1, 2], Path('here'))} 3 {Needed('it')}"


def test_what_is_not_typed_has_its_default() -> None:
    assert typed(shown, "it").output.strip() == f"False {Group()} 3 {Needed('it')}"


def test_help_has_them_in_order() -> None:
    told = typed(shown, "--help").output
    places = [told.index(word) for word in ("--before", "--first", "--many", "--place", "--after")]
    assert places == sorted(places)
    assert "The first of them." in told
    assert "What it was given." in told
    assert "--group" not in told


def test_a_field_without_a_default_must_be_given() -> None:
    assert typed(shown).exit_code == 2


def test_a_flag_twice_is_a_mistake_of_the_programmer() -> None:
    def twice(*, group: Group, first: str = "") -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'first'"):
        command(twice)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("say what"), 2, "glip: error: say what"),
        (OptionError("top_k", 0, "give a number of at least 1"), 2, "glip: error: --top-k 0: give a number of"),
        (DataError("truth.json: no JSON"), 2, "glip: error: truth.json: no JSON"),
        (CheckpointError("there is no file x"), 2, "glip: error: there is no file x"),
        (FetchError("no network"), 1, "glip: error: no network"),
        (DeviceError("no such device"), 1, "glip: error: no such device"),
        (OSError(28, "No space left on device", "/there"), 1, "glip: error: /there: No space left on device; check"),
        (UnicodeEncodeError("ascii", "caf\xe9", 3, 4, "no"), 1, "which has no '\\xe9'; set PYTHONUTF8=1"),
        (KeyboardInterrupt(), 130, "glip: interrupted"),
    ],
)
def test_an_end_of_one_line(error: BaseException, code: int, line: str) -> None:
    def fails(*, debug: Debug = False) -> None:
        raise error

    result = typed(fails)
    assert result.exit_code == code
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [UsageError("say what"), OSError(28, "No space left on device")])
def test_debug_shows_where(error: GlipError | OSError) -> None:
    def fails(*, debug: Debug = False) -> None:
        raise error

    assert typed(fails, "--debug").exception is error


def test_what_nobody_can_mend_is_not_hidden() -> None:
    def fails(*, debug: Debug = False) -> None:
        raise ZeroDivisionError

    assert isinstance(typed(fails).exception, ZeroDivisionError)


def test_results_are_not_written_to_a_url() -> None:
    def saved(*, out_dir: Annotated[Path, typer.Option("--out-dir")] = Path("outputs")) -> None:
        print(out_dir)

    result = typed(saved, "--out-dir", "s3://key:secret@bucket/run")
    assert result.exit_code == 2
    assert result.stderr.startswith("glip: error: --out-dir s3://bucket/run: results are written to a folder of this")
    assert typed(saved, "--out-dir", "a:b").output.strip() == "a:b"
