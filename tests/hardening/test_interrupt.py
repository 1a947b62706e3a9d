"""Ctrl-C in every command, while it starts and while it works: 130, one line, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from glip_cli.data.synthetic import draw_scene
from tests import forked
from tests.forked import CLEAN, PATIENCE
from tests.hardening.support import MINI

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")

IMAGES = 500
MODEL = MINI[2:6]
# the words of each command, and the file that tells that it is at work
COMMANDS: dict[str, tuple[Sequence[str], str]] = {
    "detect": (("detect", "@list.txt", *MINI, "-o", "out"), "out/preds/**/*.json"),
    "batch": (("batch", "@list.txt", *MINI, "-o", "out"), "out/results.jsonl"),
    "eval": (("eval", "coco", "--gt", "truth.json", *MODEL, "-o", "out"), "out/detections/*"),
    "annotate": (("annotate", "--captions", "captions.jsonl", *MODEL, "-o", "out"), "out/results.jsonl"),
    "features": (("features", "@list.txt", *MINI[:6], "-o", "out"), "out/**/*.safetensors"),
    "finetune": (("finetune", "--train", "few.json", *MODEL, "--epochs", "500", "--workers", "0", "--keep-check",
                  "none", "-o", "out"), "out/state.pt"),
}  # fmt: skip
EXPORT = ("export", *MODEL[:2], "-o", "out/mini.onnx")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read: images, a list of them for minutes, boxes and captions."""
    folder = tmp_path_factory.mktemp("made")
    draw_scene(np.random.default_rng(0)).image.save(folder / "0.png")
    names = [f"photos/{number}.png" for number in range(IMAGES)]
    (folder / "photos").mkdir()
    for name in names:
        (folder / name).symlink_to("../0.png")
    truth = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": 1, "name": "circle"}, {"id": 2, "name": "star"}],
        "annotations": [
            {"id": i + 1, "image_id": i, "category_id": 1, "bbox": [10, 10, 40, 40]} for i in range(IMAGES)
        ],
    }
    few = {"images": truth["images"][:8], "annotations": truth["annotations"][:8], "categories": truth["categories"]}
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "few.json").write_text(json.dumps(few))
    rows = [json.dumps({"image": name, "caption": "a [circle] and a [star]"}) for name in names]
    (folder / "captions.jsonl").write_text("\n".join(rows))
    (folder / "list.txt").write_text("\n".join(names * 4))
    return folder


def start(made: Path, folder: Path, words: Sequence[str]) -> forked.Forked:
    folder.mkdir(parents=True, exist_ok=True)
    for file in made.iterdir():
        (folder / file.name).symlink_to(file)
    environment = CLEAN | {"GLIP_CACHE": str(folder / "cache")}
    return forked.start(words, cwd=folder, env=environment)


def interrupt(process: forked.Forked, folder: Path) -> None:
    process.send_signal(signal.SIGINT)
    code, said = process.wait(), process.stderr
    assert code == 130, (folder.name, code, said)
    assert "Traceback" not in said
    (last,) = [line for line in said.splitlines() if "interrupted" in line or "stopped" in line]
    assert said.splitlines()[-1] == last
    whole(folder / "out")


def whole(out: Path) -> None:
    """Every file that has its name is whole, but for the last line of a journal; and no other is there."""
    for path in out.rglob("*"):
        assert not path.name.endswith((".tmp", ".partial")), path
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            for line in path.read_text().splitlines(keepends=True):
                assert not line.endswith("\n") or json.loads(line)
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="np") as file:
                assert list(file.keys())
        elif path.suffix in (".jpg", ".png"):
            with Image.open(path) as image:
                image.load()


@pytest.mark.parametrize("name", COMMANDS)
def test_in_the_midst_of_its_work(made: Path, tmp_path: Path, name: str) -> None:
    words, at_work = COMMANDS[name]
    process = start(made, tmp_path, words)
    assert forked.wait_until(lambda: any(tmp_path.glob(at_work)), process), process.stderr
    interrupt(process, tmp_path)


@pytest.mark.parametrize("words", [COMMANDS["finetune"][0], EXPORT], ids=lambda words: words[0])
def test_at_its_start(made: Path, tmp_path: Path, words: Sequence[str]) -> None:
    process = start(made, tmp_path, words)
    time.sleep(0.2)
    interrupt(process, tmp_path)


@pytest.mark.parametrize(("module", "words"), [("typer", ["--version"]), ("torch.nn", ["detect", "0.png", *MINI])])
def test_while_it_imports(made: Path, module: str, words: list[str]) -> None:
    """Before the command line is there, and in the midst of torch, which an exception there would abort."""
    code = (
        "import sys, os, signal\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from glip_cli.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=made, env=CLEAN, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1:] == ["glip: interrupted"]
    assert "Traceback" not in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("name", [*COMMANDS, "export"])
def test_at_random_moments(made: Path, tmp_path: Path, name: str) -> None:
    words, rng = COMMANDS[name][0] if name in COMMANDS else EXPORT, random.Random(time.time_ns())
    for number in range(5):
        process = start(made, tmp_path / str(number), words)
        time.sleep(rng.uniform(0, 4))
        interrupt(process, tmp_path / str(number))
