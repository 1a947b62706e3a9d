"""The examples of deploy/: what they start exists, and systemd takes the unit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import chain
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Command
from tests.docs.parse import parse_line

DEPLOY = ROOT / "deploy"


def test_the_container_starts_a_command_that_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    words = [json.loads(found) for found in re.findall(r"^(?:ENTRYPOINT|CMD) (\[.+\])$", text, re.MULTILINE)]
    assert len(words) == 2
    parse_line(Command(" ".join(chain.from_iterable(words)), ()))
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())


def test_the_unit_starts_a_command_that_is_there() -> None:
    (started,) = re.findall(r"^ExecStart=/opt/glip/bin/(.+)$", (DEPLOY / "glip.service").read_text(), re.MULTILINE)
    parse_line(Command(started, ()))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With a program that exists; where systemd is not the system, it checks the file all the same."""
    unit = tmp_path / "glip.service"
    unit.write_text((DEPLOY / "glip.service").read_text().replace("/opt/glip/bin/glip", "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60
    )
    assert "glip.service" not in checked.stderr, checked.stderr
