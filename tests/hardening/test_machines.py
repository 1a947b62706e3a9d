"""Hostile machines: no home, a locked one, no rights, no room, no UTF-8, other processes at the same cache."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from glip_cli.data.sources import expand
from glip_cli.data.synthetic import draw_scene
from tests import forked
from tests.checkpoints.support import foreign, serving, small_state
from tests.forked import CLEAN, PATIENCE
from tests.hardening.support import MINI, one_error

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

SCENARIOS = """
import json, sys, traceback
from typer.testing import CliRunner
from glip_cli.cli.app import app
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, words)
    odd = "" if isinstance(done.exception, SystemExit | None) else "".join(traceback.format_exception(done.exception))
    print(json.dumps({"code": done.exit_code, "out": done.stdout, "err": done.stderr + odd}))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_scene(np.random.default_rng(0)).image.save("0.png")
    return tmp_path


def run_all(prefix: list[str], environment: dict[str, str], *commands: list[str]) -> list[dict]:
    """Each command's end, all in one real process: libraries look for the home while they are imported."""
    line = [*prefix, sys.executable, "-c", SCENARIOS, json.dumps(commands)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(row) for row in done.stdout.splitlines()]


ASKED = (
    ["detect", "0.png", *MINI, "--json"],
    ["batch", "0.png", *MINI, "-o", "run"],
    ["weights", "list"],
    ["detect", "-t", "cat", "--explain", "-m", "glip-t", "--offline"],
    ["weights", "fetch", "glip-t", "--offline"],
    ["detect", "0.png", "-t", "cat", "--offline", "--device", "cpu"],
    ["detect", "0.png", "-t", "cat", "--weights", "~/x.pth"],
    ["detect", "0.png", "-t", "cat", "-m", "~nobody-of-this-name/x"],
    ["detect", "0.png", "-t", "cat", "-m", "glip-mini", "--adapter", "~/x"],
    ["detect", "0.png", "-t", "cat", "-m", "glip-mini", "--bert", "~/x", "--device", "cpu"],
)


def check(ends: list[dict]) -> None:
    """The first four work without a cache; the others fail in one line each."""
    assert [end["code"] for end in ends[:4]] == [0] * 4, ends[:4]
    assert json.loads(ends[0]["out"])["detections"]
    for end in ends[4:]:
        assert end["code"] in (1, 2), end
        one_error(end["err"])


@linux
def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME, and a user that the system does not know, as in a container that was given a number."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv, can become a user without a name")
    environment = {key: value for key, value in CLEAN.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    rights = "+dac_override,+dac_read_search,+fowner"  # to read this Python, wherever it is installed
    prefix = ["setpriv", "--reuid=54321", "--clear-groups", f"--inh-caps={rights}", f"--ambient-caps={rights}"]
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are root's alone
        Path(name).chmod(0o777)
        monkeypatch.chdir(name)
        draw_scene(np.random.default_rng(0)).image.save("0.png")
        check(run_all(prefix, environment, *ASKED))
        assert not list(Path(name).rglob("*~*"))
        monkeypatch.undo()


@linux
@pytest.mark.parametrize("mode", [0o000, pytest.param(0o555, marks=pytest.mark.long)])
def test_a_home_that_is_locked_or_read_only(folder: Path, mode: int) -> None:
    home = folder / "home"
    home.mkdir(mode=mode)
    environment = {key: value for key, value in CLEAN.items() if key != "XDG_CACHE_HOME"} | {"HOME": str(home)}
    prefix = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv to forbid it")
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    try:
        check(run_all(prefix, environment, *ASKED))
    finally:
        home.chmod(0o755)
    assert list(home.iterdir()) == []


# -------------------------------------------------------------------------------------------------------- encodings


@linux
def test_labels_and_names_where_nothing_is_utf8(folder: Path) -> None:
    (folder / "0.png").rename(folder / "café-图.png")
    (folder / "labels.txt").write_text("circle (é图😀)\nsquare (ü)\nstar (ß)\n", encoding="utf-8")
    words = ["detect", ".", "-t", "@labels.txt", *MINI[2:], "--save-crop", "--json"]
    done = forked.run(words, env=CLEAN | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    record = json.loads(done.stdout)
    assert record["labels"] == ["circle (é图😀)", "square (ü)", "star (ß)"]
    assert record["detections"]
    assert "Traceback" not in done.stderr
    (written,) = (folder / "outputs" / "preds").iterdir()
    assert json.loads(written.read_text(encoding="utf-8"))["labels"] == record["labels"]
    assert len(list((folder / "outputs" / "crops").rglob("*.jpg"))) == len(record["detections"])


@linux
@pytest.mark.long
def test_file_names_that_cannot_be_written_are_one_line(folder: Path) -> None:
    """Python itself uses UTF-8 with LC_ALL=C; here it is told not to."""
    (folder / "labels.txt").write_text("circle (é)\nsquare (é)\nstar (é)\n", encoding="utf-8")
    words = ["detect", "0.png", "-t", "@labels.txt", *MINI[2:], "--save-crop"]
    environment = CLEAN | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-m", "glip_cli", *words], env=environment, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "set PYTHONUTF8=1" in one_error(done.stderr)


@linux
@pytest.mark.parametrize("words", [["weights", "list"], ["weights", "list", "--json"], ["--version"]])
def test_stdout_that_is_full(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "glip_cli", *words], stdout=full, stderr=subprocess.PIPE,
                              text=True, env=CLEAN, timeout=PATIENCE, check=False)  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in one_error(done.stderr)
    assert len(done.stderr.splitlines()) == 1


# ------------------------------------------------------------------------------------------------------------ lists


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_from_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, end: str) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a b/é 图.png", "a b/x.png", "y.png"]
    for name in names:
        path = tmp_path / "lists" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lines = ["# my images", "a b\\é 图.png", "  .\\a b\\x.png  ", "", "y.png", "C:\\no\\such.png"]
    (tmp_path / "lists" / "list.txt").write_bytes(end.join([*lines, ""]).encode(encoding))
    found = list(expand(["@lists/list.txt"]))
    assert [os.path.normpath(source.location) for source in found[:3]] == [f"lists/{name}" for name in names]
    assert [source.name for source in found] == [line.strip() for line in lines if line.strip() and line[0] != "#"]
    assert len(found) == 4


