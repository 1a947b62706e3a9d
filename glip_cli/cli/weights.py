"""`glip weights`: what models there are, which are here, and what a file is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from glip_cli.cli import flags
from glip_cli.cli.command import command, path_of
from glip_cli.cli.console import Console, DownloadBar, print_json, print_line, print_table
from glip_cli.errors import FetchError, UsageError

if TYPE_CHECKING:
    from glip_cli.checkpoints.registry import Checkpoint

app = typer.Typer(no_args_is_help=True, help="List, fetch, inspect and convert checkpoints.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of glip weights list.", show_default=False)]
File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="A checkpoint of any kind, or a model's name.", show_default=False, parser=path_of
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@app.command("list", epilog="Example: glip weights list --json")
@command
def list_(json: Json = False, debug: flags.Debug = False) -> None:
    """Show every model that has a name, and which are here."""
    from glip_cli.checkpoints import registry

    checkpoints = registry.all()
    if json:
        for checkpoint in checkpoints:
            print_json(asdict(checkpoint) | {"here": _is_here(checkpoint)})
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))  # within 80 columns
    for column in ("model", "trained on", "COCO\nAP", "LVIS\nAP", "licence", "here"):
        table.add_column(column, no_wrap=column != "trained on")  # a name that is cut cannot be typed
    for checkpoint in checkpoints:
        table.add_row(
            checkpoint.name,
            "+".join(checkpoint.pretraining),
            _published(checkpoint, "COCO val2017"),
            _published(checkpoint, "LVIS minival"),
            checkpoint.licence,
            "gone" if checkpoint.unavailable else "yes" if _is_here(checkpoint) else "",
        )
    print_table(table, soft_wrap=False)
    print("AP: as published by the makers. here: in the cache or built in; gone: withdrawn.")
    print("glip weights fetch NAME gets one, and --json has all that is known of each.")


@app.command(epilog="Example: glip weights fetch glip-t")
@command
def fetch(name: Name, quiet: flags.Quiet = False, offline: flags.Offline = False, debug: flags.Debug = False) -> None:
    """Download a model, verify it and keep it converted; print where it lies."""
    from glip_cli.checkpoints import registry
    from glip_cli.checkpoints.parts import fetch_parts

    print(fetch_parts(registry.find(name), offline=offline, report=DownloadBar(Console(quiet))))


@app.command(epilog="Example: glip weights info glip_tiny_mmdet-c24ce662.pth")
@command
def info(file: File, json: Json = False, debug: flags.Debug = False) -> None:
    """Tell what a checkpoint file is, without building the model."""
    from glip_cli.checkpoints.load import info as read_info

    facts = asdict(read_info(_file_of(file)))
    facts = {"file": str(facts.pop("path"))} | facts
    if json:
        print_json(facts)
        return
    for key, value in facts.items():
        print_line(f"{key:<13} {_plain(value)}")


@app.command(epilog="Example: glip weights convert glip_tiny_mmdet-c24ce662.pth glip-t.safetensors")
@command
def convert(
    file: File,
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="The safetensors file to write.", show_default=False, parser=path_of),
    ],
    adapter: flags.Adapter = None,
    debug: flags.Debug = False,
) -> None:
    """Write a checkpoint of any kind as safetensors in this package's names; with what tuning added to it."""
    from glip_cli.checkpoints.load import convert as write
    from glip_cli.checkpoints.parts import save_model
    from glip_cli.checkpoints.resolve import holds_adapter

    if out.exists() and file.exists() and out.samefile(file):
        raise UsageError(f"{out} is the checkpoint itself, which stays; name another file for OUT")
    if adapter or holds_adapter(file):
        print(save_model(out, str(file), adapter=adapter))
    else:
        print(write(_file_of(file), out))


def _file_of(source: Path) -> Path:
    """A file or folder; for any other name the file of that model. Raises FetchError where it is not here."""
    from glip_cli.checkpoints import registry
    from glip_cli.checkpoints.fetch import cached_path

    name = str(source)
    if source.exists() or name not in registry.names():
        return source
    if path := cached_path(registry.find(name)):
        return path
    raise FetchError(f"{name} is not on this machine: glip weights fetch {name}")


def _is_here(checkpoint: Checkpoint) -> bool:
    from glip_cli.checkpoints.fetch import cached_path

    return cached_path(checkpoint) is not None


def _published(checkpoint: Checkpoint, dataset: str) -> str:
    numbers = [p for p in checkpoint.published if p.dataset == dataset and p.metric in ("AP", "fixed AP")]
    return f"{numbers[0].value:.1f}" if numbers else ""


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
