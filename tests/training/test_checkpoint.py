"""Killed at any moment, a training goes on to the weights that it would have reached."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from glip_cli.errors import OutputError, UsageError
from glip_cli.training.checkpoint import FILES, TrainingFolder
from glip_cli.training.metrics_log import read_rows
from tests.forked import wait_until
from tests.runs.process import lines
from tests.training.networks import start
from tests.training.test_trainer import run_here

ASKED = {"mode": "full", "epochs": 1, "language_lr": 1e-5}


def state(folder: Path) -> dict[str, Any]:
    loaded = TrainingFolder(folder).load()
    assert loaded is not None
    return loaded


def rows(folder: Path) -> list[dict[str, Any]]:
    """Without the time that they took."""
    return [{**row, "seconds": 0, "data_time": 0} for row in read_rows(folder / "metrics.jsonl")]


def same(a: Any, b: Any) -> bool:
    """Bit by bit, whatever is nested."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """With both optimizers, dropout, an average and accumulation; SIGKILL while steps run."""
    given = {"epochs": 3, "epoch_steps": 5, "accumulation": 2, "ema": 0.9, "warmup": 4, "schedule": "cosine",
             "save_every": 3, "lr": 1e-3, "optimizer": "muon", "muon_lr": 2e-3}  # fmt: skip
    run_here(tmp_path / "straight", given)
    killed = tmp_path / "killed"
    (process,) = start(killed, given)
    assert wait_until(lambda: lines(killed / "metrics.jsonl") >= 1, process)
    process.kill()
    process.wait()
    assert 3 <= state(killed)["step"] < 15, "it was killed too early or too late to show anything"
    run_here(killed, given)
    assert state(killed)["optimizer"]["muon"]["state"]
    assert same(state(killed), state(tmp_path / "straight"))
    assert rows(killed) == rows(tmp_path / "straight")
    for name in ("best", "last"):
        kept = [load_file(folder / name / "model.safetensors") for folder in (killed, tmp_path / "straight")]
        assert same(kept[0], kept[1])


def test_a_state_is_whole_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = TrainingFolder(tmp_path)
    assert folder.load() is None
    folder.save({"step": 1, "weights": {"a": torch.arange(3)}})

    class NoSpace(dict[str, Any]):
        def __reduce__(self) -> Any:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device; make room, then --resume continues"):
        folder.save({"step": 2, "weights": NoSpace()})
    assert state(tmp_path)["step"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.pt"]


@pytest.mark.parametrize("content", [b"", b"not a file of torch", b"PK\x03\x04 cut short"])
def test_a_damaged_state_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(UsageError, match="is damaged or of another version; --overwrite starts over"):
        TrainingFolder(tmp_path).load()


def test_a_folder_that_holds_a_training_is_not_taken_twice(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    with (
        folder.held({**ASKED, "lr": 1e-4}),
        pytest.raises(UsageError, match=r"another glip is at work in .*; wait for it"),
    ):
        folder.held({**ASKED, "lr": 1e-4}).__enter__()
    with folder.held({**ASKED, "lr": 1e-3}):  # the data could not be read: nothing is there to lose
        pass
    with folder.held({**ASKED, "lr": 1e-4}):
        folder.save({"step": 1})
    with pytest.raises(UsageError, match="holds a training; --resume continues it, --overwrite starts over"):
        folder.held({**ASKED, "lr": 1e-4}).__enter__()
    with pytest.raises(UsageError, match=r"a training with lr 0.0001, not 0.1; choose another"):
        folder.held({**ASKED, "lr": 0.1}, resume=True).__enter__()
    with folder.held({**ASKED, "lr": 1e-4}, resume=True):
        pass
    folder.save({"step": 3})
    (tmp_path / "best").mkdir()
    (tmp_path / "before_after.md").touch()
    (tmp_path / "report.html").touch()
    (tmp_path / "mine.txt").touch()
    with folder.held({**ASKED, "lr": 0.1}, overwrite=True):
        assert folder.load() is None
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "run.json", "mine.txt"}
    assert json.loads((tmp_path / "run.json").read_bytes()) == {**ASKED, "lr": 0.1}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", [*FILES, "best/model.safetensors", "last/notes.txt", "tensorboard/events"])
@pytest.mark.parametrize("run", [None, "{}", '{"mode": "mine", "epochs": 3}', "no JSON"])
def test_files_that_glip_finetune_did_not_write_are_left_alone(
    tmp_path: Path, name: str, run: str | None, overwrite: bool
) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    if run and name not in ("run.json", "state.pt"):
        (tmp_path / "run.json").write_text(run)
    with pytest.raises(UsageError, match=r"was not written by glip finetune; choose another --out-dir"):
        TrainingFolder(tmp_path).held(ASKED, overwrite=overwrite).__enter__()
    assert mine.read_text() == "mine"


def test_a_damaged_run_json_beside_a_state_can_be_overwritten(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.save({"step": 1})
    folder.run.write_text('{"train": ')
    (tmp_path / "val.json").touch()  # what a user may validate on
    with pytest.raises(UsageError, match=r"run\.json is damaged; --overwrite starts over"):
        folder.held(ASKED, resume=True).__enter__()
    with folder.held(ASKED, overwrite=True):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "run.json", "val.json"}
