"""`glip` itself: its commands, and how every one of them ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from glip_cli import __version__
from glip_cli.cli import annotate, batch, detect, doctor, evaluate, export, features, finetune, weights
from glip_cli.cli.command import fail, reader_is_gone, refused
from glip_cli.cli.config import with_defaults
from glip_cli.cli.console import write_any_letter
from glip_cli.errors import GlipError, UsageError

Misuse: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's UsageError, of which newer versions of typer hold a copy of their own."""

app = typer.Typer(
    name="glip",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Open-vocabulary object detection with GLIP.",
    epilog="Example: glip detect photo.jpg --texts 'cat . remote .'",
)
app.command("detect", epilog=detect.EPILOG)(detect.detect)
app.command("batch", epilog=batch.EPILOG)(batch.batch)
app.command("eval", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("finetune", epilog=finetune.EPILOG)(finetune.finetune)
app.command("annotate", epilog=annotate.EPILOG)(annotate.annotate)
app.command("features", epilog=features.EPILOG)(features.features)
app.command("export", epilog=export.EPILOG)(export.export)
app.add_typer(weights.app, name="weights")
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)


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
    """The whole command line; `glip_cli.__main__` is what the console script calls."""
    write_any_letter()
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Do what was typed; return the exit code. Flags beat GLIP_... variables, which beat --config FILE."""
    root = typer.main.get_command(app)
    try:
        return root.main(with_defaults(root, words), prog_name="glip", standalone_mode=False) or 0
    except GlipError as error:
        return fail(error)
    except Misuse as error:
        return _misused(error)
    except BrokenPipeError:
        return reader_is_gone()
    except OSError as error:  # standard output, where a command has not yet begun
        return fail(refused(error))


def _misused(error: Any) -> int:
    """What typer cannot make sense of: one line as for everything else; the help, where nothing was asked."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    text = " ".join(error.format_message().split()).rstrip(".")
    see = " See" if text.endswith("?") else "; see"
    return fail(UsageError(f"{text}{see} {error.ctx.command_path if error.ctx else 'glip'} --help"))
