"""`glip detect` as a person runs it, with the embedded model."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from glip_cli.cli import outputs
from glip_cli.cli.app import app
from glip_cli.data.synthetic import draw_scene
from tests import forked

PROMPT = "circle . red square . star ."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for i in range(2):
        draw_scene(np.random.default_rng(i)).image.save(f"{i}.png")
    return tmp_path


def glip(*arguments: str, model: str = "glip-mini", stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["detect", *arguments, "-m", model, "--device", "cpu"], input=stdin)


def records(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_is_alone_on_stdout(folder: Path) -> None:
    result = glip("0.png", "-t", PROMPT, "--json", "--threshold", "0.05")
    assert result.exit_code == 0, result.stderr
    (record,) = records(result)
    assert set(record) == {"schema", "image", "width", "height", "model", "prompt", "labels", "detections"}
    assert record["schema"] == "glip/1"
    assert record["image"] == "0.png"
    assert (record["width"], record["height"]) == (160, 160)
    assert record["model"].startswith("glip-mini@")
    assert record["prompt"] == PROMPT
    assert record["labels"] == ["circle", "red square", "star"]
    for detection in record["detections"]:
        begin, end = detection["span"]
        assert PROMPT[begin:end] == detection["label"] == record["labels"][detection["label_id"]]
        assert set(detection["box"]) == {"xmin", "ymin", "xmax", "ymax"}
        assert 0.05 < detection["score"] <= 1


def test_nothing_found_is_a_result_and_no_error(folder: Path) -> None:
    result = glip("0.png", "-t", PROMPT, "--json", "--threshold", "1", "-o", "out")
    assert result.exit_code == 0, result.stderr
    (record,) = records(result)
    assert "error" not in record
    assert record["detections"] == []
    assert Path("out/vis/0.jpg").exists()
    assert "nothing found" in glip("0.png", "-t", PROMPT, "--threshold", "1").stdout


def test_images_and_results_are_saved(folder: Path) -> None:
    result = glip("0.png", "1.png", "-t", PROMPT, "-o", "out", "--save-crop", "--threshold", "0.05")
    assert result.exit_code == 0, result.stderr
    with Image.open("out/vis/0.jpg") as image:
        assert image.size == (160, 160)
    record = json.loads(Path("out/preds/1.json").read_text())
    assert record["image"] == "1.png"
    assert any(Path("out/crops").rglob("*.jpg"))
    assert "0.png  160x160" in result.stdout
    assert "2 images" in result.stderr


def test_formats(folder: Path) -> None:
    formats = "jsonl,coco,coco-results,mmdet"
    result = glip(".", "-t", PROMPT, "--format", formats, "--no-save-vis", "--threshold", "0.05")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in Path("outputs/results.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == ["0.png", "1.png"]
    count = sum(len(line["detections"]) for line in lines)
    assert len(json.loads(Path("outputs/coco_results.json").read_text())) == count
    assert len(json.loads(Path("outputs/coco.json").read_text())["annotations"]) == count
    mmdet = [json.loads(Path(f"outputs/preds/{i}.json").read_text()) for i in range(2)]
    assert sum(len(one["scores"]) for one in mmdet) == count
    assert not Path("outputs/vis").exists()


def test_yolo_with_and_without_scores(folder: Path) -> None:
    keep = ("0.png", "-t", PROMPT, "--format", "yolo", "--no-save-vis", "--threshold", "0.05")
    for flags, columns in ((), 5), (("--with-scores",), 6):
        assert glip(*keep, *flags).exit_code == 0
        lines = Path("outputs/labels/0.txt").read_text().splitlines()
        assert lines
        assert {len(line.split()) for line in lines} == {columns}


def test_a_second_run_of_other_labels(folder: Path) -> None:
    """YOLO's numbers are kept; mmdet has none to keep, so that it refuses until --overwrite."""
    keep = ("--no-save-vis", "--threshold", "0.05", "-o", "ds")
    for image, labels in (("0.png", "triangle"), ("1.png", "ring")):
        result = glip(image, "-t", labels, "--format", "yolo", *keep)
        assert result.exit_code == 0, result.stderr
    lines = [Path(f"ds/labels/{i}.txt").read_text().splitlines() for i in range(2)]
    assert [{line.split()[0] for line in one} for one in lines] == [{"0"}, {"1"}]
    assert Path("ds/data.yaml").read_text().endswith('names:\n  0: "triangle"\n  1: "ring"\n')
    assert glip("0.png", "-t", "triangle", "--format", "mmdet", *keep).exit_code == 0
    result = glip("1.png", "-t", "ring", "--format", "mmdet", *keep)
    assert result.exit_code == 2
    assert "ds/preds holds results of other labels ('triangle', not 'ring'); choose" in result.stderr
    result = glip("1.png", "-t", "ring", "--format", "mmdet", *keep, "--overwrite")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in Path("ds").rglob("*.*") if path.is_file()) == ["1.json", "mmdet_classes.json"]


