"""The shards of a run in a store: the last one brings them together, whatever ends them, and two at once do too."""

from __future__ import annotations

import os
import platform
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glip_cli.cli.app import app
from tests.forked import CLEAN, Forked, wait_until
from tests.runs.process import start
from tests.stores.gcs import GcsServer
from tests.stores.s3 import Hold, Server, scene
from tests.stores.stored_runs import RUN, command, files_of, glip, glip_often

pytestmark = pytest.mark.usefixtures("often")
FIRST, SECOND = ("--shard", "0/2"), ("--shard", "1/2")


@pytest.fixture(scope="module")
def sharded(images: Path, straight: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the same shards in a folder of this machine, which hold what one process leaves but for run.json."""
    out = images.parent / "sharded"
    for shard in (FIRST, SECOND):
        do(images, shard, out)
    files = files_of(out)
    assert files.items() - straight.items() == {("run.json", files["run.json"])}
    return files


def do(images: Path, shard: tuple[str, str], out: Path | str = RUN) -> None:
    result = glip(images, out, *shard)
    assert result.exit_code in (0, 3), result.stderr  # the image that fails is of the first


def say(*words: str) -> str:
    return CliRunner().invoke(app, ["batch", *words, "-o", RUN]).output


def held(s3: Server, hold: Hold, images: Path, shard: tuple[str, str], tmp_path: Path) -> Forked:
    """A shard that has come so far."""
    s3.proxy.hold = hold
    environment = CLEAN | s3.environment | {"TMPDIR": str(tmp_path)}
    process = start(command(images, RUN, *shard), glip_often, env=environment)
    assert wait_until(partial(getattr, hold, "reached"), process), process.stdout
    s3.proxy.hold = None
    return process


def test_the_last_one_merges(s3: Server, images: Path, sharded: dict[str, bytes]) -> None:
    first = glip(images, RUN, *FIRST)
    assert first.exit_code == 3, first.stderr
    assert "this process is done; shard 1 of 2 (counted from 0) not yet" in first.stderr
    there = s3.stored()
    assert {"shards/0-of-2/000000000000.jsonl", "shards/0-of-2.done", "run.json"} <= there.keys()
    second = glip(images, RUN, *SECOND)
    assert (second.exit_code, second.stderr.splitlines()[-1]) == (3, f"saved in {RUN}"), second.stderr
    assert s3.stored() == sharded
    for shard in (FIRST, SECOND):
        do(images, shard)
        assert s3.stored() == sharded


def test_in_google_cloud_storage(gcs: GcsServer, images: Path, sharded: dict[str, bytes]) -> None:
    for shard in (SECOND, FIRST):
        do(images, shard, "gs://bucket/run")
    assert gcs.stored() == sharded


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_killed_again_and_again_they_end_with_the_same(
    s3: Server, images: Path, sharded: dict[str, bytes], tmp_path: Path
) -> None:
    moments = [(FIRST, Hold("PUT /bucket/run/shards/0-of-2/", 1)), (FIRST, Hold("PUT /bucket/run/shards/0-of-2.done"))]
    moments += [(SECOND, Hold("PUT /bucket/run/results.jsonl")), (SECOND, Hold("POST /bucket"))]
    for shard, hold in moments:
        process = held(s3, hold, images, shard, tmp_path)
        process.kill()
        process.wait()
        hold.release(passes=False)
        if shard is FIRST and hold is moments[1][1]:
            do(images, FIRST)
    assert "results.jsonl" in s3.stored()
    do(images, SECOND)
    assert s3.stored() == sharded


@pytest.mark.parametrize("moment", ["HEAD /bucket/run/run.json", "PUT /bucket/run/run.json"])
def test_two_that_begin_at_once(
    s3: Server, images: Path, sharded: dict[str, bytes], tmp_path: Path, moment: str
) -> None:
    """The one is held after it has seen an empty folder."""
    hold = Hold(moment)
    slower = held(s3, hold, images, FIRST, tmp_path)
    do(images, SECOND)
    hold.release(passes=True)
    assert slower.wait() == 3, slower.stdout
    assert s3.stored() == sharded


@pytest.mark.parametrize("moment", ["PUT /bucket/run/results.jsonl", "GET /bucket/run/shards/1-of-2/"])
def test_two_that_finish_at_once(
    s3: Server, images: Path, sharded: dict[str, bytes], tmp_path: Path, moment: str
) -> None:
    """The one is held before it has merged, or while it reads what the other removes."""
    do(images, SECOND)
    hold = Hold(moment)
    slower = held(s3, hold, images, FIRST, tmp_path)
    do(images, SECOND)
    assert s3.stored() == sharded
    hold.release(passes=True)
    assert slower.wait() == 3, slower.stdout
    assert slower.stdout.splitlines()[-1] == f"saved in {RUN}"
    assert s3.stored() == sharded


def test_records_of_another_process_at_the_shard_are_kept(
    s3: Server, images: Path, sharded: dict[str, bytes], tmp_path: Path
) -> None:
    """Those of another machine may differ in a digit; each image has the one or the other."""
    lines = sharded["results.jsonl"].splitlines(True)
    other = [line.replace(b'"score": 0.', b'"score": 0.0') for line in lines]
    hold = Hold("PUT /bucket/run/shards/0-of-2/000000000000")
    slower = held(s3, hold, images, FIRST, tmp_path)
    s3.client.put_object(Bucket="bucket", Key="run/shards/0-of-2/000000000000.jsonl", Body=b"".join(other[:6:2]))
    hold.release(passes=True)
    assert slower.wait() == 2
    assert f"{RUN}/shards/0-of-2/000000000000.jsonl was written by another glip" in slower.stdout
    for shard in (FIRST, SECOND):
        do(images, shard)
    found = s3.stored()["results.jsonl"].splitlines(True)
    assert (found[:6:2], found[1::2], len(found)) == (other[:6:2], lines[1::2], len(lines))
    assert lines[:6:2] != other[:6:2]


def test_status_and_merge_by_hand(s3: Server, images: Path, sharded: dict[str, bytes]) -> None:
    do(images, SECOND)
    *_, host, first, second = say("--status").splitlines()
    assert host.startswith(f"host {platform.node()}: 3 images since it started, ")
    assert (first, second) == ("shard 0 of 2: 0 images, missing", "shard 1 of 2: 3 images, done")
    said = say("--merge")
    assert said.splitlines()[-1].endswith(f"not done yet; {RUN}/partial.jsonl holds 3 records so far")
    assert s3.stored()["partial.jsonl"].count(b"\n") == 3
    part = "run/shards/0-of-2/000000000000.jsonl"
    s3.client.put_object(Bucket="bucket", Key=part, Body=s3.stored()["shards/1-of-2/000000000000.jsonl"])
    assert "shard 0 of 2: 1 image, not complete: records come at most every 30 s" in say("--status")
    s3.client.delete_object(Bucket="bucket", Key=part)
    do(images, FIRST)
    assert s3.stored() == sharded
    assert say("--merge", "--format", "csv") == f"saved in {RUN}\n"
    assert s3.stored().keys() - sharded.keys() == {"results.csv"}
    assert say("--status").splitlines()[-1] == "complete"


def test_a_shard_without_an_image(s3: Server, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(scene(0))
    for rank in (1, 0):
        assert glip(tmp_path, RUN, "--shard", f"{rank}/2").exit_code == 0
    assert s3.stored()["results.jsonl"].count(b"\n") == 1


def test_records_that_the_store_does_not_show_are_not_left_out(s3: Server, images: Path) -> None:
    do(images, SECOND)
    last = max(name for name in s3.stored() if name.startswith("shards/1-of-2/"))
    s3.client.delete_object(Bucket="bucket", Key=f"run/{last}")
    result = glip(images, RUN, *FIRST)
    assert result.exit_code == 1
    assert "not all records of shard 1-of-2 are there" in result.stderr
    assert "results.jsonl" not in s3.stored()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--overwrite"], "takes one process, since it would remove what others put"),
        (["--retry-failed"], "--retry-failed takes a run that is complete"),
        (["--shard", "1/3"], "holds a run with processes 2, not 3"),
    ],
)
def test_what_is_refused(s3: Server, images: Path, more: list[str], reason: str) -> None:
    do(images, SECOND)
    before = s3.stored()
    result = glip(images, RUN, *FIRST, *more)
    assert (result.exit_code, reason in " ".join(result.stderr.split())) == (2, True), result.stderr
    assert s3.stored() == before


def test_one_process_overwrites_them(s3: Server, images: Path, straight: dict[str, bytes]) -> None:
    do(images, SECOND)
    assert glip(images, RUN, "--overwrite").exit_code == 3
    assert s3.stored() == straight
