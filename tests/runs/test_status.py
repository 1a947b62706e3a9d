"""`glip batch --status`: what a folder holds, whoever is at work in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glip_cli.cli.app import run as glip
from glip_cli.errors import UsageError
from glip_cli.runs.run_dir import RunFolder
from glip_cli.runs.shards import Shard
from glip_cli.runs.status import HostCounts, describe
from tests.runs.examples import SETTINGS, MadeEngine, do

NAMES = [f"{'bad' if i % 5 == 3 else ''}{i}.jpg" for i in range(12)]


def test_errors_by_kind_and_where(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(most=9, away=["0.jpg", "1.jpg", "4.jpg"]))
    *told, host, state = describe(tmp_path)
    assert told == ["9 images done, 4 boxes, 5 failed", "  3 no such file (on node1)", "  2 broken"]
    rate = r"\d+\.\d/s"
    assert re.fullmatch(rf"host node0: 9 images since it started, {rate}, 5 failed \(3 no such file, 2 broken\)", host)
    assert state == "not at work"


def test_at_work_and_not_disturbed(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(most=2))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with RunFolder(tmp_path, SETTINGS):
        assert re.fullmatch(r"at work, last record \d+ s ago", list(describe(tmp_path))[-1])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_shards(tmp_path: Path) -> None:
    do(tmp_path, NAMES, shard=Shard(0, 4))
    do(tmp_path, NAMES, MadeEngine(most=1), Shard(1, 4))
    with RunFolder(tmp_path, SETTINGS, Shard(2, 4)):
        lines = list(describe(tmp_path))
    assert lines[0] == "4 images done, 3 boxes, 1 failed"
    assert lines[-4:] == [
        "shard 0 of 4: 3 images, done",
        "shard 1 of 4: 1 image, not at work",
        "shard 2 of 4: 0 images, at work",
        "shard 3 of 4: 0 images, missing",
    ]


def test_each_host_that_works_in_one_of_the_shards(tmp_path: Path) -> None:
    """Two processes of one host are one line; what is complete has none."""
    for rank, host in enumerate(["b", "a", "b"]):
        do(tmp_path, NAMES, MadeEngine(host=host, away=["1.jpg"]), Shard(rank, 4))
    hosts = [line for line in describe(tmp_path) if line.startswith("host")]
    assert [line.partition(", ")[0] for line in hosts] == [
        "host a: 3 images since it started", "host b: 6 images since it started"
    ]  # fmt: skip
    assert hosts[0].endswith("1 failed (1 no such file)")
    assert hosts[1].endswith("1 failed (1 broken)")
    (tmp_path / "shards/1-of-4.hosts").write_text('{"a": {"images": "x"}}')
    assert not any(line.startswith("host a") for line in describe(tmp_path)), "a note that is damaged is no reason"
    do(tmp_path, NAMES, MadeEngine(), Shard(3, 4))
    assert not any(line.startswith("host") for line in describe(tmp_path))


def test_two_starts_of_a_host_are_apart() -> None:
    """One after the other, they are no faster than each alone."""
    first, second = HostCounts(100.0, 110.0, 11), HostCounts(200.0, 210.0, 11)
    assert first.rate == 1.0
    assert (first + second).rate < 0.2


def test_the_command_counts_the_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    names = [f"photos/{i}.jpg" for i in range(3)]
    for name in names:
        Path(name).touch()
    do(Path("run"), names[:2], inputs=["photos"])
    assert glip(["batch", "--status", "-o", "run"]) == 0
    assert capsys.readouterr().out == "2 of 3 images done, 2 boxes, 0 failed\nnot at work\n"
    do(Path("run"), names, inputs=["photos"])
    assert glip(["batch", "--status", "-o", "run"]) == 0
    assert capsys.readouterr().out == "3 of 3 images done, 3 boxes, 0 failed\ncomplete\n"


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run: name the folder of one with --out-dir"):
        list(describe(tmp_path))


def test_it_needs_no_torch() -> None:
    code = "import sys, glip_cli.runs.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
