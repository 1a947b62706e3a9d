"""Runs whose folder is in a store: every image has one record there, whatever ends them, and another goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from glip_cli.cli.app import app
from glip_cli.data.stored_folder import StoredFolder
from glip_cli.runs.stored_files import StoredFiles
from tests.forked import CLEAN, Forked, wait_until
from tests.runs.process import start
from tests.stores.s3 import BUCKET, Hold, Server, scene
from tests.stores.stored_runs import IMAGES, RUN, command, glip, glip_often, in_parts

pytestmark = pytest.mark.usefixtures("often")


def drawing_of(record: bytes, images: Path) -> str | None:
    found = json.loads(record)
    return None if "error" in found else f"vis/{Path(found['image']).relative_to(images).with_suffix('.jpg')}"


def test_a_run_in_a_store_is_that_in_a_folder(s3: Server, images: Path, straight: dict[str, bytes]) -> None:
    s3.proxy.put_cuts, s3.proxy.cuts, s3.proxy.busy = [0, 100, 3000], [0, 30], 1
    result = glip(images)
    assert result.exit_code == 3, result.stderr
    assert result.stderr.splitlines()[-1] == f"saved in {RUN}"
    assert s3.stored() == straight
    s3.proxy.requests.clear()
    assert glip(images).exit_code == 3
    assert s3.stored() == straight
    assert not any(request.startswith("PUT /bucket/run/results") for request in s3.proxy.requests)


def held(s3: Server, hold: Hold, images: Path | str, tmp_path: Path) -> Forked:
    """A run that has come so far."""
    s3.proxy.hold = hold
    process = start(command(images), glip_often, env=CLEAN | s3.environment | {"TMPDIR": str(tmp_path)})
    assert wait_until(lambda: hold.reached, process), process.stdout
    s3.proxy.hold = None
    return process


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_killed_again_and_again_it_ends_with_the_same(
    s3: Server, images: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    moments = [Hold("PUT /bucket/run/vis/"), Hold("PUT /bucket/run/results/", 1)]
    moments += [Hold("PUT /bucket/run/results.jsonl"), Hold("PUT /bucket/run/Annotations/", 1), Hold("POST /bucket")]
    for hold in moments:
        process = held(s3, hold, images, tmp_path)
        process.kill()
        process.wait()
        hold.release(passes=False)
        there = s3.stored()
        found = in_parts(there)
        assert b"".join(found) == b"".join(straight["results.jsonl"].splitlines(True)[: len(found)])
        assert {drawing_of(record, images) for record in found} - {None} <= set(there)
    assert glip(images).exit_code == 3
    assert s3.stored() == straight


def test_of_two_that_are_at_work_the_slower_ends(
    s3: Server, images: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    hold = Hold("PUT /bucket/run/results/", 1)
    slower = held(s3, hold, images, tmp_path)
    assert glip(images).exit_code == 3
    assert s3.stored() == straight
    hold.release(passes=True)
    assert slower.wait() == 2
    assert f"{RUN}/results.jsonl was written by another glip" in slower.stdout
    assert s3.stored().keys() - straight.keys() == {hold.request.split()[1].removeprefix("/bucket/run/")}
    assert glip(images).exit_code == 3
    assert s3.stored() == straight


def test_records_of_another_process_are_kept(
    s3: Server, images: Path, straight: dict[str, bytes], tmp_path: Path
) -> None:
    """Those of another machine may differ in a digit; each image has the one or the other."""
    other = [line.replace(b'"score": 0.', b'"score": 0.0') for line in straight["results.jsonl"].splitlines(True)]
    hold = Hold("PUT /bucket/run/results/000000000000")
    second = held(s3, hold, images, tmp_path)
    s3.client.put_object(Bucket=BUCKET, Key="run/results/000000000000.jsonl", Body=b"".join(other[:4]))
    hold.release(passes=True)
    assert second.wait() == 2
    assert f"{RUN}/results/000000000000.jsonl was written by another glip" in second.stdout
    assert "going on after 4 images" in glip(images).stderr
    assert s3.stored()["results.jsonl"].splitlines(True)[:4] == other[:4]
    assert len(s3.stored()["results.jsonl"].splitlines()) == len(IMAGES)


def test_a_store_that_fails_ends_the_run(s3: Server, images: Path, straight: dict[str, bytes], tmp_path: Path) -> None:
    hold = Hold("PUT /bucket/run/results/", 1)
    process = held(s3, hold, images, tmp_path)
    s3.proxy.busy = 1_000
    hold.release(passes=True)
    assert process.wait() == 1
    s3.proxy.busy = 0
    *_, last = process.stdout.splitlines()
    assert re.fullmatch(rf"glip: error: {RUN}/results/\d+\.jsonl: cannot be written .*, the same command goes on", last)
    assert glip(images).exit_code == 3
    assert s3.stored() == straight


def test_a_run_without_a_record_is_not_complete(s3: Server, images: Path, straight: dict[str, bytes]) -> None:
    glip(images)
    s3.client.delete_object(Bucket=BUCKET, Key="run/results.jsonl")
    assert "--retry-failed takes a run that is complete" in glip(images, RUN, "--retry-failed").stderr
    glip(images)
    assert s3.stored() == straight


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_stopped_it_puts_what_is_done(s3: Server, tmp_path: Path) -> None:
    """Its own drawings lie below its input."""
    images = {f"x/{number:02}.png": scene(number % 6) for number in range(20)}
    s3.put(images)
    hold = Hold("GET /bucket/x/12.png")  # the first are detected by then: reading is not that far ahead
    process = held(s3, hold, "s3://bucket/", tmp_path)
    process.send_signal(signal.SIGINT)
    hold.release(passes=True)
    assert process.wait() == 130
    assert process.stdout.endswith("stopped; run the same command to resume\n")
    done = len(in_parts(s3.stored()))
    assert glip_says("batch", "--status", "-o", RUN).startswith(f"{done} of {len(images)} images done")
    assert "--retry-failed takes a run that is complete" in glip("s3://bucket/", RUN, "--retry-failed").stderr
    result = glip("s3://bucket/")
    assert (result.exit_code, f"going on after {done} image" in result.stderr) == (0, True), result.stderr
    assert len(s3.stored()["results.jsonl"].splitlines()) == len(images)
    assert glip_says("batch", "--status", "-o", RUN).endswith("complete\n")


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_stopped_when_all_is_done_it_puts_all(s3: Server, images: Path, tmp_path: Path) -> None:
    hold = Hold("PUT /bucket/run/results/", 1)
    process = held(s3, hold, images, tmp_path)

    def done() -> int:
        return sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("glip-*/results.jsonl"))

    assert wait_until(lambda: done() == len(IMAGES), process), process.stdout
    time.sleep(0.5)  # usually it waits for the store by then
    process.send_signal(signal.SIGINT)
    hold.release(passes=True)
    assert process.wait() in (3, 130), process.stdout  # 130 where it had not seen yet that this was the last image
    stored = s3.stored()
    assert len(stored["results.jsonl"].splitlines() if "results.jsonl" in stored else in_parts(stored)) == len(IMAGES)


def test_a_run_that_cannot_count_its_images_is_complete(s3: Server, tmp_path: Path) -> None:
    pages = [Image.new("L", (64, 48), grey) for grey in (0, 120, 240)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    result = glip(tmp_path / "pages.tif", RUN, "--frames", "all")
    assert result.exit_code == 0, result.stderr
    lines = glip_says("batch", "--status", "-o", RUN).splitlines()
    assert (lines[0].partition(",")[0], lines[-1]) == ("3 of 3 images done", "complete")


@pytest.mark.skipif(os.name == "nt", reason="kills a process")
def test_the_temporary_folder_of_a_process_that_was_killed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run, or of a group of images of a worker of Ray; not of one that lives, and nothing of others."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import sys; from glip_cli.runs.stored_files import StoredFiles; files = StoredFiles(None); " \
           "print(files.path, flush=True); sys.stdin.read()"  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        left, mine = Path(other.stdout.readline().strip()), tmp_path / "glip-mine"
        mine.mkdir()
        (left / "vis").mkdir()
        for folder in (left, mine):
            os.utime(folder, (0, 0))
        StoredFiles(StoredFolder(RUN))
        assert left.exists(), "its process lives"
        other.kill()
    os.utime(left, (0, 0))
    kept = StoredFiles(StoredFolder(RUN))
    assert {path.name for path in tmp_path.iterdir()} == {"glip-mine", kept.path.name}


def glip_says(*words: str) -> str:
    return CliRunner().invoke(app, words).output


def test_images_that_failed_are_tried_again(s3: Server, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(scene(number) if number != 1 else b"no image")
    assert glip(tmp_path).exit_code == 3
    (tmp_path / "1.png").write_bytes(scene(1))
    assert glip(tmp_path, RUN, "--retry-failed").exit_code == 0
    found = s3.stored()
    assert [b'"error"' in line for line in found["results.jsonl"].splitlines()] == [False] * 3
    assert {"vis/1.jpg", "Annotations/1.xml"} <= found.keys()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            ["--overwrite", "-o", "s3://bucket/other"],
            "holds notes.txt, which no run of glip batch wrote",
        ),
        (["--overwrite", "-t", ""], "text 1 is empty"),
        (["--format", "html"], "--format html needs a folder of this machine"),
        (["--offline"], "--offline forbids it"),
        (["-o", "s3://bucket/other"], "s3://bucket/other holds notes.txt, and no run of glip batch"),
        (["-o", "s3://nowhere/run"], "s3://nowhere/run: no such bucket"),
        (["-o", "s3://"], "s3://: no bucket is named"),
        (["-o", "az://bucket/run"], "results are written to a folder of this machine"),
        (["-t", "cat"], "s3://bucket/run holds a run with"),
        (["--merge"], "--merge takes --out-dir"),
    ],
)
def test_what_is_refused(s3: Server, images: Path, more: list[str], reason: str) -> None:
    settings = b'{"model": "other"}'
    s3.put({"other/notes.txt": b"mine", "run/run.json": settings})
    result = glip(images, RUN, *more)
    assert result.exit_code == 2
    assert reason in result.stderr.replace("\n", " ")
    assert s3.stored("") == {"other/notes.txt": b"mine", "run/run.json": settings}


@pytest.mark.long
def test_workers_of_ray_put_their_images(
    s3: Server, images: Path, straight: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="needs the extra [ray]")
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # the last digits depend on it
    result = glip(images, RUN, "--ray=local", "--ray-workers", "2")
    assert result.exit_code == 3, result.stderr
    assert s3.stored() == straight
