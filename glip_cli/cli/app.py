"""`glip` itself: its commands, and how every one of them ends."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glip_cli import __version__
from glip_cli.errors import GlipError, UsageError

if TYPE_CHECKING:
    app: typer.Typer

Misuse: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's UsageError, of which newer versions of typer hold a copy of their own."""

COMMANDS = {
    "detect": "Detect what you name in images and videos.",
    "batch": "Detect in many images and videos. Run it again to resume.",
    "eval": "Score a model on a data set, or a file of results.",
    "finetune": "Tune a model on your own boxes, or on captions with boxes.",
    "annotate": "Ground the phrases of captions: data to train on, or pre-labels to correct.",
    "features": "Save the model's feature maps of images, and how their regions fit words.",
    "export": "Write a model as one file: ONNX, or safetensors.",
    "serve": "Serve a model over HTTP, with a page to use in a browser.",
    "weights": "List, fetch, inspect and convert checkpoints.",
    "doctor": "Check the installation and suggest fixes.",
}
"""Each command and its line in `glip --help`, which imports none of them."""
COMPLETION = "_GLIP_COMPLETE"  # the variable by which a shell asks for completions


def build(needed: Collection[str] = tuple(COMMANDS)) -> typer.Typer:
    """`glip` with the commands of these names; of the others it knows the line of help alone."""
    root = typer.Typer(
        name="glip",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if needed else None,  # rich's help takes as long to import as all else
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Open-vocabulary object detection with GLIP.",
        epilog="Example: glip detect photo.jpg --texts 'cat . remote .'",
    )
    root.callback()(_root)
    for name, line in COMMANDS.items():
        if name not in needed:
            root.command(name, short_help=line)(_stub)
            continue
        module = import_module(f"glip_cli.cli.{'evaluate' if name == 'eval' else name}")
        if name == "weights":
            root.add_typer(module.app, name=name)
        else:
            root.command(name, epilog=module.EPILOG)(getattr(module, module.__name__.rpartition(".")[2]))
    return root


def _stub() -> None:
    """A command that is listed, and not run."""


def __getattr__(name: str) -> object:
    """`app`, with all commands, is built on first access."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault("app", build())


def _version(asked: bool) -> None:
    if asked:
        print(f"glip {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The whole command line; `glip_cli.__main__` is what the console script calls."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding lacks is written as escapes, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Do what was typed; return the exit code. Flags beat GLIP_... variables, which beat --config FILE."""
    typed = [word for word in words if not word.startswith("-")][:1]
    needed = COMMANDS.keys() if COMPLETION in os.environ else COMMANDS.keys() & set(typed)
    try:
        root = typer.main.get_command(build(needed))
        if needed:
            from glip_cli.cli.config import with_defaults

            words = with_defaults(root, words)
        return root.main(list(words), prog_name="glip", standalone_mode=False) or 0
    except (GlipError, Misuse, OSError) as error:
        return _ended(error)


def _ended(error: Any) -> int:
    """One line for an error of usage; the help for a command without arguments."""
    from glip_cli.cli.exit import say_end

    if isinstance(error, GlipError | OSError):  # the system's is of standard output
        return say_end(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    text = " ".join(error.format_message().split()).rstrip(".")
    see = " See" if text.endswith("?") else "; see"
    return say_end(UsageError(f"{text}{see} {error.ctx.command_path if error.ctx else 'glip'} --help"))
