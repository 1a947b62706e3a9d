"""The command line in this process, with a model of its own or with a server's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from glip_cli.cli.app import app

LOCAL = ("-m", "glip-mini", "--device", "cpu")
TIME = re.compile(r"^[\d.]+ s, .* images/s.*\n", re.MULTILINE)


class Ended(NamedTuple):
    """How a command ended: its code, what it printed, what it said without times, and the files of --out-dir."""

    code: int
    stdout: str
    stderr: str
    files: dict[str, bytes]


def glip(*words: str | Path) -> Ended:
    """Run it. It leaves its files in the folder `outputs`."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ended(result.exit_code, result.stdout, TIME.sub("", result.stderr), files(Path("outputs")))


def files(folder: Path) -> dict[str, bytes]:
    """All but the locks."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def both(url: str, *words: str | Path) -> tuple[Ended, Ended]:
    """Here and on the server, each in a folder that is empty at first."""
    ends = []
    for where in (LOCAL, ("--server", url)):
        shutil.rmtree("outputs", ignore_errors=True)
        ends.append(glip(*words, *where))
    return ends[0], ends[1]
