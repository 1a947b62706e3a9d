"""`evaluate`, which the command and Python share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glip_cli import Detector, evaluate
from glip_cli.cli.app import run as glip
from glip_cli.errors import OptionError, UsageError
from glip_cli.evaluation.scenes import draw_scenes


def test_it_gives_what_the_command_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = Detector.load("glip-mini", device="cpu")
    annotations = draw_scenes(tmp_path / "set", 3)
    result = evaluate(detector, annotations, out=tmp_path / "here", report=False)
    assert (
        glip(
            ["eval", "coco", "--gt", str(annotations), "-m", "glip-mini", "-o", str(tmp_path / "there"), "--no-report"]
        )
        == 0
    )
    here, there = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("here", "there"))
    assert here == there
    assert result.metrics["AP50"] == here["AP50"] > 0.5
    assert (tmp_path / "here/coco_results.json").read_bytes() == (tmp_path / "there/coco_results.json").read_bytes()

    detector.detect = None  # type: ignore[method-assign, assignment]  # the records are there: nothing is detected again
    again = evaluate(detector, str(annotations), out=str(tmp_path / "here"), compare=tmp_path / "there", report=False)
    assert again.metrics == result.metrics
    assert again.comparison is not None
    with pytest.raises(OptionError, match="limit -1: give a number of at least 1"):
        evaluate(detector, annotations, out=tmp_path / "here", limit=-1)
    with pytest.raises(UsageError, match="holds a run with"):
        evaluate(detector, annotations, out=tmp_path / "here", size=(64, 64))


def test_a_protocol_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="protocol voc: there are coco, lvis"):
        evaluate(None, tmp_path, protocol="voc")  # type: ignore[arg-type]


def test_a_run_to_compare_with_is_looked_for_before_anything_is_detected(tmp_path: Path) -> None:
    annotations = draw_scenes(tmp_path / "set", 1)
    with pytest.raises(OptionError, match=r"compare .*none: No such file or directory; give the metrics\.json"):
        evaluate(None, annotations, out=tmp_path / "out", compare=tmp_path / "none")  # type: ignore[arg-type]
