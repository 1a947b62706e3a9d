"""`glip batch` as a person runs it, with the embedded model."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from glip_cli.cli import console
from glip_cli.cli.app import app
from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from tests import forked
from tests.runs.process import ASKED, batch

PROMPT = "circle . red square . star ."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photos/0.png .. 5.png."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(6):
        draw_scene(np.random.default_rng(i)).image.save(f"photos/{i}.png")
    return tmp_path


def glip(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["batch", *arguments, *ASKED], input=stdin)


def records(path: str = "outputs/results.jsonl") -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


# --- results


def test_a_record_of_each_image_in_order(folder: Path) -> None:
    result = glip("photos")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert [record["image"] for record in records()] == [f"photos/{i}.png" for i in range(6)]
    detector = Detector.load("glip-mini", device="cpu")
    for record in records():
        found = detector(record["image"], PROMPT, threshold=0.05)
        assert [one["label"] for one in record["detections"]] == found.names
        assert record["model"] == detector.name
    last = result.stderr.splitlines()
    assert re.fullmatch(r"6 images, \d+ found", last[-3])
    assert re.fullmatch(r"[\d.]+ s, [\d.]+ images/s(; the model waited for images \d+% of the time)?", last[-2])
    assert last[-1] == "saved in outputs"


def test_again_with_another_format_nothing_is_detected_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert glip("photos").exit_code == 0
    before = Path("outputs/results.jsonl").read_bytes()

    def never(*_: object) -> None:
        raise AssertionError("detected again")

    monkeypatch.setattr(Detector, "detect", never)
    formats = ("coco", "coco-results", "mmdet", "yolo", "voc", "cvat", "labelstudio", "csv", "parquet", "jsonl")
    result = glip("photos", *(word for name in formats for word in ("--format", name)))
    assert result.exit_code == 0, result.stderr
    assert "going on after 6 images" in result.stderr
    count = sum(len(record["detections"]) for record in records())
    assert f"6 images (0 now), {count} found" in result.stderr
    assert Path("outputs/results.jsonl").read_bytes() == before
    assert len(json.loads(Path("outputs/coco_results.json").read_text())) == count
    assert len(json.loads(Path("outputs/coco.json").read_text())["annotations"]) == count
    assert len(Path("outputs/results.csv").read_text().splitlines()) == count + 1
    assert len(list(Path("outputs/preds").glob("*.json"))) == 6
    assert {"coco_images.json", "run.json"} <= {path.name for path in Path("outputs").iterdir()}


def test_a_tree_is_mirrored_and_pairs_as_loaders_pair(folder: Path) -> None:
    """`images/x/s.jpg` has `labels/x/s.txt`; of two images that differ in their suffix the later one keeps it."""
    for name in ("images/s.png", "images/train/s.png", "images/val/s.png", "images/val/s.webp"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("photos/0.png", name)
    result = glip("images", "--save-vis", "--save-crop", "--format", "yolo", "--format", "voc", "-o", ".")
    assert result.exit_code == 0, result.stderr
    stems = {"s", "train/s", "val/s", "val/s.webp"}
    for kind, suffix in (("labels", ".txt"), ("Annotations", ".xml"), ("vis", ".jpg")):
        found = {path.relative_to(kind).as_posix() for path in Path(kind).rglob("*.*") if path.is_file()}
        assert found == {stem + suffix for stem in stems}
    assert {path.parts[2] for path in Path("crops").rglob("*.jpg")} >= {"train", "val"}
    note = "note: 1 image shares its stem with another of its folder; its files keep the suffix, as val/s.webp\n"
    assert result.stderr.count(note) == 1
    before = Path("labels/val/s.txt").read_bytes()
    assert glip("images", "--save-vis", "--save-crop", "--format", "yolo", "-o", ".").exit_code == 0
    assert Path("labels/val/s.txt").read_bytes() == before


def test_two_folders_are_mirrored_below_what_holds_both(folder: Path) -> None:
    Path("more").mkdir()
    shutil.copy("photos/0.png", "more/0.jpg")
    result = glip("photos", "more", "--save-vis", "--format", "json")
    assert result.exit_code == 0, result.stderr
    names = sorted([*(f"photos/{i}" for i in range(6)), "more/0"])
    for kind in ("vis", "preds"):
        files = [path for path in Path("outputs", kind).rglob("*.*") if path.is_file()]
        assert sorted(path.relative_to(f"outputs/{kind}").with_suffix("").as_posix() for path in files) == names


def test_overwrite_removes_what_formats_made(folder: Path) -> None:
    asked = ("--format", "yolo", "--format", "mmdet")
    assert glip("photos", *asked).exit_code == 0
    Path("outputs/mine.txt").touch()
    Path("one").mkdir()
    shutil.copy("photos/0.png", "one/0.png")
    result = glip("one", *asked, "--overwrite")
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in Path("outputs/labels").iterdir()] == ["0.txt"]
    assert [path.name for path in Path("outputs/preds").iterdir()] == ["0.json"]
    assert Path("outputs/mine.txt").exists()


@pytest.mark.parametrize("given", [["photos/*.png"], ["@list.txt"], ["-"]])
def test_inputs(folder: Path, given: list[str]) -> None:
    names = "".join(f"photos/{i}.png\n" for i in range(6))
    Path("list.txt").write_text(names)
    result = glip(*given, stdin=names)
    assert result.exit_code == 0, result.stderr
    assert len(records()) == 6


def test_an_image_that_failed_is_tried_again_only_when_asked(folder: Path) -> None:
    Path("photos/3.png").write_bytes(b"")
    result = glip("photos")
    assert result.exit_code == 3
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("glip: error:")]
    assert "photos/3.png: empty, 0 bytes" in line
    assert "1 failed" in result.stderr
    shutil.copy("photos/2.png", "photos/3.png")
    assert glip("photos").exit_code == 3
    result = glip("photos", "--retry-failed")
    assert result.exit_code == 0, result.stderr
    assert "going on after 5 images" in result.stderr
    assert "6 images (1 now)" in result.stderr
    assert all("error" not in record for record in records())
    again = Path("outputs/results.jsonl").read_bytes()
    assert glip("photos", "--overwrite").exit_code == 0
    assert Path("outputs/results.jsonl").read_bytes() == again


def test_an_image_that_was_out_of_reach_names_the_machine(folder: Path) -> None:
    result = glip("photos/0.png", "gone.jpg")
    assert result.exit_code == 3
    assert records()[1]["host"] == platform.node()
    assert result.stderr.splitlines()[-2] == "--retry-failed tries 1 again that may only have been out of reach"


def test_all_failed_is_1(folder: Path) -> None:
    assert glip("gone.jpg").exit_code == 1
    assert len(records()) == 1


# --- refusals


WRONG = [
    (["photos", "--format", "xml"], "--format xml"),
    (["photos", "--palette", "nocolour"], "nocolour"),
    (["photos", "--batch-size", "0"], "--batch-size 0"),
    (["photos", "--threshold", "7"], "--threshold 7"),
    (["nothing/*.jpg"], "nothing/*.jpg"),
    ([], "no INPUT"),
]


@pytest.mark.parametrize(("arguments", "told"), WRONG)
def test_wrong_usage_is_one_line_and_exit_code_2(folder: Path, arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["batch", "-t", PROMPT, "-m", "glip-mini", "--device", "cpu", *arguments])
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("glip: error: ")]
    assert told in line
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("environment", "arguments", "told"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, [], "run under torchrun, or unset both"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, ["--ray=local"], "--ray and torchrun each spread the work"),
        ({}, ["--ray=local", "--shard", "0/2"], "--ray and --shard each spread the work"),
    ],
)
def test_ways_of_spreading_that_do_not_go_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], arguments: list[str], told: str
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    result = glip("photos", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["photos", "--top-k", "3"], "with top-k null, not 3"),
        (["photos", "--save-vis"], "without --save-vis"),
        (["photos", "--dtype", "bfloat16"], 'with dtype "auto", not "bfloat16"'),
        (["photos/0.png"], 'with inputs ["photos"], not ["photos/0.png"]'),
    ],
)
def test_another_run_in_the_folder_is_refused(folder: Path, arguments: list[str], told: str) -> None:
    assert glip("photos").exit_code == 0
    before = Path("outputs/results.jsonl").read_bytes()
    result = glip(*arguments)
    assert result.exit_code == 2
    assert f"glip: error: outputs holds a run {told}; choose another --out-dir" in result.stderr
    assert Path("outputs/results.jsonl").read_bytes() == before


def test_another_batch_size_goes_on(folder: Path) -> None:
    """Memory may force another one."""
    assert glip("photos/[012].png").exit_code == 0
    assert glip("photos/[012].png", "--batch-size", "4", "--workers", "1").exit_code == 0


def test_images_that_changed_are_refused(folder: Path) -> None:
    assert glip("photos").exit_code == 0
    Path("photos/2.png").unlink()
    result = glip("photos")
    assert result.exit_code == 2
    assert "number 3 was photos/2.png and is photos/3.png now" in result.stderr


def test_a_detect_folder_is_not_taken_over(folder: Path) -> None:
    asked = ["detect", "photos/0.png", "-t", PROMPT, "-m", "glip-mini", "--device", "cpu", "--format", "jsonl"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    result = glip("photos")
    assert result.exit_code == 2
    assert "was not made by glip batch" in result.stderr


# --- hostile files


def make_hostile(place: Path) -> int:
    """A folder of what goes wrong; how many of its names are no images."""
    place.mkdir()
    good = place / "good.png"
    draw_scene(np.random.default_rng(0)).image.save(good)
    whole = place / "whole.jpg"
    draw_scene(np.random.default_rng(1)).image.save(whole)
    (place / "truncated.jpg").write_bytes(whole.read_bytes()[:1500])
    (place / "empty.jpg").touch()
    (place / "text.jpg").write_text("To whom it may concern\n")
    (place / "folder.jpg").mkdir()
    (place / "folder.jpg/notes.txt").touch()
    (place / "dangling.jpg").symlink_to("nowhere.jpg")
    (place / "loop.jpg").symlink_to("loop.jpg")
    (place / "one.png").write_bytes(_png(1, 1))
    (place / "long.png").write_bytes(_png(20000, 10))
    for name in (b"with spaces.png", b"new\nline.png", b"-dash.png", b"\xff\xfe.png", "é\U0001f431.png".encode()):
        shutil.copy(good, os.path.join(os.fsencode(place), name))
    return 6


def _png(width: int, height: int) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    Image.new("RGB", (width, height), "red").save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are not Unicode, and links")
@pytest.mark.parametrize("walked", [True, False])
@pytest.mark.parametrize("batch_size", ["1", "4"])
def test_hostile_files_give_one_record_each(folder: Path, walked: bool, batch_size: str) -> None:
    """Found in a folder, or each named as a shell's glob would."""
    failing = make_hostile(folder / "hostile")
    names = sorted(path for path in os.listdir("hostile"))
    monitored = ["hostile"] if walked else [f"hostile/{name}" for name in names]
    result = glip(*monitored, "--batch-size", batch_size, "--save-vis", "--format", "coco", "--format", "voc")
    assert result.exit_code == 3, result.stderr
    found = records()
    assert len(found) == len({record["image"] for record in found}) == len(names) == 15
    failed = [Path(record["image"]).name for record in found if "error" in record]
    assert sorted(failed) == sorted(
        ["truncated.jpg", "empty.jpg", "text.jpg", "folder.jpg", "dangling.jpg", "loop.jpg"]
    )
    errors = [line for line in result.stderr.splitlines() if line.startswith("glip: error: ")]
    assert len(errors) == failing
    assert f"15 images, {sum(len(r.get('detections', ())) for r in found)} found, 6 failed" in result.stderr
    assert len(list(Path("outputs/vis").iterdir())) == 9
    assert glip(*monitored, "--save-vis").exit_code == 3, "the same names again: nothing has changed"
    assert len(records()) == 15


