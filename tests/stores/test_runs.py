"""Runs over images in a store end as those over files do, also when connections break and the process is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.forked import CLEAN, wait_until
from tests.runs.process import batch, finish, lines, start
from tests.stores.s3 import Server, scene
from tests.stores.test_archives import tar_of

IMAGES = {f"x/{number % 3}/{number:02}.png": scene(number) for number in range(12)}
IMAGES["x/2/broken.png"] = b"no image"


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture
def straight(tmp_path: Path) -> list[dict]:
    """The records of the same images as files, under the names that they have in the store."""
    for key, content in IMAGES.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(content)
    assert finish(batch(tmp_path / "x", "-o", tmp_path / "files"))[0] == 3
    text = json.dumps(records(tmp_path / "files")).replace(str(tmp_path), "s3://bucket")
    return json.loads(text)


def test_a_folder_of_a_store(s3: Server, straight: list[dict], tmp_path: Path) -> None:
    s3.put(IMAGES)
    s3.proxy.cuts, s3.proxy.busy = [2000, 50], 1
    code, output = finish(batch("s3://bucket/x/", "-o", tmp_path / "run", "--save-vis"), env=CLEAN | s3.environment)
    assert code == 3, output
    assert records(tmp_path / "run") == straight
    drawn = {path.relative_to(tmp_path / "run/vis").as_posix() for path in (tmp_path / "run/vis").rglob("*.jpg")}
    assert drawn == {key.removeprefix("x/").replace(".png", ".jpg") for key in IMAGES} - {"2/broken.jpg"}
    assert not any(secret in output for secret in ("Traceback", "s3cret", "AKIAGLIP", "Unclosed"))
    assert "s3cret" not in (tmp_path / "run/run.json").read_text()


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_a_run_that_was_killed_goes_on(s3: Server, straight: list[dict], tmp_path: Path) -> None:
    s3.put(IMAGES)
    command, journal = batch("s3://bucket/x/", "-o", tmp_path / "run"), tmp_path / "run/results.jsonl"
    process = start(command, env=CLEAN | s3.environment)
    wait_until(lambda: lines(journal) >= 2, process)
    process.kill()
    process.wait()
    before = lines(journal)
    code, output = finish(command, env=CLEAN | s3.environment)
    assert code == 3, output
    assert f"going on after {before} images" in output
    assert records(tmp_path / "run") == straight


@pytest.mark.long
def test_workers_of_ray_read_for_themselves(s3: Server, straight: list[dict], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra [ray]")
    s3.put({**IMAGES, "0.tar": tar_of({"a/0.png": scene(0)})})
    inputs = batch("s3://bucket/x/", "s3://bucket/0.tar", "-o", tmp_path / "run", "--ray=local", "--ray-workers", "2")
    code, output = finish(inputs, env=CLEAN | s3.environment)
    assert code == 3, output
    *found, of_tar = records(tmp_path / "run")
    assert [{**record, "host": ""} for record in found] == [{**record, "host": ""} for record in straight]
    assert of_tar == {**straight[0], "image": "s3://bucket/0.tar/a/0.png"}


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_a_run_that_waits_for_a_store_can_be_stopped(s3: Server, tmp_path: Path) -> None:
    s3.put(IMAGES)
    s3.proxy.silent = True
    try:
        process = start(batch("s3://bucket/x/0/00.png", "-o", tmp_path / "run"), env=CLEAN | s3.environment)
        wait_until(lambda: bool(s3.proxy.requests), process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert len(s3.proxy.requests) == 1, "it waited for the end of the first try"
    finally:
        s3.proxy.silent = False
    assert "stopped; run the same command to resume" in process.stdout
    assert "Traceback" not in process.stdout
