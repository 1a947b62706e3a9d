"""--overwrite of a run in a store: the earlier run gives way, and nothing else does."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from glip_cli.data.stored_folder import StoredFolder
from glip_cli.errors import UsageError
from glip_cli.runs.stored_run import earlier_objects
from tests.forked import CLEAN, wait_until
from tests.runs.process import start
from tests.stores.s3 import Hold, Server
from tests.stores.stored_runs import RUN, command, files_of, glip, glip_often

pytestmark = pytest.mark.usefixtures("often")
EARLIER = ("--format", "yolo", "--format", "mmdet", "--format", "csv")
OTHER = ("--overwrite", "--threshold", "0.9")


@pytest.fixture(scope="module")
def overwritten(images: Path) -> dict[str, bytes]:
    """The files of the same two runs in a folder of this machine."""
    out = images.parent / "overwritten"
    for more in (EARLIER, OTHER):
        assert glip(images, out, *more).exit_code == 3
    return files_of(out)


def test_it_leaves_what_it_does_in_a_folder(s3: Server, images: Path, overwritten: dict[str, bytes]) -> None:
    assert glip(images, RUN, *EARLIER).exit_code == 3
    assert {"labels/0/00.txt", "preds/0/00.json", "results.csv"} <= s3.stored().keys()
    result = glip(images, RUN, *OTHER)
    assert result.exit_code == 3, result.stderr
    assert f"{RUN}/vis may keep images of an earlier run" in " ".join(result.stderr.split())
    assert s3.stored() == overwritten


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_what_a_kill_leaves_is_overwritten(
    s3: Server, images: Path, overwritten: dict[str, bytes], tmp_path: Path
) -> None:
    """Before run.json is removed, and in the midst of the run."""
    assert glip(images, RUN, *EARLIER).exit_code == 3
    for moment in (Hold("POST /bucket", 1), Hold("PUT /bucket/run/results/", 2)):
        s3.proxy.hold = moment
        environment = CLEAN | s3.environment | {"TMPDIR": str(tmp_path)}
        process = start(command(images, RUN, *OTHER), glip_often, env=environment)
        assert wait_until(partial(getattr, moment, "reached"), process), process.stdout
        process.kill()
        process.wait()
        moment.release(passes=False)
    s3.proxy.hold = None
    assert glip(images, RUN, *OTHER).exit_code == 3
    assert s3.stored() == overwritten


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "notes/run.json", "Annotations/mine.xml", "labels/a.txt", "data.yaml", "results/1.jsonl",
     "preds/../../x", "labels//a.txt", "labels/b:c.txt", f"labels/{'x' * 300}.txt"],
)  # fmt: skip
def test_what_glip_did_not_write_is_refused(s3: Server, name: str) -> None:
    s3.put({"run/run.json": b"{}", "run/vis/a.jpg": b"", "run/coco.json": b"{}", f"run/{name}": b"<mine/>"})
    with pytest.raises(UsageError, match=r"s3://bucket/run holds .*, which no run of glip batch wrote"):
        earlier_objects(StoredFolder(RUN))
