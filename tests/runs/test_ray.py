"""Glip on a real Ray of this machine: the answers of one process, whatever happens to its workers.

Who does which images, and what becomes of workers and nodes that fail, is in test_actors.py, without a model.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from glip_cli.checkpoints.parts import load_prompt_compiler
from glip_cli.cli.app import run as glip
from glip_cli.data.frame_inputs import FrameChoice
from glip_cli.data.prompted import PromptedImage
from glip_cli.data.sources import ImageInput, expand
from glip_cli.detector import Detector
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions
from glip_cli.outputs.images import AnnotatedImages
from glip_cli.prompts.prompt import caption_prompt, label_prompt
from glip_cli.prompts.spans import read_brackets
from glip_cli.runs import actors, ray_cluster
from glip_cli.runs.items import Item
from glip_cli.runs.ray import RayEngine, RayJob, placed
from glip_cli.runs.ray_cluster import joined
from glip_cli.runs.status import describe
from tests.data.clips import make_clip
from tests.forked import CLEAN, wait_until
from tests.runs.process import ASKED, batch, finish, lines, start

pytest.importorskip("ray", reason="needs the extra [ray]")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")


def workers(driver: int) -> list[int]:
    """Processes of Ray that hold a model, of the cluster that `driver` started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"Worker" in title and driver in ancestors(int(folder.name)):
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


