"""A real Ray on this machine: the answers of one process, whatever happens to its workers."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from glip_cli.batch.ray import Job
from glip_cli.options import DetectOptions
from glip_cli.output.pictures import Pictures
from glip_cli.prompt import label_prompt
from tests.batch.process import batch, finish, lines, start
from tests.forked import wait_until

pytest.importorskip("ray.data", reason="needs the extra [ray]")
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc"),
]


def workers(driver: int) -> list[int]:
    """Processes of Ray that hold a model, of the cluster that `driver` started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"MapWorker" in title and driver in ancestors(int(folder.name)):
            found.append(int(folder.name))
    return found


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


@pytest.mark.long
def test_two_workers_one_killed_give_what_one_process_does(scenes: Path, tmp_path: Path) -> None:
    straight, out = tmp_path / "straight", tmp_path / "ray"
    assert finish(batch(scenes, "-o", straight))[0] == 0
    process = start(batch(scenes, "-o", out, "--ray=local", "--ray-workers", "2"))
    assert wait_until(lambda: lines(out / "results.jsonl") >= 20, process)
    killed = workers(process.pid)
    assert len(killed) == 2
    os.kill(killed[0], signal.SIGKILL)
    code, output = process.wait(), process.stdout
    assert code == 0, output
    assert (out / "results.jsonl").read_bytes() == (straight / "results.jsonl").read_bytes()
    assert "Traceback" not in output
    assert len(output.splitlines()) < 12, output


@pytest.mark.long
def test_stopped_it_goes_on_without_ray(mixed: Path, tmp_path: Path) -> None:
    """With batches of mixed shapes, and pictures that are saved by the workers."""
    straight, out = tmp_path / "straight", tmp_path / "ray"
    more = ("--batch-size", "2", "--save-vis")
    assert finish(batch(mixed, "-o", straight, *more))[0] == 3
    process = start(batch(mixed.name, "-o", os.path.relpath(out, mixed.parent), *more, "--ray=local"), cwd=mixed.parent)
    assert wait_until(lambda: lines(out / "results.jsonl") >= 1, process)
    process.send_signal(signal.SIGINT)
    code, output = process.wait(), process.stdout
    assert code in (130, 3), output
    assert "Traceback" not in output
    code, output = finish(batch(mixed.name, "-o", os.path.relpath(out, mixed.parent), *more), cwd=mixed.parent)
    assert code == 3, output
    names = (mixed.name.encode(), str(mixed).encode())
    assert (out / "results.jsonl").read_bytes() == (straight / "results.jsonl").read_bytes().replace(*names[::-1])
    assert {path.name: path.read_bytes() for path in (out / "vis").glob("*.jpg")} == {
        path.name: path.read_bytes() for path in (straight / "vis").glob("*.jpg")
    }


def test_an_error_in_a_worker_is_one_line(scenes: Path, tmp_path: Path) -> None:
    """Workers save the pictures: here into a folder that is a file."""
    (tmp_path / "vis").touch()
    code, output = finish(batch(scenes / "0*.png", "-o", tmp_path, "--save-vis", "--ray=local"))
    assert code == 1, output
    assert output.splitlines()[-1].startswith(f"glip: error: cannot write to {tmp_path}")
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        pytest.param("ray://127.0.0.1:1", marks=pytest.mark.long),
        pytest.param("nowhere", marks=pytest.mark.long),
    ],
)
def test_no_cluster_is_one_line(scenes: Path, tmp_path: Path, address: str) -> None:
    """Within seconds: Ray alone would knock for minutes."""
    code, output = finish(batch(scenes / "0*.png", "-o", tmp_path, f"--ray={address}"))
    assert code == 2, output
    assert output.splitlines()[-1].startswith(f"glip: error: --ray={address}: no cluster there")
    assert "Traceback" not in output


def test_a_job_means_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuned").mkdir()
    load = {"model": "tuned", "weights": Path("a.pth"), "bert": None, "device": "cpu", "offline": True}
    job = Job(load, label_prompt(["cat"]), DetectOptions(), Pictures(Path("out"))).absolute()
    assert job.load == load | {"model": str(tmp_path / "tuned"), "weights": tmp_path / "a.pth"}
    assert job.pictures.folder == tmp_path / "out"
    assert Job({"model": "glip-t"}, job.prompt, job.options, job.pictures).absolute().load == {"model": "glip-t"}
