"""`glip detect` and `glip batch` on videos and files of pages, with the embedded model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from glip_cli.cli.app import app
from glip_cli.data.synthetic import draw_scene
from glip_cli.outputs import video
from tests import forked
from tests.data.clips import make_clip
from tests.runs.process import ASKED, batch, finish, kept, lines, start


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with clip.mp4 of 12 frames and pages.tif of 3 scenes, also as pages/0.png and so on."""
    monkeypatch.chdir(tmp_path)
    make_clip(Path("clip.mp4"))
    scenes = [draw_scene(np.random.default_rng(i)).image for i in range(3)]
    scenes[0].save("pages.tif", save_all=True, append_images=scenes[1:])
    Path("pages").mkdir()
    for i, scene in enumerate(scenes):
        scene.save(f"pages/{i}.png")
    return tmp_path


def glip(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [command, *arguments, *ASKED])


def records(path: str = "outputs/results.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def status(run: str) -> list[str]:
    """How many images are done of how many, the counts, and the state."""
    *told, state = CliRunner().invoke(app, ["batch", "--status", "-o", run]).stdout.splitlines()
    return [*told[0].split(", ", 1), state]


def frames(path: str | Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


# --- pages


@pytest.mark.parametrize("command", ["detect", "batch"])
@pytest.mark.usefixtures("folder")
def test_pages_have_the_answers_of_the_same_images(command: str) -> None:
    result = glip(command, "pages.tif", "--frames", "all")
    assert result.exit_code == 0, result.stderr
    assert glip(command, "pages", "-o", "alone", *(["--format", "jsonl"] if command == "detect" else [])).exit_code == 0
    found = records()
    assert [one["image"] for one in found] == [f"pages.tif#frame={number}" for number in range(3)]
    assert [one["frame"] for one in found] == [0, 1, 2]
    assert all("time" not in one for one in found)
    assert sum(len(one["detections"]) for one in found) > 3
    assert [one["detections"] for one in found] == [one["detections"] for one in records("alone/results.jsonl")]


@pytest.mark.usefixtures("folder")
def test_without_the_flag_a_note_says_what_was_left() -> None:
    result = glip("detect", "pages.tif", "--no-save-vis", "--format", "jsonl")
    assert [one["image"] for one in records()] == ["pages.tif"]
    assert "note: 1 image holds several frames (pages.tif 3), of which the first is read" in result.stderr


@pytest.mark.usefixtures("folder")
def test_files_of_each_page() -> None:
    formats = ("yolo", "voc", "coco", "csv")
    result = glip("batch", "pages.tif", "--frames", "all", "--save-vis", *(f"--format={name}" for name in formats))
    assert result.exit_code == 0, result.stderr
    stems = {f"pages-{number:06}" for number in range(3)}
    for kind in ("vis", "labels", "Annotations"):
        assert {path.stem for path in Path("outputs", kind).iterdir()} == stems
    images = json.loads(Path("outputs/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"pages.tif#frame={number}" for number in range(3)]


@pytest.mark.usefixtures("folder")
def test_a_value_that_there_is_not() -> None:
    result = glip("detect", "pages.tif", "--frames", "2")
    assert result.exit_code == 2
    assert result.stderr.endswith("--frames 2: the one value is all; without it the first of an image is read\n")


# --- videos


@pytest.mark.usefixtures("folder")
def test_a_video_has_a_record_for_each_frame_and_is_drawn() -> None:
    result = glip("detect", "clip.mp4", "--every", "5", "--json")
    assert result.exit_code == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert found == records()
    assert [(one["image"], one["frame"], one["time"]) for one in found] == [
        ("clip.mp4#frame=0", 0, 0.0),
        ("clip.mp4#frame=5", 5, 0.5),
        ("clip.mp4#frame=10", 10, 1.0),
    ]
    assert list(found[0])[:4] == ["schema", "image", "frame", "time"]
    assert [path.name for path in Path("outputs/vis").iterdir()] == ["clip.mp4"]
    drawn = frames("outputs/vis/clip.mp4")
    assert [frame.time for frame in drawn] == [0.0, 0.5, 1.0]
    pixels = np.asarray(drawn[0].to_image(), int)
    with av.open("clip.mp4") as container:
        plain = np.asarray(next(container.decode(video=0)).to_image(), int)
    assert np.abs(pixels - plain).max() > 100  # a box


@pytest.mark.usefixtures("folder")
def test_detect_and_batch_give_the_same_of_a_video() -> None:
    assert glip("detect", "clip.mp4", "pages.tif").exit_code == 0
    result = glip("batch", "clip.mp4", "pages.tif", "-o", "run", "--save-vis")
    assert result.exit_code == 0, result.stderr
    assert records() == records("run/results.jsonl")
    assert sorted(path.name for path in Path("run/vis").iterdir()) == ["clip.mp4", "pages.jpg"]
    one, other = frames("outputs/vis/clip.mp4"), frames("run/vis/clip.mp4")
    assert len(one) == len(other) == 12
    assert np.array_equal(one[7].to_ndarray(), other[7].to_ndarray())


@pytest.mark.usefixtures("folder")
def test_a_damaged_video_has_the_frames_before_and_one_error() -> None:
    data = bytearray(make_clip(Path("b.mp4"), 30).read_bytes())
    middle = len(data) // 3
    data[middle : middle + 60] = bytes(60)
    Path("b.mp4").write_bytes(data)
    result = glip("batch", "b.mp4", "--save-vis")
    assert result.exit_code == 3
    *before, last = records()
    assert len(before) == len(frames("outputs/vis/b.mp4")) > 0
    assert last["image"] == f"b.mp4#frame={len(before)}"
    assert result.stderr.count("glip: error: b.mp4: damaged after frame") == 1


@pytest.mark.usefixtures("folder")
def test_a_stray_video_in_a_folder_is_counted_and_not_read() -> None:
    os.rename("clip.mp4", "pages/clip.mp4")
    result = glip("batch", "pages")
    assert len(records()) == 3
    assert ".mp4 1 (videos are read where they are named, or in folders with --frames all)" in result.stderr
    assert glip("batch", "pages", "--frames", "all", "-o", "all").exit_code == 0
    assert len(records("all/results.jsonl")) == 15
    assert status("all")[::2] == ["15 of 15 images done", "complete"]
    refused = glip("batch", "pages", "--every", "3", "-o", "all")
    assert refused.exit_code == 2
    assert "all holds a run without --every 3, and with --frames all, not given now; choose" in refused.stderr
    assert "run without --every 3" in glip("batch", "pages", "--frames", "all", "--every", "3", "-o", "all").stderr


@pytest.mark.usefixtures("folder")
def test_a_run_of_a_video_is_complete_once_all_its_frames_are_done() -> None:
    """In one process, in several, and no more once an image is added."""
    for shard in ("0/2", "1/2"):
        assert glip("batch", "clip.mp4", "-o", "run", "--shard", shard).exit_code == 0
    assert status("run")[::2] == ["12 of 12 images done", "complete"]
    asked = ("batch", "pages", "--frames", "all")
    assert glip(*asked).exit_code == 0
    assert status("outputs")[::2] == ["3 of 3 images done", "complete"]
    assert glip(*asked, "--overwrite", "-o", "run").exit_code == 0
    assert status("run")[::2] == ["3 of 3 images done", "complete"]


@pytest.mark.usefixtures("folder")
def test_a_video_that_was_not_there_is_not_promised_to_a_retry() -> None:
    asked = ("batch", "later.mp4", "gone.png", "pages", "-o", "run")
    said = glip(*asked).stderr
    assert "--retry-failed tries 1 again that may only have been out of reach" in said
    assert "1 file of many images could not be opened; --retry-failed cannot add what is in it" in said
    os.rename("clip.mp4", "later.mp4")
    refused = glip(*asked, "--retry-failed")
    assert refused.exit_code == 2
    assert "number 1 was later.mp4 and is later.mp4#frame=0 now; choose another --out-dir" in refused.stderr


@pytest.mark.usefixtures("folder")
def test_what_was_drawn_is_drawn_again_only_for_other_results() -> None:
    asked = ("batch", "clip.mp4", "--every", "4", "--save-vis")
    assert "drawing outputs/vis/clip.mp4" in glip(*asked).stderr
    before = Path("outputs/vis/clip.mp4").stat().st_mtime_ns
    assert "drawing" not in glip(*asked).stderr
    assert Path("outputs/vis/clip.mp4").stat().st_mtime_ns == before
    Path("outputs/vis/clip.mp4").unlink()
    assert "drawing" in glip(*asked).stderr
    assert len(frames("outputs/vis/clip.mp4")) == 3
    assert "drawing" in glip(*asked, "--overwrite", "--top-k", "1").stderr


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.usefixtures("folder")
def test_killed_at_a_frame_it_goes_on_there() -> None:
    make_clip(Path("long.mp4"), 24)
    command = batch("long.mp4", "--save-vis", "--track", "-o", "killed")
    process = start(command)
    forked.wait_until(lambda: lines(Path("killed/results.jsonl")) >= 8, process)
    process.kill()
    process.wait()
    done = lines(Path("killed/results.jsonl"))
    assert 8 <= done < 24
    code, output = finish(command)
    assert code == 0, output
    assert f"going on after {done} images" in output
    code, output = finish(batch("long.mp4", "--save-vis", "--track", "-o", "whole"))
    assert code == 0, output
    one, other = kept(Path("killed")), kept(Path("whole"))
    assert one.keys() == other.keys() == {".total", "results.jsonl", "run.json", "vis/long.mp4"}
    assert one["results.jsonl"] == other["results.jsonl"]
    assert one["results.jsonl"].count(b'"track": 0') > 20
    assert len(frames("killed/vis/long.mp4")) == 24


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("folder")
def test_a_video_that_is_stopped_plays_as_far_as_it_came(number: int) -> None:
    make_clip(Path("long.mp4"), 400)
    process = forked.start(["detect", "long.mp4", "-o", "out", *ASKED])
    forked.wait_until(lambda: process.stdout.count("#frame=") >= 15, process)
    process.send_signal(number)
    assert process.wait() == 130, process.stderr
    assert [path.name for path in Path("out/vis").iterdir()] == ["long.mp4"]
    drawn = frames("out/vis/long.mp4")
    assert 14 <= len(drawn) < 400
    assert abs(len(drawn) - len(records("out/results.jsonl"))) <= 1


@pytest.mark.usefixtures("folder")
def test_detect_and_batch_track_alike() -> None:
    assert glip("detect", "clip.mp4", "pages.tif", "clip.mp4", "--track", "--format", "jsonl,coco").exit_code == 0
    for _ in range(2):  # the second time from the records that are there
        result = glip("batch", "clip.mp4", "pages.tif", "clip.mp4", "--track", "-o", "run", "--format", "coco")
        assert result.exit_code == 0, result.stderr
        assert records() == records("run/results.jsonl")
    given = [[one.get("track") for one in record["detections"]] for record in records()]
    assert given[:12] == given[13:], "each reading of a video has numbers of its own"
    assert given[12] == [None] * len(given[12]), "an image has none"
    assert 0 in given[5]
    annotations = json.loads(Path("run/coco.json").read_text())["annotations"]
    assert [one.get("track_id") for one in annotations] == [track for record in given for track in record]


@pytest.mark.usefixtures("folder")
def test_a_finished_run_is_tracked_without_detecting_again() -> None:
    """The flag stays with the run from then on."""
    asked = ("batch", "clip.mp4", "-o", "run")
    assert glip(*asked).exit_code == 0
    assert "12 images (0 now)" in glip(*asked, "--track").stderr
    assert glip("batch", "clip.mp4", "-o", "whole", "--track").exit_code == 0
    assert records("run/results.jsonl") == records("whole/results.jsonl")
    assert json.loads(Path("run/run.json").read_text()) == json.loads(Path("whole/run.json").read_text())
    refused = glip(*asked)
    assert refused.exit_code == 2
    assert "run holds a run with --track, not given now: give --track to resume it" in refused.stderr


@pytest.mark.usefixtures("folder")
def test_shards_of_a_video_are_merged_tracked_and_drawn() -> None:
    asked = ("batch", "clip.mp4", "--track", "--save-vis")
    assert glip(*asked, "-o", "whole").exit_code == 0
    for number in range(2):
        assert glip(*asked, "-o", f"node{number}", "--shard", f"{number}/2").exit_code == 0
        assert len(records(f"node{number}/shards/{number}-of-2.jsonl")) == 6
    shutil.copytree("node1/shards", "node0/shards", dirs_exist_ok=True)
    merged = CliRunner().invoke(app, ["batch", "--merge", "-o", "node0"])
    assert merged.exit_code == 0, merged.stderr
    assert records("node0/results.jsonl") == records("whole/results.jsonl")
    assert not Path("node0/vis").exists()
    assert "drawing node0/vis/clip.mp4" in glip(*asked, "-o", "node0", "--shard", "0/2").stderr
    assert len(frames("node0/vis/clip.mp4")) == 12


@pytest.mark.usefixtures("folder")
def test_tracking_without_its_package_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    for command in ("detect", "batch"):
        result = glip(command, "clip.mp4", "--track")
        assert result.exit_code == 2
        assert result.stderr.endswith("--track needs the package trackers: pip install 'glip-cli[track]'\n")
    assert not Path("outputs").exists()


def test_a_clip_is_read_from_a_list(folder: Path) -> None:
    (folder / "list.txt").write_text("pages/0.png\nclip.mp4\n")
    result = glip("batch", "@list.txt", "--every", "6", "--save-vis")
    assert result.exit_code == 0, result.stderr
    assert [one["image"] for one in records()] == ["pages/0.png", "clip.mp4#frame=0", "clip.mp4#frame=6"]
    assert sorted(str(path.relative_to("outputs/vis")) for path in Path("outputs/vis").rglob("*.*")) == [
        "clip.mp4",
        "pages/0.jpg",
    ]
    with Image.open("outputs/vis/pages/0.jpg") as image:
        assert image.size == (160, 160)


@pytest.mark.parametrize("command", ["detect", "batch"])
def test_a_page_shows_each_frame(folder: Path, command: str) -> None:
    """Of a frame no file is left to make its thumbnail of afterwards."""
    assert (
        glip(command, "clip.mp4", "pages.tif", "--every", "2", "--format", "html", "--format", "jsonl").exit_code == 0
    )
    page = Path("outputs/index.html").read_text()
    shown = re.findall(r'^\["([^"]*)","(?:clip\.mp4|pages\.tif)#frame=', page, re.MULTILINE)
    assert shown == [
        f"thumbnails/{name}.jpg"
        for name in [*(f"clip-{i:06}" for i in range(0, 12, 2)), "pages-000000", "pages-000002"]
    ]


@pytest.mark.parametrize("command", ["detect", "batch"])
def test_tracks_without_a_video_are_a_note(folder: Path, command: str) -> None:
    assert "--track: no video was read" in glip(command, "pages.tif", "--frames", "all", "--track").stderr
    assert "--track: no" not in glip(command, "clip.mp4", "--every", "6", "--track", "-o", "video").stderr
