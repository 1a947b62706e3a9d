"""Several processes, as torchrun starts them: the answers of one, byte by byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forked import CLEAN, PATIENCE, Forked, wait_until
from tests.runs.process import ASKED, batch, finish, lines, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")


def ranks(world: int, *arguments: str | Path) -> list[Forked]:
    """The processes that torchrun would start."""
    own = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)} for rank in range(world)]
    return [start(batch(*arguments), env=CLEAN | environment) for environment in own]


def test_two_processes_one_killed_give_what_one_does(scenes: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "two", (scenes, "-o", tmp_path / "two", "--format", "coco")
    assert finish(batch(scenes, "-o", tmp_path / "one"))[0] == 0
    straight = (tmp_path / "one/results.jsonl").read_bytes()
    first, second = ranks(2, *asked)
    assert wait_until(lambda: lines(out / "shards/1-of-2.jsonl") >= 5, second)
    second.kill()
    second.wait()
    first.send_signal(signal.SIGTERM)  # as torchrun does
    first.wait()
    assert not (out / "results.jsonl").exists()
    before = [lines(out / f"shards/{rank}-of-2.jsonl") for rank in range(2)]
    assert 5 <= before[1] < 30
    again = ranks(2, *asked)
    assert [process.wait() for process in again] == [0, 0], [process.stdout for process in again]
    output = "".join(process.stdout for process in again)
    assert f"going on after {before[0]} images" in output or before[0] == 0
    assert output.count(f"saved in {out}") == 1, "one process speaks for all"
    assert (out / "results.jsonl").read_bytes() == straight
    assert not (out / "shards").exists()
    assert (out / "coco.json").exists()


@pytest.mark.long
def test_three_processes_and_a_number_that_three_does_not_divide(mixed: Path, tmp_path: Path) -> None:
    """Under the real torchrun. Images that failed: whoever finishes the run ends with 3, which torchrun reports."""
    images = (mixed / "[01]*.png", mixed / "20.png", mixed / "21.png")  # 22, of which two are none
    assert finish(batch(*images, "-o", tmp_path / "one"))[0] == 3
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    command = [*launcher, "-m", "glip_cli", "batch", *images, "-o", tmp_path / "three", *ASKED]
    done = subprocess.run(command, env=CLEAN, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "exitcode  : 3" in done.stderr
    assert done.stderr.count("22 images") == 1
    one, three = tmp_path / "one/results.jsonl", tmp_path / "three/results.jsonl"
    assert lines(three) == 22
    assert three.read_bytes() == one.read_bytes()
