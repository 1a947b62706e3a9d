"""gs:// by gcsfs, which asks a server of this machine: images, and runs whose folder is there."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from glip_cli.data.sources import expand
from glip_cli.data.stored_folder import StoredFolder
from glip_cli.errors import UnavailableError, UsageError
from tests.forked import CLEAN, wait_until
from tests.runs.process import start
from tests.stores.gcs import GcsServer
from tests.stores.s3 import BUSY, Hold, scene
from tests.stores.stored_runs import command, glip, glip_often, in_parts

RUN = "gs://bucket/run"
ODD = "run/a [1]*?#é.jpg"


def test_what_a_url_names(gcs: GcsServer) -> None:
    images = {"x/a.png": scene(1), "x/b/c.png": scene(2)}
    gcs.put({**images, "x/.hidden.png": b"", "x/notes.txt": b"", "y.png": b""})
    for url, names in (("x/", [*images]), ("x", [*images]), ("x/*.png", ["x/a.png"]), ("x/b/c.png", ["x/b/c.png"])):
        found = list(expand([f"gs://bucket/{url}"]))
        assert [source.name for source in found] == [f"gs://bucket/{name}" for name in names]
        assert [source.open() for source in found] == [images[name] for name in names]


def test_a_run_is_that_in_a_folder(gcs: GcsServer, images: Path, straight: dict[str, bytes], often: None) -> None:
    gcs.proxy.busy = 1
    result = glip(images, RUN)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (3, f"saved in {RUN}"), result.stderr
    assert gcs.stored() == straight
    assert glip(images, RUN).exit_code == 3
    assert gcs.stored() == straight


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_killed_again_and_again_it_ends_with_the_same(
    gcs: GcsServer, images: Path, straight: dict[str, bytes], tmp_path: Path, often: None
) -> None:
    """The names of objects are not in the first lines of requests, but their number is."""
    for hold in (*(Hold("POST /upload/", passing) for passing in (2, 4)), Hold("DELETE /", 1)):
        gcs.proxy.hold = hold
        environment = CLEAN | gcs.environment | {"TMPDIR": str(tmp_path)}
        process = start(command(images, RUN), glip_often, env=environment)
        assert wait_until(partial(getattr, hold, "reached"), process), process.stdout
        process.kill()
        process.wait()
        hold.release(passes=False)
        there = gcs.stored()
        found = [] if "results.jsonl" in there else in_parts(there)
        assert b"".join(found) == b"".join(straight["results.jsonl"].splitlines(True)[: len(found)])
    assert "results.jsonl" in gcs.stored(), "no kill came after it"
    gcs.proxy.hold = None
    assert glip(images, RUN).exit_code == 3
    assert gcs.stored() == straight


def test_what_is_there_is_not_replaced(gcs: GcsServer) -> None:
    folder = StoredFolder("gs://bucket/run/")
    assert folder.create("results/0.jsonl", b"one")
    assert folder.create("results/0.jsonl", b"one")
    before = folder.version("results/0.jsonl")
    assert not folder.create("results/0.jsonl", b"two")
    assert (folder.read("results/0.jsonl"), folder.version("results/0.jsonl")) == (b"one", before)
    assert folder.version("results/1.jsonl") is None


def test_what_is_removed(gcs: GcsServer) -> None:
    gcs.put({ODD: b"", "run/a 1.jpg": b"", "run/b.txt": b"", "run2/b.txt": b""})
    folder = StoredFolder("gs://bucket/run")
    folder.remove([name for name in folder.names() if name in (ODD[4:], "b.txt")] + ["none.txt"])
    folder.remove(["none.txt"])
    assert gcs.stored("") == {"run/a 1.jpg": b"", "run2/b.txt": b""}


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden"])
def test_no_permission(gcs: GcsServer, status: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (source,) = expand(["gs://bucket/a.png"])
    gcs.proxy.busy_answer = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
    try:
        gcs.proxy.busy = 1
        with pytest.raises(UnavailableError, match="no permission to read it"):
            source.open()
        gcs.proxy.busy = 1
        with pytest.raises(UsageError, match=r"gs://bucket/run/a: no permission to write it .*; check the credentials"):
            StoredFolder(RUN).create("a", b"")
    finally:
        gcs.proxy.busy_answer = BUSY
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("gs://bucket/other", "gs://bucket/other holds notes.txt, and no run of glip batch"),
        ("gs://nowhere/run", "gs://nowhere/run: no such bucket"),
        ("gs://", "gs://: no bucket is named"),
        ("hf://datasets/me/set/run", "put it there once the run is complete: hf upload"),
    ],
)
def test_what_is_refused(gcs: GcsServer, images: Path, out: str, reason: str) -> None:
    gcs.put({"other/notes.txt": b"mine"})
    result = glip(images, out)
    assert result.exit_code == 2
    assert reason in result.stderr.replace("\n", " ")
    assert gcs.stored("") == {"other/notes.txt": b"mine"}
