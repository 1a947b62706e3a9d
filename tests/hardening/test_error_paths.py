"""Everything a person can get wrong at the command line: an exit code, and one line that says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from glip_cli.cli.app import run
from glip_cli.data.synthetic import draw_scene
from tests.hardening.support import one_error

MINI = ["-m", "glip-mini", "--device", "cpu"]
ASKED = ["-t", "circle . star .", *MINI]
TRUTH = {"images": [{"id": 1, "file_name": "0.png"}], "categories": [{"id": 1, "name": "circle"}],
         "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20]}]}  # fmt: skip
GT = ["--gt", "truth.json"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("errors")
    draw_scene(np.random.default_rng(0)).image.save(folder / "0.png")
    (folder / "truth.json").write_text(json.dumps(TRUTH))
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "bad.toml").write_text("threshold = ")
    (folder / "nul.toml").write_text('out-dir = "a\\u0000b"')
    (folder / "bad.json").write_text('{"images": [')
    (folder / "text").write_text("hello\n")
    (folder / "nolist.txt").write_text("\n# nothing\n")
    return folder


@pytest.fixture(autouse=True)
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    for name in [name for name in os.environ if name.startswith("GLIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GLIP_CACHE", str(made / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


# words -> exit code and a part of the line
CASES: list[tuple[list[str], int, str]] = [
    (["detcet"], 2, "detcet"),
    (["--nothing"], 2, "--nothing"),
    # flags that are not there, lack their value, or have one that cannot be
    (["detect", "0.png", "--thresold", "1"], 2, "--thresold"),
    (["detect", "0.png", "--threshold"], 2, "--threshold"),
    (["detect", "0.png", "--threshold", "much"], 2, "'--threshold'"),
    (["detect", "0.png", *ASKED, "--threshold", "nan"], 2, "--threshold"),
    (["detect", "0.png", *ASKED, "--top-k", "0"], 2, "--top-k"),
    (["detect", "0.png", *ASKED, "--nms-iou", "-1"], 2, "--nms-iou"),
    (["detect", "0.png", *ASKED, "-b", "0"], 2, "--batch-size"),
    (["detect", "0.png", *ASKED, "--chunked-size", "0"], 2, "--chunked-size"),
    (["detect", "0.png", *ASKED, "--size", "0,0"], 2, "--size"),
    (["detect", "0.png", *ASKED, "--size", "9" * 5000], 2, "--size"),
    (["batch", "0.png", *ASKED, "--shard", f"0/{'9' * 5000}"], 2, "--shard"),
    (["finetune", "--train", "truth.json", *MINI, "--size", "9" * 5000, "-o", "t"], 2, "--size"),
    (["detect", "0.png", *ASKED, "--dtype", "int8"], 2, "int8"),
    (["detect", "0.png", "-t", "cat", "-m", "glip-mini", "--device", "tpu9"], 2, "--device tpu9: there is no"),
    (["detect", "0.png", *ASKED, "--class-threshold", "circle"], 2, "circle"),
    # what this machine lacks: the same command works elsewhere
    (["detect", "0.png", *ASKED, "--dtype", "float16"], 1, "float16 needs a GPU"),
    (["detect", "0.png", "-t", "cat", "-m", "glip-mini", "--device", "cuda:99"], 1, "--device cuda:99"),
    # what to find
    (["detect", "0.png", *MINI], 2, "--texts"),
    (["detect", "0.png", "-t", "@nothing.txt", *MINI], 2, "nothing.txt"),
    (["detect", "0.png", "-t", "@folder", *MINI], 2, "folder"),
    (["detect", "0.png", "-t", "@nolist.txt", *MINI], 2, "nolist.txt"),
    (["detect", "0.png", *ASKED, "--thresholds", "text"], 2, "text"),
    (["detect", "0.png", *ASKED, "--thresholds", "folder"], 2, "folder"),
    # inputs
    (["detect", *ASKED], 2, "INPUT"),
    (["detect", "folder", *ASKED], 2, "folder"),
    (["detect", "*.tiff", *ASKED], 2, "*.tiff"),
    (["detect", "@nolist.txt", *ASKED], 2, "nolist.txt"),
    (["detect", "@folder", *ASKED], 2, "folder"),
    (["detect", "nothing.png", *ASKED, "-q"], 1, "nothing.png"),
    (["detect", "empty", *ASKED, "-q"], 1, "empty"),
    (["detect", "ftp://x/y.png", *ASKED, "-q"], 1, "http"),
    # models
    (["detect", "0.png", "-t", "cat", "-m", "glip-tt"], 2, "glip-t"),
    (["detect", "0.png", "-t", "cat", "--device", "cpu"], 1, "--weights FILE"),
    (["detect", "0.png", "-t", "cat", "--weights", "nothing.pth"], 2, "nothing.pth"),
    (["detect", "0.png", "-t", "cat", "--weights", "folder"], 2, "folder"),
    (["detect", "0.png", "-t", "cat", "--weights", "empty"], 2, "empty"),
    (["detect", "0.png", "-t", "cat", "--weights", "text"], 2, "text"),
    (["detect", "0.png", *ASKED, "--adapter", "folder"], 2, "folder"),
    (["detect", "0.png", *ASKED, "--adapter", "text"], 2, "text"),
    (["detect", "0.png", *ASKED, "--bert", "folder"], 2, "folder"),
    (["detect", "0.png", *ASKED, "--bert", "text"], 2, "text"),
    # outputs
    (["detect", "0.png", *ASKED, "-o", "text"], 1, "text"),
    (["detect", "0.png", *ASKED, "-o", "text/sub"], 1, "text"),
    (["detect", "0.png", *ASKED, "-o", "/proc/x"], 1, "/proc/x"),
    (["batch", "0.png", *ASKED, "-o", "text"], 1, "text"),
    (["batch", "0.png", *ASKED, "-o", "/proc/x"], 1, "/proc/x"),
    # config
    (["detect", "0.png", *ASKED, "--config", "nothing.toml"], 2, "nothing.toml"),
    (["detect", "0.png", *ASKED, "--config", "bad.toml"], 2, "bad.toml"),
    (["detect", "0.png", *ASKED, "--config", "folder"], 2, "folder"),
    (["detect", "0.png", *ASKED, "--config", "nul.toml"], 2, "NUL"),
    # batch
    (["batch", "--status", "-o", "s3://bucket/run", "--offline"], 2, "--offline forbids it"),
    (["batch", *ASKED], 2, "INPUT"),
    (["batch", "folder", *ASKED, "-o", "run"], 2, "folder"),
    (["batch", "0.png", *ASKED, "--workers", "0", "-o", "run"], 2, "--workers"),
    (["batch", "0.png", *ASKED, "--format", "xml", "-o", "run"], 2, "xml"),
    # eval
    (["eval"], 2, "DATASET"),
    (["eval", "imagenet"], 2, "imagenet"),
    (["eval", "coco", *MINI, "-o", "e"], 2, "--gt"),
    (["eval", "coco", "--gt", "nothing.json", *MINI, "-o", "e"], 2, "nothing.json"),
    (["eval", "coco", "--gt", "folder", *MINI, "-o", "e"], 2, "folder"),
    (["eval", "coco", "--gt", "bad.json", *MINI, "-o", "e"], 2, "bad.json"),
    (["eval", "coco", "--gt", "empty", *MINI, "-o", "e"], 2, "empty"),
    (["eval", "coco", *GT, "--images", "nothing", *MINI, "-o", "e"], 2, "nothing"),
    (["eval", "coco", *GT, "--dt", "nothing.json", "-o", "e"], 2, "nothing.json"),
    (["eval", "coco", *GT, "--dt", "truth.json", "-o", "e"], 2, "truth.json"),
    (["eval", "coco", *GT, "--limit", "0", *MINI], 2, "--limit"),
    (["eval", "coco", *GT, *MINI, "-o", "text"], 1, "text"),
    (["eval", "odinw-13", *MINI, "-o", "e"], 2, "--data"),
    (["eval", "odinw-13", "--data", "nothing", *MINI, "-o", "e"], 2, "nothing"),
    (["eval", "flickr30k", "--data", "folder", *MINI, "-o", "e"], 2, "folder"),
    # weights
    (["weights", "fetch"], 2, "NAME"),
    (["weights", "fetch", "glip-tt"], 2, "glip-t"),
    (["weights", "fetch", "glip-t", "--offline"], 1, "network"),
    (["weights", "fetch", "glip-l-lvisbest"], 1, "Azure"),
    (["weights", "info", "nothing.pth"], 2, "nothing.pth"),
    (["weights", "info", "folder"], 2, "folder"),
    (["weights", "info", "text"], 2, "text"),
    (["weights", "convert", "text", "out.safetensors"], 2, "text"),
    (["weights", "convert", "text"], 2, "OUT"),
    # finetune
    (["finetune"], 2, "--train"),
    (["finetune", "--train", "nothing.json", *MINI, "-o", "t0"], 2, "nothing.json"),
    (["finetune", "--train", "folder", *MINI, "-o", "t1"], 2, "folder"),
    (["finetune", "--train", "bad.json", *MINI, "-o", "t2"], 2, "bad.json"),
    (["finetune", "--train", "truth.json", *MINI, "--mode", "half", "-o", "t"], 2, "half"),
    (["finetune", "--train", "truth.json", *MINI, "--init", "zero", "-o", "t"], 2, "zero"),
    (["finetune", "--train", "truth.json", *MINI, "--lr", "-1", "-o", "t"], 2, "lr"),
    # doctor
    (["doctor", "now"], 2, "now"),
    (["doctor", "--online"], 2, "--online"),
]


@pytest.mark.parametrize(
    ("words", "code", "told"), CASES, ids=lambda value: " ".join(value) if type(value) is list else ""
)
def test_one_line_and_an_exit_code(words: list[str], code: int, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(words)
    out, err = capfd.readouterr()
    line = one_error(err)
    assert ended == code, line
    assert told in line
    assert len(line) < 600
    assert "Traceback" not in out


def test_help_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["weights"]):
        assert run(words) in (0, 2)
        out, err = capfd.readouterr()
        assert "Usage:" in out + err
        assert "glip: error" not in err
    assert run(["--version"]) == 0
    assert run(["detect", "--help"]) == 0