@pytest.mark.skipif(sys.platform != "linux", reason="gives up capabilities of Linux")
def test_no_permission_is_a_record_too(folder: Path) -> None:
    """A name with a leading dash, too. Root reads everything, unless it gives that right up."""
    Path("photos/3.png").chmod(0)
    shutil.copy("photos/0.png", "-dash.png")
    words = batch("-o", "out", *(f"photos/{i}.png" for i in range(6)))
    done = forked.run([*words, "--", "-dash.png"], ordinary=True)
    assert done.returncode == 3, done.stderr
    assert [record["image"] for record in records("out/results.jsonl") if "error" in record] == ["photos/3.png"]
    assert "no permission to read it" in done.stderr
    assert len(records("out/results.jsonl")) == 7


# --- what is seen


def test_quiet_says_errors_alone(folder: Path) -> None:
    assert glip("photos", "-q").stderr == ""
    result = glip("photos", "gone.jpg", "-q", "-o", "other")
    assert result.exit_code == 3
    assert result.stderr == "glip: error: gone.jpg: no such file; check the path\n"


def test_plain_lines_where_there_is_no_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
    result = glip("photos")
    lines = [line for line in result.stderr.splitlines() if "left" in line]
    assert lines
    for line in lines:
        assert re.fullmatch(r"\d of 6 images, [\d.]+/s, \d+ s left", line), line
    monkeypatch.setattr(console, "LINE_SECONDS", 1000.0)
    assert "left" not in glip("photos", "-o", "other").stderr
    assert "\x1b" not in result.stderr


