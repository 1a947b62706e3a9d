"""Ctrl-C, SIGTERM, a full disk, too little memory: one line, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glip_cli.cli.ending import stopping
from tests.batch.process import ASKED, GLIP, batch, finish, lines, said, start, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")]


@pytest.fixture(scope="module")
def straight(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("straight")
    assert finish(batch(scenes / "0*.png", "-o", out))[0] == 0
    return (out / "results.jsonl").read_bytes()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_ends_after_the_images_in_flight(
    scenes: Path, tmp_path: Path, straight: bytes, sent: signal.Signals
) -> None:
    journal, command = tmp_path / "results.jsonl", batch(scenes / "0*.png", "-o", tmp_path)
    process = start(command)
    assert wait_until(lambda: lines(journal) >= 10, process)
    process.send_signal(sent)
    output = said(process)
    assert process.returncode == 130, output
    assert output.splitlines()[-1] == "stopped; the same command goes on where it was"
    assert "Traceback" not in output
    assert 10 <= lines(journal) < 100
    assert journal.read_bytes() == b"".join(straight.splitlines(keepends=True)[: lines(journal)])
    code, output = finish(command)
    assert code == 0, output
    assert journal.read_bytes() == straight


@pytest.mark.parametrize("ignored", [False, True], ids=["", "nohup"])
def test_a_closed_terminal_is_a_wish_to_stop(ignored: bool) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        stop = threading.Event()
        with stopping(stop):
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.is_set() == (not ignored)
        assert signal.getsignal(signal.SIGHUP) == (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_waiting_for_stdin_it_stops_at_once(scenes: Path, tmp_path: Path) -> None:
    """And keeps what it was given; Python alone would wait for the next line."""
    journal, command = tmp_path / "results.jsonl", batch("-", "-o", tmp_path)
    process = start(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    names = [str(path) for path in sorted(scenes.iterdir())[:6]]
    process.stdin.write("".join(f"{name}\n" for name in names[:3]))
    process.stdin.flush()
    assert wait_until(lambda: lines(journal) == 3, process)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.wait(60)
    assert time.monotonic() - begun < 10
    output = said(process)
    assert process.returncode == 130, output
    assert output.splitlines()[-1] == "stopped; the same command goes on where it was"
    code, output = finish(command, given="".join(f"{name}\n" for name in names))
    assert code == 0, output
    assert "6 images (3 now)" in output


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    """Also while an image is in flight that takes for ever."""
    code = (
        "import sys, time; from glip_cli.detector import Detector\n"
        "def slow(*_):\n"
        "    print('in flight', flush=True)\n"
        "    for _ in range(10_000): time.sleep(0.1)\n"  # Python sees a signal between two sleeps at the latest
        "Detector.detect = slow\n"
        "from glip_cli.cli import main; main()"
    )
    import numpy as np

    from glip_cli.scenes import draw_scene  # as small as a picture can be had

    draw_scene(np.random.default_rng(0)).image.save(tmp_path / "0.png")
    process = start([sys.executable, "-c", code, *batch(tmp_path / "0.png", "-o", tmp_path / "out")[3:]])
    assert process.stdout is not None
    while process.stdout.readline().strip() != "in flight":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # as torchrun passes it on
    time.sleep(1)
    assert process.poll() is None, "the first waits for the image in flight"
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    output = said(process)
    assert time.monotonic() - begun < 15
    assert process.returncode == 130
    assert output.splitlines()[-1] == "glip: interrupted"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(place)]
    try:
        subprocess.run(mounted, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_one_line_and_no_loss(scenes: Path, small_disk: Path, straight: bytes) -> None:
    journal, command = small_disk / "results.jsonl", batch(scenes / "0*.png", "-o", small_disk)
    code, output = finish(command)
    assert code == 1, output
    assert "No space left on device; make room, then the same command goes on" in output.splitlines()[-1]
    assert "Traceback" not in output
    assert 0 < lines(journal) < 100
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    code, output = finish(command)
    assert code == 0, output
    assert journal.read_bytes() == straight


def test_a_file_that_may_not_grow_is_one_line_and_no_loss(scenes: Path, tmp_path: Path, straight: bytes) -> None:
    journal, command = tmp_path / "results.jsonl", batch(scenes / "0*.png", "-o", tmp_path)
    code, output = finish(["sh", "-c", 'ulimit -f 32; exec "$@"', "sh", *command])
    assert code == 1, output
    assert "File too large; make room, then the same command goes on" in output.splitlines()[-1]
    assert journal.stat().st_size == 32 * 512
    assert finish(command)[0] == 0
    assert journal.read_bytes() == straight


STARVED = """
import resource, sys
from pathlib import Path
from glip_cli.batch.runner import Runner
room, call = int(sys.argv.pop(1)), Runner.__call__
def limited(self, sources):
    import torch
    self.detector(sys.argv[2], "circle", size=(64, 64))  # what torch sets up on first use is not the run's
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + room, now + room))
    yield from call(self, sources)
Runner.__call__ = limited
from glip_cli.cli import main
main()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and limits the address space")
def test_out_of_memory_halves_the_batch(scenes: Path, tmp_path: Path) -> None:
    """For real: torch on the CPU asks the system for more than it may have."""
    some = sorted(scenes.iterdir())[:16]
    asked = ("batch", *map(str, some), *ASKED, "--size", "640,640", "--workers", "1", "--batch-size")

    def starved(room: int, batch_size: int, out: str) -> tuple[int, str]:
        return finish([sys.executable, "-c", STARVED, str(room), *asked, str(batch_size), "-o", str(tmp_path / out)])

    code, output = starved(400_000_000, 16, "halved")
    assert code == 0, output
    assert "memory allowed" in output
    assert lines(tmp_path / "halved/results.jsonl") == 16
    code, output = starved(20_000_000, 1, "one")
    assert code == 1, output
    assert "out of memory on cpu" in output.splitlines()[-1]
    assert "Traceback" not in output
    assert lines(tmp_path / "one/results.jsonl") == 0
    code, output = finish([*GLIP, *asked, "1", "-o", str(tmp_path / "one")])
    assert code == 0, output
    assert lines(tmp_path / "one/results.jsonl") == 16
