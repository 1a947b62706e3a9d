"""Videos that are written: what another decoder and a browser make of them, whole, stopped or killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import av
import pytest

from glip_cli.errors import OutputError
from glip_cli.outputs import video
from glip_cli.outputs.video import VideoFile, comment_of
from tests import forked
from tests.data.clips import draw, square_left

RATE = Fraction(10)


def write(path: Path, count: int = 12, size: tuple[int, int] = (96, 64), rate: Fraction = RATE) -> VideoFile:
    file = VideoFile(path, rate, "made here")
    for number in range(count):
        file.add(draw(number, size), Fraction(number) / rate)
    return file


def read(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("codec", video._CODECS)
def test_frames_come_back_with_their_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    monkeypatch.setattr(video, "_CODECS", (codec,))
    write(tmp_path / "vis" / "a.mp4").close()
    assert [path.name for path in (tmp_path / "vis").iterdir()] == ["a.mp4"]
    frames = read(tmp_path / "vis" / "a.mp4")
    assert [frame.time for frame in frames] == [pytest.approx(number / 10) for number in range(12)]
    assert {frame.format.name for frame in frames} == {"yuv420p"}
    assert all(abs(square_left(frame.to_image()) - 2 * number) <= 2 for number, frame in enumerate(frames))
    with av.open(str(tmp_path / "vis" / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == RATE
    data = (tmp_path / "vis" / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser begins before it has the whole
    assert comment_of(tmp_path / "vis" / "a.mp4") == "made here"


def test_odd_sides_get_a_pixel_and_later_sizes_are_fitted(tmp_path: Path) -> None:
    file = VideoFile(tmp_path / "a.mp4", RATE)
    for number, size in enumerate([(95, 63), (95, 63), (40, 50)]):
        file.add(draw(0, size), Fraction(number, 10))
    file.close()
    frames = read(tmp_path / "a.mp4")
    assert {(frame.width, frame.height) for frame in frames} == {(96, 64)}
    first = frames[0].to_image()
    assert first.getpixel((95, 63)) == pytest.approx((128, 128, 128), abs=6)


def test_times_that_repeat_or_go_back_are_put_right(tmp_path: Path) -> None:
    file = VideoFile(tmp_path / "a.mp4", RATE)
    for number, time in enumerate([0, Fraction(1, 2), Fraction(1, 2), Fraction(1, 4)]):
        file.add(draw(number), Fraction(time))
    file.close()
    times = [frame.time for frame in read(tmp_path / "a.mp4")]
    assert len(times) == 4
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    "rate", [Fraction(1, 10**12), Fraction(30_000, 1001 * 10**7), Fraction(2**31 - 1, 3), Fraction(10**15)]
)
def test_rates_that_no_file_can_say_are_near_to_those_that_it_can(tmp_path: Path, rate: Fraction) -> None:
    write(tmp_path / "a.mp4", count=2, rate=rate).close()
    first, second = (frame.time for frame in read(tmp_path / "a.mp4"))
    assert first == 0
    assert second > 0


def test_one_frame_none_and_one_that_is_given_up(tmp_path: Path) -> None:
    write(tmp_path / "one.mp4", 1).close()
    assert len(read(tmp_path / "one.mp4")) == 1
    write(tmp_path / "none.mp4", 0).close()
    write(tmp_path / "up.mp4").discard()
    assert [path.name for path in tmp_path.iterdir()] == ["one.mp4"]
    assert comment_of(tmp_path / "none.mp4") is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_and_a_frame_that_no_encoder_takes(tmp_path: Path) -> None:
    (tmp_path / "a.part.mp4").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        write(tmp_path / "a.mp4", 30)
    wide = VideoFile(tmp_path / "b.mp4", RATE)
    with pytest.raises(OutputError, match=r"b\.mp4: no video of 20000 x 40 pixels can be encoded"):
        wide.add(draw(0, (20_000, 40)), Fraction(0))
    wide.close()
    assert not (tmp_path / "b.part.mp4").exists()


def _grow() -> None:
    """Write for ever."""
    import sys

    write(Path(sys.argv[1]), 10**6)


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_what_a_killed_process_leaves_plays(tmp_path: Path) -> None:
    process = forked.start([tmp_path / "a.mp4"], program=_grow)
    part = tmp_path / "a.part.mp4"
    forked.wait_until(lambda: part.exists() and part.stat().st_size > 3_000, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    frames = []
    with av.open(str(part)) as container, suppress(av.error.InvalidDataError):  # at the fragment that was begun
        for frame in container.decode(video=0):
            frames.append(frame)
    assert len(frames) > 20
    assert abs(square_left(frames[20].to_image()) - 40) <= 2
    assert not (tmp_path / "a.mp4").exists()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_browser_plays_it(tmp_path: Path) -> None:
    from tests.browser import open_browser

    write(tmp_path / "a.mp4", 15).close()
    (tmp_path / "page.html").write_text("<video muted src=a.mp4></video>")
    with served(tmp_path) as server, open_browser() as browser:
        page = browser.new_page()
        page.goto(f"{server}/page.html")
        ready, duration, width, height, error = page.evaluate(
            """async () => {
                const video = document.querySelector("video");
                await video.play();
                return [video.readyState, video.duration, video.videoWidth, video.videoHeight, video.error];
            }"""
        )
    assert ready >= 3  # HAVE_FUTURE_DATA
    assert duration == pytest.approx(1.5, abs=0.01)
    assert (width, height, error) == (96, 64, None)
