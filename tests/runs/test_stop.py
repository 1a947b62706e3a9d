"""Ctrl-C, SIGTERM, a full disk, too little memory: one line, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glip_cli.cli.exit import stopping
from tests.forked import CLEAN, wait_until
from tests.runs.process import batch, finish, lines, start

resource = pytest.importorskip("resource", reason="sets limits of POSIX, and sends its signals")


@pytest.fixture(scope="module")
def straight(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("straight")
    assert finish(batch(scenes, "-o", out))[0] == 0
    return (out / "results.jsonl").read_bytes()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_ends_after_the_images_in_flight(
    scenes: Path, tmp_path: Path, straight: bytes, sent: signal.Signals
) -> None:
    journal, command = tmp_path / "results.jsonl", batch(scenes, "-o", tmp_path)
    process = start(command)
    assert wait_until(lambda: lines(journal) >= 10, process)
    process.send_signal(sent)
    code, output = process.wait(), process.stdout
    assert code == 130, output
    assert output.splitlines()[-1] == "stopped; run the same command to resume"
    assert "Traceback" not in output
    assert 10 <= lines(journal) < 60
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
    code, output = process.wait(), process.stdout
    assert code == 130, output
    assert output.splitlines()[-1] == "stopped; run the same command to resume"
    code, output = finish(command, stdin="".join(f"{name}\n" for name in names))
    assert code == 0, output
    assert "6 images (3 now)" in output


def batch_for_ever() -> None:
    """`glip batch` with a model that is never done with an image."""
    from glip_cli.cli.app import main
    from glip_cli.detector import Detector

    def slow(*_: object) -> None:
        print("in flight", flush=True)
        while True:
            time.sleep(0.1)  # Python sees a signal between two sleeps at the latest

    Detector.detect = slow  # type: ignore[method-assign]
    main()


def test_a_second_ctrl_c_ends_it_at_once(scenes: Path, tmp_path: Path) -> None:
    """Also while an image is in flight that takes for ever."""
    process = start(batch(scenes / "00.png", "-o", tmp_path / "out"), batch_for_ever)
    assert wait_until(lambda: "in flight" in process.stdout, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # as torchrun passes it on
    time.sleep(1)
    assert process.returncode is None, "the first waits for the image in flight"
    while process.returncode is None:  # on a busy machine the first may have been heard only now, and be the same
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    assert process.wait() == 130
    assert process.stdout.splitlines()[-1] == "glip: interrupted"


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
    journal, command = small_disk / "results.jsonl", batch(scenes, "-o", small_disk)
    code, output = finish(command)
    assert code == 1, output
    assert "No space left on device; make room, then run the same command to resume" in output.splitlines()[-1]
    assert "Traceback" not in output
    assert 0 < lines(journal) < 60
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    code, output = finish(command)
    assert code == 0, output
    assert journal.read_bytes() == straight


def test_a_file_that_may_not_grow_is_one_line_and_no_loss(scenes: Path, tmp_path: Path, straight: bytes) -> None:
    journal, command = tmp_path / "results.jsonl", batch(scenes, "-o", tmp_path)
    code, output = finish(command, limits={resource.RLIMIT_FSIZE: 32 * 512})
    assert code == 1, output
    assert "File too large; make room, then run the same command to resume" in output.splitlines()[-1]
    assert journal.stat().st_size == 32 * 512
    assert finish(command)[0] == 0
    assert journal.read_bytes() == straight


def starved_batch() -> None:
    """`glip batch` that may have no more than STARVED_OF bytes more once its model is there."""
    from glip_cli.cli.app import main
    from glip_cli.runs.runner import Runner

    call, room = Runner.__call__, int(os.environ["STARVED_OF"])

    def limited(self: Runner, sources: Iterable[Any]) -> Iterator[Any]:
        self.detector(sys.argv[2], "circle", size=(64, 64))  # what torch sets up on first use is not the run's
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
        yield from call(self, sources)

    Runner.__call__ = limited  # type: ignore[assignment,method-assign]
    main()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and limits the address space")
def test_out_of_memory_halves_the_batch(scenes: Path, tmp_path: Path) -> None:
    """For real: torch on the CPU asks the system for more than it may have."""
    images = sorted(scenes.iterdir())[:16]

    def words(count: int, out: str) -> list[str]:
        side = 640 if count > 1 else 1600  # one that does not fit is large, whatever the processor's kernels need
        more = ("--size", f"{side},{side}", "--workers", "1", "--batch-size", str(count))
        return batch(*images[:count], *more, "-o", tmp_path / out)

    def starved(room: int, count: int, out: str) -> tuple[int, str]:
        return finish(words(count, out), starved_batch, env=CLEAN | {"STARVED_OF": str(room)})

    code, output = starved(400_000_000, 16, "halved")
    assert code == 0, output
    assert "memory allowed" in output
    assert lines(tmp_path / "halved/results.jsonl") == 16
    code, output = starved(20_000_000, 1, "one")
    assert code == 1, output
    assert "out of memory on cpu" in output.splitlines()[-1]
    assert "Traceback" not in output
    assert lines(tmp_path / "one/results.jsonl") == 0
    code, output = finish(words(1, "one"))
    assert code == 0, output
    assert lines(tmp_path / "one/results.jsonl") == 1
