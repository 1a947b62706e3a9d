"""What a file says is shown on one line, and cannot steer the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.table import Table
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from glip_cli.checkpoints import safetensors_io
from glip_cli.checkpoints.parts import fetch_parts
from glip_cli.checkpoints.registry import find
from glip_cli.cli.app import app
from glip_cli.cli.console import Console, print_line, print_table
from glip_cli.cli.finetune import show_findings
from glip_cli.training.dataset import read_train_set

HOSTILE = "\x1b[31mred\x07\r\nline\x9b2J\u2028"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def glip(*words: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert not CONTROL.search(result.stdout + result.stderr), result.output
    return result


def test_the_metadata_of_a_model(tmp_path: Path) -> None:
    mini = safetensors_io.read(fetch_parts(find("glip-mini"), offline=True))
    save_file(mini.state, tmp_path / "x.safetensors", {**mini.metadata, f"note{HOSTILE}": HOSTILE})
    result = glip("weights", "info", tmp_path / "x.safetensors")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 9
    assert r"note\x1b[31mred\x07\r\nline\x9b2J" in result.stdout


def test_the_keys_of_a_file(tmp_path: Path) -> None:
    save_file({f"bbox_head.{HOSTILE}": torch.zeros(2)}, tmp_path / "x.safetensors")
    for command in (("weights", "info"), ("weights", "convert")):
        result = glip(*command, tmp_path / "x.safetensors", *([tmp_path / "y"] if command[1] == "convert" else []))
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1


def test_the_names_in_a_training_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its classes and its images, in the table."""
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": f"{HOSTILE}.png"}]
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 50, 20]}]
    classes = [{"id": 1, "name": f"cat{HOSTILE}"}, {"id": 2, "name": f"dog{HOSTILE}"}]
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": classes}))
    show_findings(read_train_set(path)[1], Console(quiet=False))
    printed = capsys.readouterr().err
    assert "images that are not there" in printed
    assert not CONTROL.search(printed)


def test_every_line_goes_through_one_function(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(HOSTILE)
    Console(quiet=False).info(HOSTILE)
    Console(quiet=False).warn(HOSTILE)
    printed = capsys.readouterr()
    assert printed.out == r"\x1b[31mred\x07\r\nline\x9b2J\u2028" + "\n"
    assert printed.err == printed.out + "note: " + printed.out


def test_a_row_of_a_table_is_one_line_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("what", "first", box=None)
    table.add_row("[b]" + "wide " * 40, "x" * 300)
    print_table(table)
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["[b]wide", *["wide"] * 39, "x" * 300]