# ------------------------------------------------------------------------------------------- one cache, many hands

CONTENT = random.Random(0).randbytes(3_000_000)
FETCH = """
import sys; from pathlib import Path
from glip_cli.errors import FetchError
from glip_cli.checkpoints import fetch, registry
checkpoint = registry.Checkpoint("small", "glip-t", "mmdet", "MIT", urls=(sys.argv[1],), sha256=sys.argv[2])
try:
    found = fetch.fetch(checkpoint, cache_dir=Path(sys.argv[3]))
except FetchError as error:
    sys.exit(f"FetchError: {error}")
assert found.read_bytes() == Path(sys.argv[4]).read_bytes(), "torn"
"""


def fetchers(count: int, url: str, cache: Path, whole: Path, **options: object) -> list[subprocess.Popen[str]]:
    sha256 = hashlib.sha256(whole.read_bytes()).hexdigest()
    command = [sys.executable, "-c", FETCH, url, sha256, str(cache), str(whole)]
    environment = CLEAN | {"HF_HUB_OFFLINE": "0"}
    return [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options) for _ in range(count)
    ]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    (tmp_path / "whole").write_bytes(CONTENT)
    return tmp_path / "whole"


def test_four_processes_and_one_cache(tmp_path: Path, whole: Path) -> None:
    with serving() as server:
        server.files["x.pth"] = CONTENT
        server.cuts = [1_000_000]  # the first answer breaks off, so that somebody has to go on
        processes = fetchers(4, server.url("x.pth"), tmp_path / "cache", whole)
        said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert [asked for _, asked in server.asked] == [None, "bytes=1000000-"], "each byte once"
    kept = [path for path in (tmp_path / "cache" / "downloads").iterdir() if path.suffix != ".lock"]
    assert [path.name for path in kept] == ["x.pth"]


def convert_four_times() -> None:
    """A file that four processes convert at once, and one more finds converted."""
    from glip_cli.checkpoints import load

    pth, cache, gate = Path(sys.argv[1]), Path(sys.argv[2]), os.pipe()
    torch.save({"state_dict": foreign(small_state(), "mmdet")}, pth)
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            os.close(gate[1])
            os.read(gate[0], 1)  # until all are there
            found = load.load(pth, cache_dir=cache)
            os._exit(found.architecture != "glip-mini")
        children.append(child)
    os.close(gate[1])
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    print(load.load(pth, cache_dir=cache).path.parent.name)


@linux
def test_four_conversions_of_one_file_at_once(tmp_path: Path) -> None:
    done = forked.run([tmp_path / "x.pth", tmp_path / "cache"], convert_four_times)
    assert done.stdout.splitlines() == ["[0, 0, 0, 0]", "converted"], done.stderr
    kept = [path for path in (tmp_path / "cache" / "converted").iterdir() if path.suffix != ".lock"]
    assert len(kept) == 1
    assert kept[0].suffix == ".safetensors"


def test_killed_at_random_moments_the_next_one_finds_a_whole_file(tmp_path: Path, whole: Path) -> None:
    rng = random.Random(1)
    with serving() as server:
        server.files["x.pth"] = CONTENT
        for _ in range(3):
            server.cuts.append(rng.randrange(1, 500_000))
            processes = fetchers(2, server.url("x.pth"), tmp_path / "cache", whole)
            time.sleep(rng.uniform(0.2, 0.8))
            for process in processes:
                process.send_signal(signal.SIGKILL)
                process.communicate()
        (last,) = fetchers(1, server.url("x.pth"), tmp_path / "cache", whole)
        said = last.communicate(timeout=PATIENCE)[1]
    assert last.returncode == 0, said


@linux
def test_a_disk_without_room_is_one_line_and_leaves_nothing_torn(tmp_path: Path, whole: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        with serving() as server:
            server.files["x.pth"] = CONTENT
            (process,) = fetchers(1, server.url("x.pth"), small / "cache", whole)
            said = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 1
        assert said.startswith("FetchError: cannot keep small: No space left on device; set GLIP_CACHE")
        assert len(said.splitlines()) == 1
        assert not (small / "cache" / "downloads" / "x.pth").exists()
    finally:
        subprocess.run(["umount", str(small)], check=False)
