"""What a start imports, and that `glip --help`, which imports no command, says what the commands say."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import typer

from glip_cli.cli.app import COMMANDS, app, run
from glip_cli.cli.exit import interruptible, stopping
from glip_cli.data.synthetic import draw_scene
from glip_cli.utils.startup import collect_rarely, share_busy_cores

HEAVY = {"torch", "rich", "numpy", "pydantic"}
NEEDLESS = {"timm", "transformers", "torchvision", "torch._dynamo", "sympy", "nltk", "yaml", "huggingface_hub", "scipy"}


def imported(folder: Path, *starts: tuple[str, ...]) -> set[str]:
    """Names of the modules that a new process has after some commands."""
    code = "import sys; from glip_cli.cli.app import run; "
    code += f"print([run(words) for words in {starts!r}]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    *_, codes, modules = done.stdout.splitlines()
    assert codes == str([0] * len(starts))
    return set(modules.split())


def test_a_detection_imports_what_it_needs(tmp_path: Path) -> None:
    """In a process of its own, which imports torch: 3 CPU seconds."""
    draw_scene(np.random.default_rng(0)).image.save(tmp_path / "a.png")
    words = ("detect", "a.png", "-t", "star . cat .", "--device", "cpu", "--overwrite", "-q")
    modules = imported(tmp_path, *((*words, "-m", name) for name in ("glip-mini", "glip-nano")))
    assert "torch" in modules
    assert not modules & NEEDLESS


def test_help_imports_no_command(tmp_path: Path) -> None:
    assert not imported(tmp_path, ("--help",)) & HEAVY


def test_help_says_of_each_command_what_it_says_itself() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert (command.help or "").splitlines()[0] == COMMANDS[name]


def test_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {line}" in shown for name, line in COMMANDS.items())


@pytest.mark.parametrize("command", ["detect", "batch", "eval", "features"])
def test_an_empty_folder_of_results_is_not_the_current_one(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-o "$OUT"` where no OUT is set."""
    monkeypatch.chdir(tmp_path)
    assert run([command, "a.jpg", "-o", ""]) == 2
    assert "'--out-dir' / '-o': it is empty, as of a shell's variable that is not set" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        *(
            ("detect", flag)
            for flag in ("--model", "--weights", "--adapter", "--bert", "--onnx", "--server", "--config")
        ),
        *(("detect", flag) for flag in ("--thresholds", "--knowledge")),
        *(("batch", flag) for flag in ("--prompts", "--out-dir", "--server")),
        *(("eval", flag) for flag in ("--gt", "--images", "--dt", "--compare", "--calibrate", "--words")),
        *(("finetune", flag) for flag in ("--train", "--val", "--images", "--keep-images")),
        *(("annotate", flag) for flag in ("--captions", "--images")),
    ],
)
def test_an_empty_file_or_folder_is_not_the_current_one(
    command: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--weights "$FILE"` where no FILE is set."""
    monkeypatch.chdir(tmp_path)
    assert run([command, *(["coco"] if command == "eval" else []), flag, ""]) == 2
    line = capsys.readouterr().err
    assert f"Invalid value for '{flag}'" in line
    assert "it is empty, as of a shell's variable that is not set" in line


def test_garbage_is_collected_as_usual_once_the_work_begins() -> None:
    usual = gc.get_threshold()
    for begin in (interruptible, lambda: stopping(threading.Event())):
        collect_rarely()
        assert gc.get_threshold()[0] > usual[0]
        with begin():
            assert gc.get_threshold() == usual


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="Windows knows no load")
def test_on_a_busy_machine_threads_go_to_sleep_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    def spins(load: float, **environment: str) -> str | None:
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        share_busy_cores()
        return os.environ.get("GOMP_SPINCOUNT")

    cores = os.cpu_count() or 1
    assert spins(cores) is None
    assert spins(cores + 1) == "2000"
    assert spins(cores + 1, GOMP_SPINCOUNT="5") == "5"
    assert spins(cores + 1, OMP_WAIT_POLICY="active") is None