def on_a_terminal(words: list[str]) -> tuple[int, bytes]:
    """Exit code, and every byte that was sent to a terminal of 100 columns."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    outside = {"TERM": "xterm-256color", "CI": "", "NO_COLOR": "", "COLUMNS": ""}
    process = forked.start(words, stdin=theirs, stdout=theirs, stderr=theirs, env=forked.CLEAN | outside)
    os.close(theirs)
    output = b""
    try:
        while part := os.read(ours, 1 << 16):
            output += part
    except OSError:  # the other side has closed
        pass
    os.close(ours)
    return process.wait(), output


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_bar_on_a_terminal(folder: Path) -> None:
    Path("photos/3.png").write_bytes(b"")
    for i in range(6, 40):
        shutil.copy("photos/0.png", f"photos/{i}.png")
    code, output = on_a_terminal(batch("photos", "-o", "out"))
    assert code == 3, output
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", output).decode()
    assert re.search(r"\d+/40 images +[\d.]+/s +0:00:\d\d", text), text
    assert output.count(b"\x1b[?25l") == output.count(b"\x1b[?25h") == 1, "the cursor is back"
    rest = output.rpartition(b"\x1b[2K")[2]
    told = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", rest).decode().replace("\r", "").strip().splitlines()
    assert len(told) == 3, told
    assert told[0].startswith("40 images, ")
    assert "glip: error: photos/3.png: empty, 0 bytes" in text


def test_its_own_drawings_are_no_input(folder: Path) -> None:
    """`glip batch .` with a folder inside for results: again, and after a kill, the images are the same ones."""
    assert glip(".", "-o", "out", "--save-vis", "--save-crop").exit_code == 0
    once = records("out/results.jsonl")
    assert not [record["image"] for record in once if "vis" in record["image"]]
    again = glip(".", "-o", "out", "--save-vis", "--save-crop")
    assert again.exit_code == 0, again.stderr
    assert records("out/results.jsonl") == once
    other = glip(".", "-o", "other", "--save-vis")  # nor are those of another run
    assert other.exit_code == 0, other.stderr
    assert records("other/results.jsonl") == once
    assert "note: 2 outputs of glip passed over: out/crops, out/vis; name it as INPUT to read it" in other.stderr
    named = glip("out/vis", "-o", "out2")  # asked for, they are
    assert named.exit_code == 0, named.stderr
    assert len(records("out2/results.jsonl")) == len(once)
    themselves = glip("out/vis", "-o", "out", "--overwrite")
    assert themselves.exit_code == 0, themselves.stderr
    assert len(records("out/results.jsonl")) == len(once)


def test_a_page_to_look_through_while_detecting_and_afterwards(folder: Path) -> None:
    assert glip("photos", "--format", "html").exit_code == 0
    page, thumbnails = Path("outputs/index.html"), Path("outputs/thumbnails")
    first = page.read_bytes()
    assert sorted(path.name for path in thumbnails.iterdir()) == [f"{i}.jpg" for i in range(6)]
    page.unlink()
    shutil.rmtree(thumbnails)
    assert "6 images (0 now)" in glip("photos", "--format", "html").stderr
    assert page.read_bytes() == first
    assert len(list(thumbnails.iterdir())) == 6
    assert glip(".", "-o", "outputs/all").exit_code == 0  # which does not read the thumbnails of other runs' folders


def test_one_page_of_the_best_and_the_doubtful(folder: Path) -> None:
    glip("photos")
    assert "6 images (0 now)" in glip("photos", "--grid").stderr
    with Image.open("outputs/grid.jpg") as page:
        assert page.width > 900
    refused = glip("photos", "-o", "other", "--format", "grid")
    assert refused.exit_code == 2
