"""`glip weights` list, info, convert, fetch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from glip_cli.checkpoints import registry
from glip_cli.cli.app import app
from tests.checkpoints.support import foreign, small_state


def glip(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["weights", *arguments])


@pytest.fixture
def pth(tmp_path: Path) -> Path:
    path = tmp_path / "small.pth"
    torch.save({"state_dict": foreign(small_state(), "mmdet"), "meta": {"epoch": 3}}, path)
    return path


def test_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path))
    result = glip("list", "--json")
    assert result.exit_code == 0
    models = {entry["name"]: entry for entry in map(json.loads, result.stdout.splitlines())}
    zero_shot = ["glip-t-a", "glip-t-b", "glip-t-c", "glip-t", "glip-l"]
    assert {*zero_shot, *(f"{name}-coco" for name in zero_shot)} <= set(models)
    assert {f"{name}-official" for name in zero_shot} <= set(models)
    assert models["glip-mini"]["here"]
    assert not models["glip-t"]["here"]
    assert "glip-t-a" in glip("list").stdout


@pytest.mark.parametrize("columns", ["80", "100", "200"])
def test_the_list_shows_whole_names(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = glip("list").stdout
    first = [line.split(" ", 1)[0] for line in shown.splitlines()]
    assert set(registry.names()) <= set(first)
    assert len(first) == len(registry.names()) + 4  # a line each, two above and two below
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_the_help_of_json_speaks_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    for command in ("list", "info"):
        assert "image" not in glip(command, "--help").stdout


def test_info(pth: Path) -> None:
    result = glip("info", str(pth), "--json")
    facts = json.loads(result.stdout)
    assert facts["dialect"] == "mmdet"
    assert facts["architecture"] == "glip-mini"
    assert facts["parameters"] > 2_500_000
    assert "state_dict" in facts["wrapping"]
    assert "architecture  glip-mini" in glip("info", str(pth)).stdout


def test_a_name_stands_for_the_file_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pth: Path) -> None:
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    facts = json.loads(glip("info", "glip-nano", "--json").stdout)
    assert (facts["architecture"], Path(facts["file"]).name) == ("glip-nano", "glip-nano.safetensors")
    assert glip("convert", "glip-mini", "own.safetensors").exit_code == 0
    assert json.loads(glip("info", "own.safetensors", "--json").stdout)["architecture"] == "glip-mini"
    for command in (["info", "glip-t"], ["convert", "glip-t", "x.safetensors"]):
        refused = glip(*command)
        assert refused.exit_code == 1
        assert refused.stderr == "glip: error: glip-t is not on this machine: glip weights fetch glip-t\n"
    pth.rename("glip-t")  # a file of that name is the file
    assert "architecture  glip-mini" in glip("info", "glip-t").stdout


def test_a_name_is_no_file_of_weights() -> None:
    words = ["detect", "a.png", "-t", "cat", "--weights", "glip-nano", "--device", "cpu"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "there is no file glip-nano: it is the name of a model, which goes to --model" in result.stderr


def test_a_checkpoint_is_not_replaced_by_its_conversion(pth: Path) -> None:
    before = pth.read_bytes()
    refused = glip("convert", str(pth), str(pth.parent / "." / pth.name))
    assert (refused.exit_code, pth.read_bytes() == before) == (2, True)
    assert "is the checkpoint itself, which stays; name another file for OUT" in refused.stderr


@pytest.mark.parametrize("place", [".", "/", "missing/x.safetensors"])
def test_a_place_that_is_no_file(pth: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pth.parent)
    refused = glip("convert", str(pth), place)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert f"cannot write {place}: " in refused.stderr
    assert sorted(path.name for path in pth.parent.iterdir()) == [pth.name]


def test_convert_and_use(pth: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    result = glip("convert", str(pth), str(out))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(out)
    assert json.loads(glip("info", str(out), "--json").stdout)["dialect"] == "native"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["info", "none.pth"], 2), (["fetch", "glip-x"], 2), (["convert", "none.pth", "out.safetensors"], 2),
     (["fetch", "glip-l-lvisbest"], 1)],
)  # fmt: skip
def test_errors_are_one_line(arguments: list[str], code: int) -> None:
    result = glip(*arguments)
    assert result.exit_code == code
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("glip: error: ")


def test_fetch_prints_where_it_lies() -> None:
    result = glip("fetch", "glip-mini")
    assert result.exit_code == 0, result.stderr
    assert Path(result.stdout.strip()).name == "glip-mini.safetensors"
