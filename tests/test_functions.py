"""What the commands call, from Python (`evaluate`: tests/evaluation). Long runs are tested through the commands."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from glip_cli import Detector, annotate, export, finetune
from glip_cli.data.synthetic import draw_scene
from glip_cli.errors import DataError, OptionError, UsageError
from glip_cli.runs.journal import read_records
from glip_cli.training.config import TrainConfig
from glip_cli.training.init_model import InitSource
from glip_cli.training.settings import Data, FinetuneKeywords


def test_a_package_does_not_hide_a_function() -> None:
    import glip_cli.annotation.run
    import glip_cli.onnx_export.metadata
    import glip_cli.training.run

    assert [one.__name__ for one in (glip_cli.finetune, glip_cli.annotate, glip_cli.export)] == [
        "finetune", "annotate", "export"]  # fmt: skip


def test_annotate(tmp_path: Path) -> None:
    draw_scene(np.random.default_rng(3), 160, 160).image.save(tmp_path / "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,a [star] and a [red circle]\n")
    result = annotate(Detector.load("glip-mini"), tmp_path / "captions.csv", out=tmp_path / "run", formats="coco")
    assert (result.progress.complete, result.counts is not None and result.counts.captions) == (True, 1)
    assert [record["labels"] for record in read_records(tmp_path / "run/results.jsonl")] == [["star", "red circle"]]
    assert (tmp_path / "run/coco.json").exists()
    with pytest.raises(OptionError, match="format yaml: there are grounding"):
        annotate(Detector.load("glip-mini"), tmp_path / "captions.csv", out=tmp_path / "run", formats=["yaml"])


def test_a_threshold_is_of_the_captions_that_have_the_label(tmp_path: Path) -> None:
    draw_scene(np.random.default_rng(1), 160, 160).image.save(tmp_path / "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,a [circle]\na.png,a [star]\n")
    detector = Detector.load("glip-mini", device="cpu")
    annotate(detector, tmp_path / "captions.csv", out=tmp_path / "run", threshold=0, class_thresholds={"star": 1.0})
    circle, star = (len(record["detections"]) for record in read_records(tmp_path / "run/results.jsonl"))
    assert (circle > 0, star) == (True, 0)


def test_finetune_refuses_before_it_loads(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="train is missing"):
        finetune([], out=tmp_path / "run")
    with pytest.raises(OptionError, match="mode everything: there are full"):
        finetune("scenes:4", out=tmp_path / "run", model="glip-mini", mode="everything")
    for share in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match=f"share {share:g}: give a number greater than 0"):
            finetune("scenes:4", out=tmp_path / "run", model="glip-mini", share=share)
    with pytest.raises(OptionError, match="shots 0: give a number of at least 1"):
        finetune("scenes:4", out=tmp_path / "run", model="glip-mini", shots=0)
    with pytest.raises((DataError, UsageError), match="cannot be read"):
        finetune(tmp_path / "none.json", out=tmp_path / "run", model="glip-mini")


def test_the_keywords_of_finetune_are_the_fields_of_its_options(tmp_path: Path) -> None:
    """`FinetuneKeywords` only says their types again, for type checkers."""
    given, recipe, origin = map(get_type_hints, (FinetuneKeywords, TrainConfig, InitSource))
    data = {field.name for field in fields(Data)} - {"train"}
    assert given == {**recipe, **origin, **{name: given.get(name) for name in data}}
    with pytest.raises(TypeError, match=r"finetune\(\) got an unexpected keyword argument 'epoch'"):
        finetune("scenes:4", out=tmp_path / "run", epoch=3)  # type: ignore[call-arg]


def test_export_refuses_before_it_loads(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"name a file that ends in \.onnx"):
        export("glip-mini", tmp_path / "model.txt")
