"""Real files with real (harmless) exploits: if one ran, it would leave a file behind."""

import argparse
import collections
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from glip_cli.checkpoints import files, safe_pickle
from glip_cli.errors import CheckpointError, UnsafeFileError


class Exploit:
    """Unpickled by an ordinary reader, it creates a file."""

    def __init__(self, target: Path, how: str):
        self.target, self.how = target, how

    def __reduce__(self):
        if self.how == "eval":
            return eval, (f"open({str(self.target)!r}, 'w').close()",)
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("how", ["eval", "system"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_code_in_a_pickle_is_named_and_not_run(tmp_path, how, zipped, nested):
    target, path = tmp_path / "ran", tmp_path / "evil.pth"
    exploit = Exploit(target, how)
    content = {"state_dict": {"a": torch.zeros(2)}, "meta": {"deep": [exploit]}} if nested else exploit
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError, match=how) as caught:
        files.read(path)
    assert str(path) in str(caught.value)
    assert "nothing of it was run" in str(caught.value)
    assert not target.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bare_pickles_too(tmp_path, protocol):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"model": Exploit(tmp_path / "ran", "system")}, protocol))
    with pytest.raises((UnsafeFileError, CheckpointError)) as caught:
        files.read(path)
    if protocol > 2:
        assert isinstance(caught.value, UnsafeFileError)
    assert not (tmp_path / "ran").exists()


def test_exploits_of_this_test_are_real(tmp_path):
    pickle.loads(pickle.dumps(Exploit(tmp_path / "ran", "eval")))
    assert (tmp_path / "ran").exists()


@pytest.fixture
def mmengine(monkeypatch):
    """Modules with mmengine's and yacs's names, as they would be installed where such files are written."""
    made = {}
    for name, base in {
        "mmengine.logging.history_buffer.HistoryBuffer": object,
        "mmengine.config.config.ConfigDict": dict,
        "mmengine.config.config.Config": object,
        "yacs.config.CfgNode": dict,
    }.items():
        module, _, cls = name.rpartition(".")
        parent = made.setdefault(module, types.ModuleType(module))
        setattr(parent, cls, type(cls, (base,), {"__module__": module}))
    packages = {".".join(module.split(".")[:i]) for module in made for i in (1, 2)}
    for module, parent in {**{name: types.ModuleType(name) for name in packages}, **made}.items():
        monkeypatch.setitem(sys.modules, module, parent)
    return made


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_leaves_in_a_file_is_let_in(tmp_path, mmengine, zipped):
    history = mmengine["mmengine.logging.history_buffer"].HistoryBuffer()
    history._log_history, history._count_history = np.arange(5.0), np.arange(5)
    config = mmengine["mmengine.config.config"].Config()
    config._cfg_dict = mmengine["mmengine.config.config"].ConfigDict(a=mmengine["mmengine.config.config"].ConfigDict())
    node = mmengine["yacs.config"].CfgNode(MODEL=mmengine["yacs.config"].CfgNode(X=1))
    node.__dict__["__immutable__"] = False
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    path = tmp_path / "tuned.pth"
    content = {
        "meta": {"cfg": config, "args": argparse.Namespace(path=Path("x")), "node": node, "seed": np.int64(3)},
        "message_hub": {"log_scalars": collections.OrderedDict(loss=history), "best": np.float64(0.5)},
        "optimizer": optimizer.state_dict(),
        "counts": collections.defaultdict(list, a=[1]),
        "steps": collections.Counter([1, 2]),
        "names": np.array(["cat", "dog"]),
        "state_dict": collections.OrderedDict(weight=torch.arange(4.0)),
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    before = set(torch.serialization.get_safe_globals())
    found = files.read(path)
    assert torch.equal(found.state["weight"], torch.arange(4.0))
    assert found.wrapping == "state_dict"
    assert set(torch.serialization.get_safe_globals()) == before


def test_stand_ins_hold_nothing_and_run_nothing():
    for cls in safe_pickle.STAND_INS:
        made = cls("anything", 1)
        assert isinstance(made, safe_pickle.Stub) or made == {}
        assert not vars(made)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html><body>Not found", "is a web page"),
        (b"<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:3bec\nsize 3710104213\n", "Git LFS pointer"),
        (b"just some text", "neither safetensors nor written by torch.save"),
        (b"PK\x03\x04 not really a zip", "truncated, damaged or no checkpoint"),
        (b"\x80\x02 not really a pickle", "truncated, damaged or no checkpoint"),
    ],
)
def test_impostors_are_called_what_they_are(tmp_path, content, told):
    path = tmp_path / "glip.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=told) as caught:
        files.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_anywhere_is_an_error(tmp_path, kind):
    path = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.pth")
    state = {f"bbox_head.head.{i}": torch.arange(50.0) + i for i in range(4)}
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    assert files.read(path).state.keys() == state.keys()
    for length in [*range(0, 40), *range(40, len(whole), 53), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            files.read(path)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {"model": 3}, {1: torch.zeros(1)}, {"state_dict": {"a": 1}}])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"state dict"):
        files.read(tmp_path / "x.pth")


def test_a_new_format_file_is_mapped_not_read(tmp_path):
    torch.save({"model": {"w": torch.zeros(8)}, "optimizer": torch.zeros(8)}, tmp_path / "x.pth")
    loaded = safe_pickle.load(tmp_path / "x.pth")
    before = (tmp_path / "x.pth").read_bytes()
    loaded["model"]["w"].fill_(7)  # copy on write
    assert (tmp_path / "x.pth").read_bytes() == before