@pytest.mark.parametrize("typed", [["--format", "csv,coco", "--format", "voc"], ["--format", "csv, coco ,voc,csv"]])
def test_formats_with_commas(folder: Path, typed: list[str]) -> None:
    result = glip("0.png", "-t", PROMPT, "--no-save-vis", *typed)
    assert result.exit_code == 0, result.stderr
    assert {"results.csv", "coco.json", "Annotations"} <= {path.name for path in Path("outputs").iterdir()}


def test_show_without_a_display_says_so_once_and_all_is_saved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "has_display", lambda: False)
    result = glip("0.png", "1.png", "-t", PROMPT, "--show", "--format", "csv")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("no window can be opened here (is DISPLAY set?); look at outputs/vis") == 1
    assert {path.name for path in Path("outputs/vis").iterdir()} == {"0.jpg", "1.jpg"}
    assert len(Path("outputs/results.csv").read_text().splitlines()) >= 1


def test_limits_are_said_where_they_are_met(folder: Path) -> None:
    capped = "note: 100 boxes are kept per image, and one had as many: --top-k N says how many"
    floor = "note: threshold 0.01: boxes whose label scores 0.05 or less are never kept"
    words = ["0.png", "-t", "triangle . " * 80, "--no-save-vis"]
    result = glip(*words, "--threshold", "0.01", "--json")
    (record,) = records(result)
    assert len(record["detections"]) == 100
    assert capped in result.stderr
    assert floor in result.stderr
    result = glip(*words, "--threshold", "0.05", "--top-k", "100")
    assert capped not in result.stderr
    assert "never kept" not in result.stderr
    views = ["--tile", "100", "--overlap", "0"]
    assert capped.replace("image", "view") in glip(*words, *views, "--threshold", "0.06").stderr
    assert "had as many" not in glip(*words, *views, "--threshold", "0.9").stderr  # what is left out scores less
    result = glip("0.png", "-t", "star", "--class-threshold", "star=0", "--no-save-vis")
    assert "note: threshold 0: boxes" in result.stderr


def test_what_the_tokenizer_cannot_tell_apart_is_noted_once(folder: Path) -> None:
    result = glip("0.png", "1.png", "-t", "裂纹，划痕，star", "--no-save-vis", "--no-save-pred")
    assert [line for line in result.stderr.splitlines() if line.startswith("note: ")] == [
        "note: the model's vocabulary knows nothing of '裂纹', '划痕': it reads [UNK] instead",
        "note: the model cannot tell these labels apart: '裂纹', '划痕'",
    ]


def test_a_label_that_looks_like_several_is_noted(folder: Path) -> None:
    result = glip("0.png", "-t", "star, moon. circle .", "--no-save-vis", "--no-save-pred")
    assert "labels: 'star, moon', 'circle'\n" in result.stderr
    assert "note: taken as one label, though it looks like several: 'star, moon'\n" in result.stderr


def test_nothing_is_saved_when_told(folder: Path) -> None:
    result = glip("0.png", "-t", PROMPT, "--no-save-vis", "--no-save-pred")
    assert result.exit_code == 0, result.stderr
    assert not Path("outputs").exists()


@pytest.mark.parametrize("given", [["."], ["*.png"], ["@list.txt"], ["-"], ["0.png", "1.png"]])
def test_inputs(folder: Path, given: list[str]) -> None:
    Path("list.txt").write_text("# images\n0.png\n\n1.png\n")
    result = glip(*given, "-t", PROMPT, "--json", "--no-save-vis", "--no-save-pred", stdin="0.png\n1.png\n")
    assert result.exit_code == 0, result.stderr
    assert [Path(record["image"]).name for record in records(result)] == ["0.png", "1.png"]


