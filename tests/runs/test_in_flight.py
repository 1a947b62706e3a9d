"""An image that kills the process that reads or detects it: found after a few starts, and the rest goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.errors import UnavailableError
from glip_cli.runs.in_flight import DEATHS, InFlight
from tests.runs.examples import MadeEngine, do

RUN = """
import os, signal, sys
from contextlib import closing
from pathlib import Path
from glip_cli.runs.prefetch import in_order
from glip_cli.errors import ImageError
from glip_cli.outputs.records import error_record
from tests.runs.examples import MadeEngine, do, made_record

class Engine(MadeEngine):
    def __call__(self, items):
        with closing(in_order(self.read, items, 3, 6)) as records:
            yield from records

    def read(self, item):
        name = item.source.name
        try:
            self.flight.refuse(name)
        except ImageError as error:
            return error_record(name, str(error), "made@0")
        with self.flight.at(name):
            if name == "kill.jpg":
                os.kill(os.getpid(), signal.SIGKILL)
            return made_record(name, [name])

do(Path(sys.argv[1]), sys.argv[3:], Engine(), retry_failed=sys.argv[2] == "retry")
"""
NAMES = [f"{i}.jpg" for i in range(12)]
NAMES[5] = "kill.jpg"


@pytest.mark.parametrize(
    "note",
    ["", "[]", "{", '{"deaths": {"a": "x"}, "flying": ["a"], "guilty": []}',
     '{"deaths": [], "flying": [], "guilty": []}', '{"deaths": {}, "flying": [["a"]], "guilty": [{}]}'],
)  # fmt: skip
def test_a_note_that_is_damaged_ends_nothing(tmp_path: Path, note: str) -> None:
    (tmp_path / ".flight").write_text(note)
    with closing(InFlight(tmp_path / ".flight")) as flight:
        flight.refuse("a")


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_real_process_that_one_of_its_images_kills(tmp_path: Path) -> None:
    def start(retry: str = "") -> int:
        command = [sys.executable, "-c", RUN, str(tmp_path / "run"), retry, *NAMES]
        return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode

    assert [start() for _ in range(DEATHS + 1)] == [-9] * DEATHS + [0]
    do(tmp_path / "straight", NAMES)
    lines, straight = ((tmp_path / run / "results.jsonl").read_bytes().splitlines() for run in ("run", "straight"))
    assert json.loads(lines.pop(5))["error"] == (
        "kill.jpg: the process died 3 times at it, of a crash or for want of memory; convert or shrink it, or leave it "
        "out"
    )
    assert lines == straight[:5] + straight[6:]
    assert start("retry") == -9, "asked to, it tries again"
    do(tmp_path / "run", NAMES, MadeEngine(), retry_failed=True)  # the image is sound now
    assert (tmp_path / "run/results.jsonl").read_bytes() == b"\n".join(straight) + b"\n"
    assert not (tmp_path / "run/.0-of-1.flight").exists()


def die(path: Path, *groups: tuple[str, ...]) -> None:
    """A process that ends in the midst of it all, with each group read or detected by a thread of its own."""
    flight, stack = InFlight(path), ExitStack()
    for names in groups:
        stack.enter_context(flight.at(*names))
    cut(flight)


def cut(flight: InFlight) -> None:
    """From now on nothing is written down, as of a process that is dead."""
    assert flight._file is not None
    flight._file.close()
    flight._file = None


def refused(path: Path, *names: str) -> Iterator[str]:
    flight = InFlight(path)
    for name in names:
        try:
            flight.refuse(name)
        except UnavailableError:
            yield name
    flight.close()


def test_those_beside_the_guilty_are_not_blamed(tmp_path: Path) -> None:
    """Suspects go one at a time, whatever else is in flight."""
    path = tmp_path / "note"
    die(path, ("kill",), ("a",), ("b",))
    die(path, ("kill",), ("c",))
    assert list(refused(path, "kill")) == []
    die(path, ("kill",), ("c2",))
    die(path, ("kill",), ("d",))
    die(path, ("kill",), ("e",))
    assert list(refused(path, "kill", "a", "b", "c", "d", "e")) == ["kill"]


def test_an_image_whose_record_is_written_is_innocent(tmp_path: Path) -> None:
    """A list may hold an image again and again, and its process may be killed each time, as nodes are."""
    path = tmp_path / "note"
    for _ in range(DEATHS + 1):
        die(path, ("a",))
        flight = InFlight(path)
        flight.finish("a")
        flight.finish("another")
        cut(flight)
    assert list(refused(path, "a")) == []
    for _ in range(DEATHS):
        die(path, ("a",))
    flight = InFlight(path)
    flight.finish("a")
    cut(flight)
    assert list(refused(path, "a")) == ["a"], "that of another line, which was refused, says nothing"


def test_a_batch_that_dies_together_is_divided(tmp_path: Path) -> None:
    path = tmp_path / "note"
    for _ in range(DEATHS):
        die(path, ("a", "kill", "b"))
    flight = InFlight(path)
    assert flight.divides(["a", "kill", "b"])
    assert not flight.divides(["kill"])
    with flight.at("a"):
        pass
    with flight.at("kill"):
        cut(flight)
        assert list(refused(path, "a", "kill", "b")) == ["kill"]


def test_a_run_that_ends_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "note"
    die(path, ("a",))
    flight = InFlight(path)
    with flight.at("b"):
        flight.close()
    assert not path.exists()


@given(content=st.binary(max_size=80) | st.sampled_from([b"{}", b'{"deaths": 3, "flying": [], "guilty": []}', b"[]"]))
@settings(max_examples=60, deadline=None)
def test_a_note_that_is_torn_blames_nobody(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("note") / "note"
    path.write_bytes(content)
    assert list(refused(path, "a")) == []
