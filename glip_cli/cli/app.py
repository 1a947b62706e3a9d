"""`glip` itself: its commands, and how every one of them ends."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from glip_cli import __version__
from glip_cli.cli import batch, detect, evaluate, finetune, weights
from glip_cli.cli.console import fail, leave_on_interrupt
from glip_cli.cli.defaults import with_defaults
from glip_cli.errors import GlipError

app = typer.Typer(
    name="glip",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find in pictures what you name, with GLIP: the published models' exact answers.",
    epilog="Example: glip detect photo.jpg --texts 'cat . remote .'",
)
app.command("detect", epilog=detect.EPILOG)(detect.detect)
app.command("batch", epilog=batch.EPILOG)(batch.batch)
app.command("eval", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("finetune", epilog=finetune.EPILOG)(finetune.finetune)
app.add_typer(weights.app, name="weights")


def _version(asked: bool) -> None:
    if asked:
        print(f"glip {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script. Flags beat GLIP_... variables, which beat --config FILE."""
    leave_on_interrupt()
    try:
        arguments = with_defaults(typer.main.get_command(app), sys.argv[1:])
    except GlipError as error:
        sys.exit(fail(error))
    app(arguments)
