"""SIGKILL at any moment: the same command goes on, and ends as if it had never been disturbed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.forked import wait_until
from tests.runs.process import batch, finish, kept, lines, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")


WORKERS = 2
AHEAD = 2 * WORKERS  # images that are read ahead; one at which the process died three times is given up


def kill_in_the_work(command: Sequence[str], journal: Path, chance: random.Random) -> None:
    more = lines(journal) + chance.randint(AHEAD + 1, 12)
    process = start(command)
    wait_until(lambda: lines(journal) >= more, process)
    time.sleep(chance.uniform(0, 0.03))
    process.kill()
    process.wait()


def kill_while_it_starts(command: Sequence[str], chance: random.Random) -> None:
    process = start(command)
    time.sleep(chance.uniform(0, 1))
    process.kill()
    process.wait()


@pytest.mark.long
def test_twenty_kills_at_random_moments(scenes: Path, tmp_path: Path) -> None:
    chance, journal = random.Random(20), tmp_path / "killed/results.jsonl"
    command = batch(*[scenes] * 5, "-o", journal.parent, "--workers", str(WORKERS))
    for number in range(20):
        if number % 4:
            kill_in_the_work(command, journal, chance)
        else:
            kill_while_it_starts(command, chance)
    assert 20 < lines(journal) < 300, "the kills came too early or too late to show anything"
    code, output = finish(command)
    assert code == 0, output
    assert "going on after" in output
    assert finish(batch(*[scenes] * 5, "-o", tmp_path / "straight"))[0] == 0
    assert lines(journal) == 300
    assert journal.read_bytes() == (tmp_path / "straight/results.jsonl").read_bytes()


def test_kills_among_batches_of_mixed_shapes_with_images(mixed: Path, tmp_path: Path) -> None:
    """Answers of a batch differ in their last digits from those of one: the same batches must come again."""
    chance, journal = random.Random(4), tmp_path / "killed/results.jsonl"
    more = ("--batch-size", "4", "--save-vis", "--save-crop", "--format", "coco", "--format", "csv")
    twice = (mixed / "[01]*.png", mixed / "[01]*.png")
    command = batch(*twice, "-o", journal.parent, *more)
    for _ in range(2):
        kill_in_the_work(command, journal, chance)
    code, output = finish(command)
    assert code == 3, output
    assert "going on after" in output
    assert finish(batch(*twice, "-o", tmp_path / "straight", *more))[0] == 3
    killed, straight = kept(tmp_path / "killed"), kept(tmp_path / "straight")
    assert lines(journal) == 40
    assert sorted(killed) == sorted(straight)
    assert killed == straight
    assert {"vis/00.jpg", "vis/00-2.jpg", "coco.json", "results.csv"} <= set(killed)