def test_a_url(folder: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    result = glip(f"{url}/0.png", f"{url}/none.png", "-t", PROMPT, "--json")
    refused = glip(f"{url}/0.png", "-t", PROMPT, "--offline")
    server.shutdown()
    server.server_close()
    assert result.exit_code == 3
    assert [("error" in record) for record in records(result)] == [False, True]
    assert refused.exit_code == 1
    assert "--offline" in refused.stderr


def test_a_password_in_a_url_and_files_that_are_not_read(folder: Path) -> None:
    """Neither on the terminal nor in a file stands what gives access; what was passed over is counted."""
    Path("phone").mkdir()
    Path("phone/IMG_1.JXL").touch()
    Path("0.png").rename("phone/0.png")
    url = "http://me:s3cret@127.0.0.1:1/x.jpg?sig=s3cret"
    result = glip("phone", url, "-t", PROMPT, "-o", "out", "--no-save-vis", "--json")
    assert result.exit_code == 3
    assert "note: 1 file of formats that are not read: .jxl 1\n" in result.stderr
    assert "glip: error: http://127.0.0.1:1/x.jpg?sig=***: cannot be fetched" in result.stderr
    written = [path.read_text() for path in Path("out").rglob("*.json")]
    assert len(written) == 2
    assert "s3cret" not in result.stdout + result.stderr + "".join(written)
    assert "not read" not in glip("phone", "-t", PROMPT, "--no-save-vis", "--no-save-pred", "-q").stderr


def test_some_failed_is_3_and_all_failed_is_1(folder: Path) -> None:
    Path("bad.jpg").write_bytes(b"not an image")
    some = glip("0.png", "bad.jpg", "gone.jpg", "1.png", "-t", PROMPT, "--json", "--batch-size", "2")
    assert some.exit_code == 3
    assert [record["image"] for record in records(some)] == ["0.png", "bad.jpg", "gone.jpg", "1.png"]
    assert some.stderr.count("glip: error:") == 2
    assert "2 failed" in some.stderr
    all_failed = glip("bad.jpg", "-t", PROMPT)
    assert all_failed.exit_code == 1
    assert all_failed.stderr.endswith("1 image, 0 found, 1 failed; saved in outputs\n")  # the record of the error
    assert "error" in json.loads(Path("outputs/preds/bad.json").read_text())
    assert "saved" not in glip("bad.jpg", "-t", PROMPT, "--no-save-pred").stderr


WRONG = [
    ([], "say what to find"),
    (["-t", ""], "label"),
    (["-t", PROMPT, "--caption", "a circle"], "--texts and --caption each say what to find: take one of them"),
    (["", "-t", PROMPT], "an INPUT is empty"),
    (["--caption", "a circle", "--phrases", "square"], "square"),
    (["--caption", "a circle", "-p", "[[[5,99]]]"], "99"),
    (["--caption", "a circle", "-p", "__import__('os')"], "cannot read the spans"),
    (["-t", "$: nolist"], "nolist"),
    (["-t", "@none.txt"], "none.txt"),
    (["-t", PROMPT, "--threshold", "7"], "--threshold 7"),
    (["-t", PROMPT, "--class-threshold", "dog=0.5"], "dog"),
    (["-t", PROMPT, "--size", "big"], "--size big"),
    (["-t", PROMPT, "--format", "xml"], "--format xml"),
    (["-t", PROMPT, "--palette", "nocolour"], "nocolour"),
    (["-t", PROMPT, "--format", "json", "--format", "mmdet"], "jsonl"),
]


@pytest.mark.parametrize(("arguments", "told"), WRONG)
def test_wrong_usage_is_one_line_and_exit_code_2(folder: Path, arguments: list[str], told: str) -> None:
    result = glip("0.png", *arguments)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("glip: error: ")]
    assert told in line
    assert "Traceback" not in result.output


def test_other_errors_are_one_line_too(folder: Path) -> None:
    for arguments, code, told in [
        (["--device", "cuda:77"], 1, "cuda:77"),
        (["--weights", "nothing.pth"], 2, "nothing.pth"),
        (["-o", "0.png/sub"], 1, "--out-dir"),
    ]:
        result = CliRunner().invoke(app, ["detect", "0.png", "-t", PROMPT, "-m", "glip-mini", *arguments])
        assert result.exit_code == code, result.output
        assert told in result.stderr
        assert "Traceback" not in result.output
    unknown = glip("0.png", "-t", PROMPT, model="glip-tt")
    assert unknown.exit_code == 2
    assert "glip-t" in unknown.stderr