def test_a_worker_gives_what_this_process_does(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also batches of mixed shapes, images that fail, members of a tar, and paths without a meaning where it runs."""
    monkeypatch.chdir(mixed.parent)
    with tarfile.open("0.tar", "w") as tar:
        tar.add(mixed / "41.png", "a/41.png")
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # the last digits depend on it
    asked = ["batch", f"{mixed.name}/[01]*.png", "0.tar", "--batch-size", "2", *ASKED]
    assert glip([*asked, "-o", str(tmp_path / "here")]) == 3
    monkeypatch.setattr(Detector, "load", None)  # the driver needs no model
    monkeypatch.setattr(ray_cluster, "SAY_SECONDS", 600)  # on a busy machine Ray may be slow to start
    monkeypatch.setattr(actors, "SAY_SECONDS", 600)
    capsys.readouterr()
    assert glip([*asked, "-o", str(tmp_path / "ray"), "--ray=local", "--ray-workers", "1"]) == 3
    said = capsys.readouterr()
    assert (tmp_path / "ray/results.jsonl").read_bytes() == (tmp_path / "here/results.jsonl").read_bytes()
    assert (len(said.out), len(said.err.splitlines())) == (0, 6), said


def test_an_image_travels_with_its_prompt() -> None:
    text, parts = read_brackets("a [star] by a [cup], a [star]")
    for prompt in (label_prompt({"box": "red square"}), caption_prompt(text, parts=parts)):
        item = Item(PromptedImage("a.png", "/x/a.png", True, prompt=prompt), "a-2")
        assert pickle.loads(pickle.dumps(placed(item))) == item
    for source in (ImageInput("a.png", "/x/a.png"), ImageInput("0.tar/a.png", "s3://x/0.tar", member=(512, 9))):
        assert pickle.loads(pickle.dumps(placed(Item(source)))) == Item(source)
    assert placed(Item(ImageInput("a.png", "a.png"))).source == ImageInput("a.png", os.path.abspath("a.png"))


@pytest.mark.long
def test_frames_do_not_travel(tmp_path: Path) -> None:
    items = [Item(source) for source in expand([str(make_clip(tmp_path / "a.mp4", 3))], frames=FrameChoice())]
    with pytest.raises(UsageError, match=r"--ray takes whole images, not .*a\.mp4#frame=0: leave out --ray, or the"):
        next(RayEngine._groups(SimpleNamespace(block_size=2), iter(items)))  # type: ignore[arg-type]


def test_a_prompt_for_each_image(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    rows = [f"{scenes}/0{number % 10}.png,{('star', 'circle . star .')[number % 3 == 0]}\n" for number in range(20)]
    (tmp_path / "p.csv").write_text(f"image,prompt\n{''.join(rows)}")
    asked = ["batch", "--prompts", str(tmp_path / "p.csv"), "-b", "2", *ASKED[2:]]
    assert glip([*asked, "-o", str(tmp_path / "here")]) == 0
    assert glip([*asked, "-o", str(tmp_path / "ray"), "--ray=local", "--ray-workers", "1"]) == 0
    assert (tmp_path / "ray/results.jsonl").read_bytes() == (tmp_path / "here/results.jsonl").read_bytes()


def test_the_driver_knows_the_name_without_the_model(detector: Detector) -> None:
    load = {"model": "glip-mini", "weights": None, "bert": None, "adapter": None, "offline": True}
    reader = load_prompt_compiler(load, None)
    assert (reader.name, reader.window, reader.fused) == (
        detector.name, detector.prompt_compiler.window, detector.prompt_compiler.fused
    )  # fmt: skip


@pytest.mark.long
def test_two_workers_one_killed_give_what_one_process_does(scenes: Path, tmp_path: Path) -> None:
    straight, out = tmp_path / "straight", tmp_path / "ray"
    many = [scenes] * 8  # the second worker may start long after the first
    assert finish(batch(*many, "-o", straight))[0] == 0
    process = start(batch(*many, "-o", out, "--ray=local", "--ray-workers", "2"))
    assert wait_until(lambda: lines(out / "results.jsonl") >= 20 and len(workers(process.pid)) == 2, process)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    code, output = process.wait(), process.stdout
    assert code == 0, output
    assert (out / "results.jsonl").read_bytes() == (straight / "results.jsonl").read_bytes()
    assert "Traceback" not in output
    said = [line for line in output.splitlines() if not line.endswith(" left")]  # the others are as many as it is slow
    assert len(said) < 12, output


@pytest.mark.long
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_goes_on_without_ray(mixed: Path, tmp_path: Path, sent: signal.Signals) -> None:
    """With batches of mixed shapes, and images that are saved by the workers."""
    straight, out = tmp_path / "straight", tmp_path / "ray"
    more = ("--batch-size", "2", "--save-vis")
    assert finish(batch(mixed, "-o", straight, *more))[0] == 3
    process = start(batch(mixed.name, "-o", os.path.relpath(out, mixed.parent), *more, "--ray=local"), cwd=mixed.parent)
    assert wait_until(lambda: lines(out / "results.jsonl") >= 1, process)
    process.send_signal(sent)
    code, output = process.wait(), process.stdout
    assert code == 130, output
    assert "Traceback" not in output
    code, output = finish(batch(mixed.name, "-o", os.path.relpath(out, mixed.parent), *more), cwd=mixed.parent)
    assert code == 3, output
    names = (mixed.name.encode(), str(mixed).encode())
    assert (out / "results.jsonl").read_bytes() == (straight / "results.jsonl").read_bytes().replace(*names[::-1])
    assert {path.name: path.read_bytes() for path in (out / "vis").glob("*.jpg")} == {
        path.name: path.read_bytes() for path in (straight / "vis").glob("*.jpg")
    }


@pytest.mark.long
def test_an_error_in_a_worker_is_one_line(scenes: Path, tmp_path: Path) -> None:
    """Workers save the images: here into a folder that is a file."""
    (tmp_path / "vis").touch()
    code, output = finish(batch(scenes / "0*.png", "-o", tmp_path, "--save-vis", "--ray=local"))
    assert code == 1, output
    assert output.splitlines()[-1].startswith(f"glip: error: cannot write to {tmp_path}")
    assert "Traceback" not in output


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_no_cluster_is_one_line(address: str) -> None:
    """Within seconds: Ray alone would knock for minutes."""
    with (
        pytest.raises(UsageError, match=f"--ray={address}: no cluster there .*; start one with `ray start --head`"),
        joined(address, threading.Event(), print),
    ):
        pass


JOINING = """
import sys, threading
from glip_cli.errors import UsageError
from glip_cli.runs import ray_cluster
address, stop = sys.argv[1], threading.Event()
ray_cluster.SAY_SECONDS, ray_cluster.JOIN_SECONDS = 0.1, 1.0
try:
    with ray_cluster.joined(address, stop, print):
        pass
except UsageError as error:
    print(error)
stop.set()
with ray_cluster.joined(address, stop, print) as ray:
    print(ray)
"""


def test_where_something_else_listens_it_waits_for_a_minute_and_says_so() -> None:
    """Ray alone would wait for many minutes, and does in its thread: the process ends all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-c", JOINING, address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    waiting, error, stopped = done.stdout.splitlines()
    assert waiting == f"waiting for Ray (--ray={address})"
    assert error.startswith(f"--ray={address}: no answer within 1 s; check that Ray ")
    assert stopped == "None"
    assert done.returncode == 0, done.stderr


def test_the_address_that_a_killed_cluster_left_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray._private.services, "find_gcs_addresses", list)  # of other tests
    assert ray_cluster._running(ray) is None, "none was ever there"
    left = Path(ray._common.utils.get_default_ray_temp_dir(), "ray_current_cluster")
    left.parent.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("", 0)) as server:  # Ray takes the machine's own address for 127.0.0.1
        port = server.getsockname()[1]
        left.write_text(f"127.0.0.1:{port}")
        assert str(ray_cluster._running(ray)).endswith(f":{port}")
    assert ray_cluster._running(ray) is None


def test_another_version_is_not_called_no_cluster() -> None:
    from ray._private.utils import check_version_info

    with pytest.raises(RuntimeError) as mismatch:
        check_version_info({"ray_version": "2.0.0", "python_version": "3.8.1"}, "node1")
    assert re.fullmatch(
        r"the cluster was started with: Ray: 2\.0\.0 Python: 3\.8\.1 This process on node1 was started with: Ray: .*; "
        "take the same versions here",
        ray_cluster._why_not(mismatch.value),
    )


