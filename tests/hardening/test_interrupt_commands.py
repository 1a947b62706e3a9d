"""Ctrl-C in every command, while it starts and while it works: 130, one line, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from glip_cli.scenes import draw_scene
from tests.hardening.support import CLEAN, MINI

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, and sends a POSIX signal"),
]

PATIENCE = 500.0  # seconds for all runs of a test
PICTURES = 500
MODEL = MINI[2:6]
# the words of each command, and the file that tells that it is at work
COMMANDS: dict[str, tuple[Sequence[str], str]] = {
    "detect": (("detect", "@list.txt", *MINI, "-o", "out"), "out/preds/*.json"),
    "batch": (("batch", "@list.txt", *MINI, "-o", "out"), "out/results.jsonl"),
    "eval": (("eval", "coco", "--gt", "truth.json", *MODEL, "-o", "out"), "out/detections/*"),
    "annotate": (("annotate", "--captions", "captions.jsonl", *MODEL, "-o", "out"), "out/results.jsonl"),
    "features": (("features", "@list.txt", *MINI[:6], "-o", "out"), "out/**/*.safetensors"),
    "finetune": (("finetune", "--train", "few.json", *MODEL, "--epochs", "500", "--workers", "0", "--keep-check",
                  "none", "-o", "out"), "out/state.pt"),
    "export": (("export", *MODEL[:2], "-o", "out/mini.onnx"), "out/*"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read: pictures, a list of them for minutes, boxes and captions."""
    folder = tmp_path_factory.mktemp("made")
    draw_scene(np.random.default_rng(0)).image.save(folder / "0.png")
    names = [f"photos/{number}.png" for number in range(PICTURES)]
    (folder / "photos").mkdir()
    for name in names:
        (folder / name).symlink_to("../0.png")
    truth = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": 1, "name": "circle"}, {"id": 2, "name": "star"}],
        "annotations": [
            {"id": i + 1, "image_id": i, "category_id": 1, "bbox": [10, 10, 40, 40]} for i in range(PICTURES)
        ],
    }
    few = {"images": truth["images"][:8], "annotations": truth["annotations"][:8], "categories": truth["categories"]}
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "few.json").write_text(json.dumps(few))
    rows = [json.dumps({"image": name, "caption": "a [circle] and a [star]"}) for name in names]
    (folder / "captions.jsonl").write_text("\n".join(rows))
    (folder / "list.txt").write_text("\n".join(names * 4))
    return folder


def interrupted(made: Path, folder: Path, plans: Sequence[tuple[str, float | None]]) -> list[tuple[int, Path]]:
    """Run each command until its moment (seconds; None: its work has begun); its exit code, and its folder."""
    runs: list[dict[str, Any]] = []
    for number, (name, moment) in enumerate(plans):
        words, at_work = COMMANDS[name]
        place = folder / f"{number}-{name}"
        place.mkdir(parents=True)
        for file in made.iterdir():
            (place / file.name).symlink_to(file)
        when = {"at": at_work} if moment is None else {"moment": moment}
        runs.append({"words": words, "folder": str(place), **when})
    (folder / "runs.json").write_text(json.dumps(runs))
    command = [sys.executable, "-m", "tests.hardening.forks", str(folder / "runs.json")]
    done = subprocess.run(command, env=CLEAN | {"GLIP_CACHE": str(folder / "cache")}, stdout=subprocess.PIPE,
                          text=True, timeout=PATIENCE, check=True)  # fmt: skip
    return [(int(code), Path(run["folder"])) for code, run in zip(done.stdout.split(), runs, strict=True)]


def check(code: int, folder: Path) -> None:
    said = (folder / "printed").read_text() if (folder / "printed").exists() else ""
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
            with Image.open(path) as picture:
                picture.load()


def test_at_its_start_and_in_the_midst_of_its_work(made: Path, tmp_path: Path) -> None:
    plans = [(name, moment) for name in COMMANDS for moment in (0.3, None) if (name, moment) != ("export", None)]
    for code, folder in interrupted(made, tmp_path, [*plans, ("export", 4.0)]):
        check(code, folder)


@pytest.mark.long
def test_at_random_moments(made: Path, tmp_path: Path) -> None:
    rng = random.Random(time.time_ns())
    for code, folder in interrupted(made, tmp_path, [(name, rng.uniform(0, 6)) for name in COMMANDS for _ in range(5)]):
        check(code, folder)