def test_without_the_weights_the_error_names_both_ways_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never answers with the demonstration model instead."""
    monkeypatch.setenv("GLIP_CACHE", str(folder / "cache"))
    result = CliRunner().invoke(app, ["detect", "0.png", "-t", PROMPT, "--offline", "--device", "cpu"])
    assert result.exit_code == 1
    assert "--weights FILE" in result.stderr
    assert "-m glip-nano works now" in result.stderr
    assert len(result.stderr.strip().splitlines()[-1]) <= 300
    assert not result.stdout


def test_explain_needs_no_image(folder: Path) -> None:
    result = glip("-t", "small blue heart . french fries (food) .", "--explain")
    assert result.exit_code == 0, result.stderr
    assert "small blue heart" in result.stderr
    assert "french fries (food)" in result.stderr
    assert "heart" in result.stderr


def test_explain_needs_no_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIP_CACHE", str(folder / "cache"))
    result = CliRunner().invoke(app, ["detect", "-t", "toothbrush . cat", "--explain", "--offline"])
    assert result.exit_code == 0, result.stderr
    assert "1:tooth 2:##brush" in result.stderr


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--negative", "square"], 0),
        (["--negative", "square", "-s", "1"], 0),
        (["--tta"], 0),
        (["--class-threshold", "square=0.5"], 2),
        (["--knowledge", "known.json"], 2),
    ],
)
def test_what_is_explained_is_what_an_image_is_asked_for(folder: Path, more: list[str], code: int) -> None:
    Path("known.json").write_text('{"star": "a shape"}')
    words = ["-t", "left star . circle", "--explain", *more]
    alone, beside = glip(*words), glip("0.png", *words, "--no-save-vis", "--no-save-pred")
    assert (alone.exit_code, beside.exit_code) == (code, code)
    assert set(alone.stderr.splitlines()) <= set(beside.stderr.splitlines())
    assert ("│ square" in alone.stderr) == ("--negative" in more)


def test_quiet(folder: Path) -> None:
    result = glip("0.png", "gone.png", "-t", PROMPT, "-q")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def command(*arguments: str) -> list[str]:
    return ["detect", *arguments, "-m", "glip-mini", "--device", "cpu"]


def test_a_reader_that_goes_away_is_no_traceback(folder: Path) -> None:
    reader, writer = os.pipe()
    process = forked.start(command(*["0.png"] * 20, "-t", PROMPT, "--json", "--no-save-vis"), stdout=writer)
    os.close(writer)
    assert os.read(reader, 10) == b'{"schema":'
    os.close(reader)
    process.wait()
    assert "Traceback" not in process.stderr
    assert "Exception" not in process.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_is_one_line(folder: Path) -> None:
    process = forked.start(command("-", "-t", PROMPT), stdin=subprocess.PIPE)
    assert forked.wait_until(lambda: "labels:" in process.stderr, process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr.strip().splitlines()[-1] == "glip: interrupted"
    assert "Traceback" not in process.stderr


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the variables are of x86")
def test_bfloat16_that_a_processor_emulates_is_said_to_be_slow() -> None:
    """For real: torch and oneDNN held to instructions that do not know it."""
    code = (
        "import torch; from glip_cli.inference.device import dtype_notes; "
        "print(*dtype_notes('--bf16', torch.device('cpu')))"
    )
    held = {"ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | held, capture_output=True, text=True, check=True
    )
    said = re.fullmatch(
        r"--bf16 is slow on this processor, .* takes (\S+) times as long .*; leave it out\n", done.stdout
    )
    assert said
    assert float(said[1]) > 1


@pytest.mark.parametrize(("cost", "times"), [(3.44, "3.4"), (212.3, "210")])
def test_a_slow_number_format_is_noted_before_the_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cost: float, times: str
) -> None:
    monkeypatch.setattr("glip_cli.inference.device.bfloat16_cost", lambda: cost)
    slow = glip("0.png", "-t", PROMPT, "--dtype", "bfloat16")
    assert slow.exit_code == 0
    note = (f"note: --dtype bfloat16 is slow on this processor, which emulates it: a matrix product takes {times} "
            "times as long as in float32; leave it out")  # fmt: skip
    assert slow.stderr.splitlines().index(note) < 2
    assert "slow" not in glip("0.png", "-t", PROMPT).stderr