RAY = [sys.executable, "-m", "ray.scripts.scripts"]
NODE = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]


@contextmanager
def node(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A node of a cluster; at the end all of its processes are killed, since on a busy machine Ray may never stop."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cluster asks for, as Ray starts them."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-token-of-enough-length-for-ray-to-take-it")


@pytest.fixture
def head(token: None) -> Iterator[str]:
    """The address of a cluster."""
    start = [*RAY, "start", "--head", "--port=6398", "--include-dashboard=false", "--block", *NODE]
    with node(start) as process:
        assert process.stdout is not None
        assert any("Ray runtime started" in line for line in process.stdout)
        yield "127.0.0.1:6398"


@pytest.mark.long
def test_a_cluster_that_asks_for_a_token(scenes: Path, tmp_path: Path, head: str) -> None:
    code, output = finish(batch(scenes, "-o", tmp_path, f"--ray={head}"), env=CLEAN)
    assert code == 2
    assert output.splitlines()[1:] == [
        f"glip: error: --ray={head}: the cluster asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or a "
        "file ~/.ray/auth_token"
    ]


@pytest.mark.long
def test_a_node_that_does_not_see_the_images_gets_none(scenes: Path, tmp_path: Path, head: str) -> None:
    """In a mount namespace where the folder is empty; it would fail fast, and so draw most of the work."""
    (tmp_path / "empty").mkdir()
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("needs the right to mount")
    mounted = 'mount --bind "$0" "$1" && shift 1 && exec "$@"'
    blind = ["unshare", "-m", "sh", "-c", mounted, str(tmp_path / "empty"), str(scenes)]
    with node([*blind, *RAY, "start", f"--address={head}", "--block", *NODE]):
        many = [scenes] * 8  # the second worker may start long after the first
        command = batch(*many, "-o", tmp_path / "run", f"--ray={head}", "--ray-workers", "2")
        code, output = finish(command, env=dict(os.environ))
    assert code == 0, output
    assert "does not see" in output
    assert lines(tmp_path / "run/results.jsonl") == 8 * len(list(scenes.glob("*.png")))
    assert b"error" not in (tmp_path / "run/results.jsonl").read_bytes()


@pytest.mark.long
def test_three_nodes_of_which_one_dies(scenes: Path, tmp_path: Path, head: str) -> None:
    """As docs/cluster.md has it: joined with a token; what is left does all, and --status sees it from outside."""
    straight, out = tmp_path / "straight", tmp_path / "ray"
    many = [scenes] * 6
    assert finish(batch(*many, "-o", straight))[0] == 0
    join = [*RAY, "start", f"--address={head}", "--block", *NODE]
    with node(join) as second:
        assert second.stdout
        assert any("Ray runtime started" in line for line in second.stdout)
        with node(join) as third:
            assert third.stdout
            assert any("Ray runtime started" in line for line in third.stdout)
            process = start(batch(*many, "-o", out, f"--ray={head}", "--ray-workers", "3"), env=dict(os.environ))
            assert wait_until(lambda: lines(out / "results.jsonl") >= 100, process)
        assert wait_until(lambda: lines(out / "results.jsonl") >= 200, process)
        said = list(describe(out))
        code, output = process.wait(), process.stdout
    assert code == 0, output
    assert any(line.startswith("host ") for line in said), said
    assert (out / "results.jsonl").read_bytes() == (straight / "results.jsonl").read_bytes()


@pytest.mark.long
@pytest.mark.usefixtures("token")
def test_a_head_that_is_gone_is_said_before_ray_ends_the_run(scenes: Path, tmp_path: Path) -> None:
    """Ray ends it a minute later, without a word; what was done is kept."""
    start_head = [*RAY, "start", "--head", "--port=6399", "--include-dashboard=false", "--block", *NODE]
    with node(start_head) as head:
        assert head.stdout
        assert any("Ray runtime started" in line for line in head.stdout)
        process = start(batch(*[scenes] * 20, "-o", tmp_path, "--ray=127.0.0.1:6399"), env=dict(os.environ))
        assert wait_until(lambda: lines(tmp_path / "results.jsonl") >= 20, process)
    assert process.wait() == 1
    assert "the head of the Ray cluster at" in process.stdout
    assert "start it, then run the same command to resume" in process.stdout


def test_a_job_means_the_same_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuned").mkdir()
    load = {"model": "tuned", "weights": Path("a.pth"), "bert": None, "device": "cpu", "offline": True}
    job = RayJob(load, label_prompt(["cat"]), DetectOptions(), AnnotatedImages(Path("out"))).absolute()
    assert job.load == load | {"model": str(tmp_path / "tuned"), "weights": tmp_path / "a.pth"}
    assert job.images.folder == tmp_path / "out"
    assert RayJob({"model": "glip-t"}, job.prompt, job.options, job.images).absolute().load == {"model": "glip-t"}
