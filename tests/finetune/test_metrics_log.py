"""The rows of a training, their curves, and the table of before and after."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from glip_cli.finetune.metrics_log import History, draw_curves, read_rows
from glip_cli.finetune.validation import KEPT, NEW, cells, compare, write_table

SVG = "{http://www.w3.org/2000/svg}"


def history(folder: Path, until: int = 0) -> History:
    return History(folder / "metrics.jsonl", folder / "curves.svg", until)


def test_rows_after_the_last_state_and_a_torn_line_are_forgotten(tmp_path: Path) -> None:
    first = history(tmp_path)
    for step in (10, 20, 30):
        first.add({"step": step, "loss": step / 10})
    with (tmp_path / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"step": 40, "lo')
    again = history(tmp_path, until=20)
    again.add({"step": 30, "loss": 9.0})
    assert read_rows(tmp_path / "metrics.jsonl") == [
        {"step": 10, "loss": 1.0},
        {"step": 20, "loss": 2.0},
        {"step": 30, "loss": 9.0},
    ]


def test_curves_go_where_the_numbers_are() -> None:
    """Two rows of loss 4 and 2, one AP of 0.5 at the middle: corners by hand, in pixels."""
    rows = [{"step": 50, "loss": 4.0}, {"step": 50, "AP": 0.5, "AP50": None}, {"step": 100, "loss": 2.0}]
    root = ElementTree.fromstring(draw_curves(rows))
    lines = [line.get("points") for line in root.iter(f"{SVG}polyline")]
    assert lines == ["376.0,26.0 696.0,126.0", "376.0,388.0"]
    names = [text.text for text in root.iter(f"{SVG}text")]
    assert "AP50" not in names  # of which there is nothing
    assert {"loss", "AP", "100", "4", "0.5"} <= set(names)


@pytest.mark.parametrize(("value", "top"), [(4.51, 6), (4.0, 4), (0.013, 0.02), (9.3, 10), (0, 1)])
def test_the_axis_ends_at_a_round_number(value: float, top: float) -> None:
    root = ElementTree.fromstring(draw_curves([{"step": 5, "loss": value}]))
    assert f"{top:.3g}" in [text.text for text in root.iter(f"{SVG}text")]


def test_without_validation_there_is_no_empty_chart() -> None:
    titles = [text.text for text in ElementTree.fromstring(draw_curves([{"step": 5, "loss": 1.0}])).iter(f"{SVG}text")]
    assert "Losses" in titles
    assert "AP on --val" not in titles


def test_no_rows_are_a_image_too() -> None:
    assert ElementTree.fromstring(draw_curves([])).tag == f"{SVG}svg"


def test_the_image_is_made_again_at_the_end(tmp_path: Path) -> None:
    one = history(tmp_path)
    one.add({"step": 1, "loss": 1.0})
    one.close()
    assert (tmp_path / "curves.svg").read_text().startswith("<svg")


def test_before_and_after_by_hand(tmp_path: Path) -> None:
    names = {NEW: "cells, 8 images", KEPT: "drawn scenes, 4 images"}
    before = {NEW: {"AP": 0.1, "APl": None}, KEPT: {"AP": 0.5}}
    after = {NEW: {"AP": 0.75, "APl": None}, KEPT: {"AP": 0.4512}}
    table = compare(names, before, after)
    assert [cells(row) for row in table] == [
        ("new data (cells, 8 images)", "AP", "10.0", "75.0", "+65.0"),
        ("new data (cells, 8 images)", "APl", "-", "-", "-"),
        ("keep-check (drawn scenes, 4 images)", "AP", "50.0", "45.1", "-4.9"),
    ]
    data, people = write_table(tmp_path, table)
    assert json.loads(data.read_bytes())[2] == {
        "check": KEPT, "name": names[KEPT], "metric": "AP", "before": 0.5, "after": 0.4512}  # fmt: skip
    assert "| new data (cells, 8 images) | AP | 10.0 | 75.0 | +65.0 |" in people.read_text()


def test_numbers_of_tensorboard(tmp_path: Path) -> None:
    """What tensorboard itself reads back: every number at its step, once, also after steps that came again."""
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one = history(tmp_path)
    one.add({"step": 10, "epoch": 0.5, "loss": 2.0, "lr": 1e-3})
    one.add({"step": 20, "epoch": 1.0, "loss": 1.5, "lr": 1e-3})
    one.add({"step": 20, "epoch": 1.0, "AP": 0.25, "best": True})
    one.close()
    again = history(tmp_path, until=10)
    again.add({"step": 20, "epoch": 1.0, "loss": 1.25, "lr": 1e-4})
    again.close()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(board.Tags()["scalars"]) == {"loss", "lr", "AP"}
    assert [(row.step, row.value) for row in board.Scalars("loss")] == [(10, 2.0), (20, 1.25)]
    assert board.Scalars("AP") == []
