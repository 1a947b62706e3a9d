"""Several processes under the real torchrun: the answers of one, byte by byte."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.batch.process import ASKED, batch, finish, lines, said, start, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes in /proc"),
]


def torchrun(world: int, *arguments: str | Path) -> list[str]:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world))
    return [*launcher, "-m", "glip_cli", "batch", *map(str, arguments), *ASKED]


def rank_of(pid: int) -> str:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((entry[5:].decode() for entry in entries if entry.startswith(b"RANK=")), "")


def child(parent: int, rank: int) -> int:
    """The process that torchrun started for a rank."""
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if rank_of(int(pid)) == str(rank):
            return int(pid)
    raise AssertionError("no such rank")


def test_two_processes_one_killed_give_what_one_does(scenes: Path, tmp_path: Path) -> None:
    pictures, out = scenes / "0*.png", tmp_path / "two"
    assert finish(batch(pictures, "-o", tmp_path / "one"))[0] == 0
    straight = (tmp_path / "one/results.jsonl").read_bytes()
    command = torchrun(2, pictures, "-o", out, "--format", "coco")
    process = start(command)
    assert wait_until(lambda: lines(out / "shards/1-of-2.jsonl") >= 5, process)
    os.kill(child(process.pid, 1), signal.SIGKILL)
    said(process)
    assert process.returncode
    assert not (out / "results.jsonl").exists()
    time.sleep(0.1)
    before = [lines(out / f"shards/{rank}-of-2.jsonl") for rank in range(2)]
    assert 5 <= before[1] < 50
    code, output = finish(command)
    assert code == 0, output
    assert f"going on after {before[0]} images" in output or before[0] == 0
    assert output.count(f"saved in {out}") == 1, "one process speaks for all"
    assert (out / "results.jsonl").read_bytes() == straight
    assert not (out / "shards").exists()
    assert (out / "coco_results.json").exists()


def test_three_processes_and_a_number_that_three_does_not_divide(mixed: Path, tmp_path: Path) -> None:
    """Images that failed: the process that finishes the run ends with 3, which torchrun reports in its own way."""
    pictures = (mixed / "[01]*.png", mixed / "20.png", mixed / "21.png")  # 22, of which two are none
    assert finish(batch(*pictures, "-o", tmp_path / "one"))[0] == 3
    code, output = finish(torchrun(3, *pictures, "-o", tmp_path / "three"))
    assert code == 1
    assert "exitcode  : 3" in output.replace("exitcode : 3", "exitcode  : 3")
    assert output.count("22 images") == 1
    one, three = tmp_path / "one/results.jsonl", tmp_path / "three/results.jsonl"
    assert lines(three) == 22
    assert three.read_bytes() == one.read_bytes()
