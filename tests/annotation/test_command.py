"""`glip annotate` as a person runs it: what it says, what it leaves, and that nothing stops it for good."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path

import pytest

from glip_cli.cli import console
from glip_cli.cli.app import run
from glip_cli.training.dataset import read_train_set
from tests.annotation.examples import captioned, draw, write_jsonl, write_tar
from tests.forked import wait_until
from tests.runs.process import finish, kept, lines, start

MODEL = ("-m", "glip-mini", "--device", "cpu", "--threshold", "0.2")
FORMATS = ("--format", "grounding,coco", "--format", "yolo")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images in photos/, and beside them captions.jsonl with two captions each."""
    folder = tmp_path_factory.mktemp("set")
    write_jsonl(folder / "captions.jsonl", captioned(draw(folder / "photos", 40)))
    return folder / "photos"


def command(photos: Path, out: Path, *more: str) -> list[str]:
    captions = ("--captions", str(photos.parent / "captions.jsonl"), "--images", str(photos))
    return ["annotate", *captions, "-o", str(out), *MODEL, *more]


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    assert run(command(photos, out, *FORMATS)) == 0
    return out


def test_what_it_says_and_leaves(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_SECONDS", math.inf)  # no line in between, however slow the machine
    assert run(command(photos, tmp_path / "run")) == 0
    output = capsys.readouterr()
    assert output.out == ""
    told = output.err.splitlines()
    assert told[0] == "captions: 80, of 40 images"
    assert told[-1] == f"saved in {tmp_path / 'run'}"
    train_set, findings = read_train_set(tmp_path / "run/grounding.json", photos)
    assert len(train_set) == findings.images > 40
    assert told[1].startswith(f"{len(train_set)} of 80 captions have boxes, ")
    assert told[2] == f"{findings.boxes} boxes"
    assert sorted(kept(tmp_path / "run")) == [".total", "grounding.json", "results.jsonl", "run.json"]


def test_its_progress_counts_captions(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
    captions = write_jsonl(tmp_path / "c.jsonl", captioned(["0.png", "1.png"]))
    words = ["annotate", "--captions", str(captions), "--images", str(photos), "-o", str(tmp_path / "run"), *MODEL]
    assert run(words) == 0
    told = capsys.readouterr().err
    assert re.search(r"^4( of 4)? captions, [0-9.]+/s", told, re.MULTILINE)
    assert not re.search(r"images, [0-9.]+/s", told)
    assert run(words) == 0
    assert "going on after 4 captions\n" in capsys.readouterr().err


def test_phrases_outside_the_vocabulary_are_noted_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("0.png", "[裂纹] and a [star]"), ("1.png", "[划痕]"), ("2.png", "[裂纹]")]
    captions = write_jsonl(tmp_path / "c.jsonl", rows)
    assert (
        run(["annotate", "--captions", str(captions), "--images", str(photos), "-o", str(tmp_path / "run"), *MODEL])
        == 0
    )
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: the model's vocabulary knows nothing of '裂纹', '划痕': it reads [UNK] instead",
        "note: the model cannot tell these labels apart: '裂纹', '划痕'",
    ]


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
@pytest.mark.parametrize("name", ["grounding.json", "results.jsonl", "run.json"])
def test_a_file_of_somebody_else_is_not_replaced(
    name: str, more: tuple[str, ...], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text('{"images": []}')
    assert run(command(photos, tmp_path, *more)) == 2
    assert re.search(rf"{name} was not written by .*glip; choose another --out-dir\n", capsys.readouterr().err)
    assert (tmp_path / name).read_text() == '{"images": []}'


def test_again_does_nothing_and_other_captions_are_refused(
    photos: Path, straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kept(straight)
    assert run(command(photos, straight, "--format", "grounding")) == 0  # its own file is replaced
    assert "going on after 80" in capsys.readouterr().err
    assert kept(straight) == before
    other = tmp_path / "captions.jsonl"
    other.write_text((photos.parent / "captions.jsonl").read_text().replace("green moon", "grey moon"))
    assert run(["annotate", "--captions", str(other), "--images", str(photos), "-o", str(straight), *MODEL]) == 2
    assert "holds a run with captions" in capsys.readouterr().err
    assert run([*command(photos, straight)[:-1], "0.3"]) == 2
    assert "holds a run with threshold 0.2, not 0.3" in capsys.readouterr().err


def test_two_processes_share_the_captions(
    photos: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert run(command(photos, tmp_path / "run", *FORMATS)) == 0
    shared_out, alone = kept(tmp_path / "run"), kept(straight)
    for settings in (shared_out, alone):
        del settings["run.json"]  # it says how many processes
    assert shared_out == alone


@pytest.mark.long
def test_killed_at_any_moment_it_goes_on(photos: Path, tmp_path: Path) -> None:
    chance, journal = random.Random(3), tmp_path / "killed/results.jsonl"
    words = command(photos, journal.parent, *FORMATS)
    for _ in range(2):
        target = lines(journal) + chance.randint(1, 25)
        process = start(words)
        assert wait_until(lambda least=target: lines(journal) >= least, process)  # type: ignore[misc]
        process.kill()
        process.wait()
    assert 2 <= lines(journal) < 80, "the kills came too early or too late to show anything"
    code, output = finish(words)
    assert code == 0, output
    assert "going on after" in output
    assert finish(command(photos, tmp_path / "straight", *FORMATS))[0] == 0
    assert kept(journal.parent) == kept(tmp_path / "straight")


def test_some_failures_end_with_3_and_all_with_1(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = write_jsonl(tmp_path / "c.jsonl", [("none.png", "a [star]"), ("0.png", "a [star]")])
    words = ["annotate", "--captions", str(captions), "--images", str(photos), *MODEL]
    assert run([*words, "-o", str(tmp_path / "some")]) == 3
    assert "glip: error: none.png: no such file" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "some/grounding.json").read_text())["images"]) <= 1
    write_jsonl(captions, [("none.png", "a [star]")])
    assert run([*words, "-o", str(tmp_path / "all")]) == 1


def test_one_caption_is_singular(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = write_jsonl(tmp_path / "c.jsonl", [("0.png", "a [star]")])
    words = ["annotate", "--captions", str(captions), "--images", str(photos), *MODEL, "--threshold", "0"]
    assert run([*words, "-o", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == ["captions: 1, of 1 image", "1 of 1 caption has boxes, 1 of 1 phrase"]


def test_a_tar_is_read_as_it_is(photos: Path, straight: Path, tmp_path: Path) -> None:
    rows = captioned([f"{number}.png" for number in range(40)])
    tar = write_tar(tmp_path / "set.tar", rows, photos)
    assert run(["annotate", "--captions", str(tar), "-o", str(tmp_path / "run"), *MODEL, *FORMATS]) == 0
    from_tar, from_files = kept(tmp_path / "run"), kept(straight)
    assert from_tar == from_files  # also run.json: the same captions


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--captions PATH is missing; for the same labels in every image: glip batch"),
        (["--captions", "none.jsonl"], "none.jsonl: no such file or folder"),
        (["--captions", "none.jsonl", "--format", "yolov8"], "--format yolov8: there are grounding, labelstudio"),
        (["--captions", "none.jsonl", "--threshold", "7"], "--threshold 7: give a number from 0 to 1"),
    ],
)
def test_misuse_is_one_line(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["annotate", *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_without_the_tagger_brackets_are_the_way_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    captions = write_jsonl(tmp_path / "c.jsonl", [("0.png", "a star")])
    assert run(["annotate", "--captions", str(captions), "--images", str(photos), "--offline", *MODEL]) == 1
    assert "[bracketed] words" in capsys.readouterr().err
