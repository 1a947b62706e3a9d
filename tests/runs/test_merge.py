"""`glip batch --merge`: shards brought together by whoever asks, also those of machines without a folder in common."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from glip_cli.cli.app import run as glip
from glip_cli.errors import UsageError
from glip_cli.runs.merge import merge
from glip_cli.runs.run_dir import RunFolder
from glip_cli.runs.shards import Shard
from tests.runs.examples import SETTINGS, MadeEngine, do

NAMES = [f"{'bad' if i % 5 == 3 else ''}{i}.jpg" for i in range(12)]
ASKED = {"labels": ["cat"], "inputs": ["photos"]}


def shard(path: Path, rank: int, engine: MadeEngine | None = None, **settings: object) -> None:
    do(path, NAMES, engine, Shard(rank, 3), **ASKED | settings)


@pytest.fixture
def alone(tmp_path: Path) -> bytes:
    do(tmp_path / "alone", NAMES, **ASKED)
    return (tmp_path / "alone/results.jsonl").read_bytes()


def test_folders_of_three_machines_brought_into_one(tmp_path: Path, alone: bytes) -> None:
    """None of them could know that the others are done."""
    run = tmp_path / "run"
    for rank in range(3):
        shard(tmp_path / f"machine{rank}", rank)
        shutil.copytree(tmp_path / f"machine{rank}", run, dirs_exist_ok=True)
    assert not (run / "results.jsonl").exists()
    assert merge(run, ["csv"]).left == ()
    assert (run / "results.jsonl").read_bytes() == alone
    assert (run / "results.csv").exists()
    assert not (run / "shards").exists()


def test_what_is_missing_is_said_and_the_run_goes_on(
    tmp_path: Path, alone: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shard(run, 0)
    shard(run, 2, MadeEngine(most=1))
    before = {path: path.read_bytes() for path in (run / "shards").iterdir()}
    assert glip(["batch", "--merge", "-o", str(run), "--format", "csv"]) == 3
    said = capsys.readouterr()
    assert said.out.splitlines()[-3:] == [
        "shard 0 of 3: 4 images, done",
        "shard 1 of 3: 0 images, missing",
        "shard 2 of 3: 1 image, not at work",
    ]
    assert said.err == (f"glip: error: shards 1, 2 of 3 (counted from 0) not done yet; {run}/partial.jsonl holds "
                        "5 records so far\n")  # fmt: skip
    partial = [json.loads(line)["image"] for line in (run / "partial.jsonl").read_text().splitlines()]
    assert partial == [NAMES[0], NAMES[2], *NAMES[3::3]]
    assert {path: path.read_bytes() for path in (run / "shards").iterdir()} == before
    assert {path.name for path in run.iterdir() if path.name[0] != "."} == {"run.json", "shards", "partial.jsonl"}
    shard(run, 1)
    shard(run, 2)
    assert (run / "results.jsonl").read_bytes() == alone
    assert not (run / "partial.jsonl").exists()


def test_again_it_makes_another_format(tmp_path: Path, alone: bytes) -> None:
    for rank in range(3):
        shard(tmp_path / "run", rank)
    assert glip(["batch", "--merge", "-o", str(tmp_path / "run"), "--format", "coco", "-q"]) == 0
    assert [one["name"] for one in json.loads((tmp_path / "run/coco.json").read_text())["categories"]] == ["cat"]
    assert (tmp_path / "run/results.jsonl").read_bytes() == alone


@pytest.mark.parametrize("other", [{"threshold": 0.5}, {"inputs": ["photos", "more"]}])
def test_a_shard_of_other_settings_is_not_taken(tmp_path: Path, other: dict[str, object]) -> None:
    run = tmp_path / "run"
    shard(tmp_path / "machine1", 1, **other)
    for rank in (0, 2):
        shard(run, rank)
    shutil.copytree(tmp_path / "machine1/shards", run / "shards", dirs_exist_ok=True)
    assert merge(run).left == (1,)
    assert not (run / "results.jsonl").exists()


def test_a_shard_that_a_process_is_at_is_not_taken(tmp_path: Path, alone: bytes) -> None:
    """It was done, and images may have come since: its journal must not go from under it."""
    run = tmp_path / "run"
    for rank in (1, 2):
        shard(run, rank)
    shard(tmp_path / "elsewhere", 0)
    shutil.copytree(tmp_path / "elsewhere/shards", run / "shards", dirs_exist_ok=True)
    with RunFolder(run, SETTINGS | ASKED, Shard(0, 3)):
        assert merge(run).left == (0,)
    assert merge(run).left == ()
    assert (run / "results.jsonl").read_bytes() == alone


def test_a_shard_of_other_images_is_not_taken(tmp_path: Path) -> None:
    run = tmp_path / "run"
    do(run, NAMES[:9], shard=Shard(0, 3), **ASKED)
    shard(run, 1)
    shard(run, 2)
    assert merge(run).left == (0,)


def test_what_holds_no_shards(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        merge(tmp_path)
    do(tmp_path, NAMES, **ASKED)
    with pytest.raises(UsageError, match="holds no shards of glip batch"):
        merge(tmp_path)


def test_it_takes_a_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert glip(["batch", "photos", "--merge", "-o", str(tmp_path)]) == 2
    assert "leave out INPUT" in capsys.readouterr().err
