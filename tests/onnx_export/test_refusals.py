"""What `glip export` and `--onnx` say no to, before any work; and what a file tells of itself."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from glip_cli.checkpoints.parts import load_detector_parts
from glip_cli.cli.app import app
from glip_cli.errors import CheckpointError, PromptError, UsageError
from glip_cli.onnx_export.export import make_metadata
from glip_cli.onnx_export.graph import convert
from glip_cli.onnx_export.metadata import Fixed, OnnxMetadata, from_metadata, to_metadata
from glip_cli.onnx_export.pieces import Piece
from glip_cli.prompts.prompt import label_prompt, texts_prompt

METADATA = OnnxMetadata("glip-mini", "glip-mini@00000000", (), "vocab.txt", "[UNK]\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["export", "-m", "glip-mini", "--opset", "7"], "--opset 7"),
        (["export", "-m", "glip-mini", "-o", "model.pt"], "--out model.pt"),
        (["export", "-m", "glip-nothing"], "glip-nothing"),
        (["export", "-m", "glip-mini", "-t", ""], "label"),
        (["detect", "a.png", "-t", "cat", "--onnx", "a.onnx", "-m", "glip-mini"], "--model"),
        (["detect", "a.png", "-t", "cat", "--onnx", "a.onnx", "--device", "cuda"], "--device cuda"),
        (["batch", "a.png", "-t", "cat", "--onnx", "a.onnx", "--ray=auto"], "--ray"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("glip: error: ")]
    assert told in line
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_no_file_and_no_onnx(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("this is no protobuf")
    for name, told in (("none.onnx", "no file"), ("text.onnx", "no ONNX file")):
        result = CliRunner().invoke(app, ["detect", "a.png", "-t", "cat", "--onnx", str(tmp_path / name)])
        assert result.exit_code == 2, result.output
        assert told in result.stderr
        assert "Traceback" not in result.output


@pytest.mark.parametrize("package", ["onnx_ir", "onnxruntime", "onnxscript"])
def test_without_the_packages_one_line_says_how_to_get_them(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for module in ("export", "graph"):  # imported again, as by a process of its own
        monkeypatch.delitem(sys.modules, f"glip_cli.onnx_export.{module}", raising=False)
    result = CliRunner().invoke(app, ["export", "-m", "glip-mini"])
    assert result.exit_code == 2
    assert f"ONNX needs {package}" in result.stderr
    assert "pip install 'glip-cli[export]'" in result.stderr


def test_labels_that_take_two_texts_cannot_be_fixed() -> None:
    parts = load_detector_parts("glip-mini")
    with pytest.raises(PromptError, match="2 texts"):
        make_metadata(parts, tuple(["small striped red circle"] * 60))
    assert make_metadata(parts, ("red circle", "star")).fixed == Fixed(("red circle", "star"), *tokens_of_two())


def test_a_fixed_prompt_in_other_words() -> None:
    """The metadata says the class, and has the words for whoever asks without a prompt."""
    metadata = make_metadata(load_detector_parts("glip-mini"), texts_prompt(["red circle = disc . star ."]))
    assert metadata.fixed == Fixed(("disc", "star"), *tokens_of_two())
    assert metadata.words == {"disc": "red circle"}
    assert label_prompt(metadata.labels, metadata.words).text == "red circle. star"


def tokens_of_two() -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """ "red circle. star": [CLS] red circle . star [SEP], so the labels are at 1, 2 and at 4."""
    from glip_cli.prompts.tokenizer import Tokenizer

    ids = Tokenizer.from_dir(load_detector_parts("glip-mini").tokenizer).encode("red circle. star").ids
    assert len(ids) == 6
    return ids, ((1, 2), (4,))


LABEL = st.text(min_size=1, max_size=8)


@given(
    labels=st.lists(LABEL, min_size=1, max_size=3),
    tuned=st.lists(LABEL, max_size=2),
    vocabulary=st.text(),
    free=st.booleans(),
)
def test_metadata_come_back_unchanged(labels: list[str], tuned: list[str], vocabulary: str, free: bool) -> None:
    fixed = None if free else Fixed(tuple(labels), (1, 5, 2), ((1,),) * len(labels))
    metadata = replace(METADATA, prompt_tuned_labels=tuple(tuned), vocabulary=vocabulary, fixed=fixed)
    metadata = replace(metadata, tuned_labels=tuple(labels), use_cls=free, words=dict.fromkeys(labels[1:], vocabulary))
    strings = to_metadata(metadata)
    assert all(isinstance(value, str) for value in strings.values())
    assert from_metadata(strings, Path("a.onnx")) == metadata


@pytest.mark.parametrize(
    "change",
    [
        {"format": "glip-onnx/99"},
        {"architecture": "glip-xxl"},
        {"tokenizer": "../vocab.txt"},
        {"tuned_for": "["},
        {"labels": json.dumps(["cat"])},
        {"labels": "7", "ids": "[1]", "tokens": "[]"},
    ],
)
def test_metadata_that_make_no_sense(change: dict[str, str]) -> None:
    with pytest.raises(CheckpointError, match=r"a\.onnx"):
        from_metadata(to_metadata(METADATA) | change, Path("a.onnx"))


class Branching(nn.Module):
    """What no graph can hold: a way that depends on values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


def test_what_torch_cannot_export_is_one_line() -> None:
    piece = Piece(Branching(), ("x",), ("y",), (torch.ones(2),), ({},))
    told = r"torch \S+ and onnxscript \S+ cannot export this network \(\w+\); pip install -U 'glip-cli\[export\]'"
    with pytest.raises(UsageError, match=told):
        convert(piece, 20)
