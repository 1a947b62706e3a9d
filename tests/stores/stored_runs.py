"""Runs whose folder is in a store, put record by record, to be killed and compared."""

from __future__ import annotations

import tempfile
from pathlib import Path

from typer.testing import CliRunner, Result

from glip_cli.cli.app import app
from glip_cli.data import stores
from glip_cli.runs import stored_run
from tests import forked
from tests.runs.process import batch
from tests.stores.s3 import scene

RUN = "s3://bucket/run"
IMAGES = {f"{number % 3}/{number:02}.png": scene(number) for number in range(6)} | {"2/broken.png": b"no image"}
FORMATS = ("--save-vis", "--format", "coco", "--format", "voc")


def glip_often() -> None:
    """glip, whose records are put one by one."""
    stored_run.PART_BYTES, stored_run.LOOK_SECONDS = 1, 0.0
    stores.PAUSES = (0.0, 0.0)
    tempfile.tempdir = None  # TMPDIR is read again
    forked.glip()


def command(images: Path | str, out: Path | str = RUN, *more: str) -> list[str]:
    return batch(images, "-o", out, *FORMATS, *more)


def glip(images: Path | str, out: Path | str = RUN, *more: str) -> Result:
    return CliRunner().invoke(app, command(images, out, *more))


def files_of(folder: Path) -> dict[str, bytes]:
    """Of a run in a folder of this machine, but hidden ones."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def in_parts(objects: dict[str, bytes]) -> list[bytes]:
    """The records in them."""
    parts = [objects[name] for name in sorted(objects) if name.startswith("results/0")]
    return [line for part in parts for line in part.splitlines(True)]
