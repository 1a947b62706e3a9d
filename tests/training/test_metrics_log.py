"""The rows of a training, their curves, and the table of before and after."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes

from glip_cli.evaluation.report.charts import figure, to_svg
from glip_cli.training.metrics_log import LOSSES, RATES, SCORES, History, Row, draw_curves, points, read_rows
from glip_cli.training.report import KEPT, NEW, cells, compare, write_table

SVG = "{http://www.w3.org/2000/svg}"


def history(folder: Path, until: int = 0) -> History:
    return History(folder / "metrics.jsonl", folder / "curves.svg", until)


@pytest.mark.parametrize("torn", ['{"step": 40, "lo', "5", "[]", '{"loss": 5}', '{"step": "a", "epoch": 1}'])
def test_rows_after_the_last_state_and_a_torn_line_are_forgotten(tmp_path: Path, torn: str) -> None:
    first = history(tmp_path)
    rows = [{"step": step, "epoch": step / 10, "loss": step / 10} for step in (10, 20, 30)]
    for row in rows:
        first.add(row)
    with (tmp_path / "metrics.jsonl").open("ab") as stream:
        stream.write(torn.encode())
    again = history(tmp_path, until=20)
    again.add({**rows[2], "loss": 9.0})
    assert read_rows(tmp_path / "metrics.jsonl") == [*rows[:2], {**rows[2], "loss": 9.0}]


ROWS = [
    {"step": 10, "epoch": 10 / 12, "loss": 4.0, "lr": 0.01},
    {"step": 12, "epoch": 1.0, "loss": 1.0, "lr": 0.01},
    {"step": 12, "epoch": 1.0, "AP": 0.5, "AP50": None, "best": True},
    {"step": 22, "epoch": 22 / 12, "loss": 2.0, "lr": 0.001},
    {"step": 24, "epoch": 2.0, "AP": 0.25, "AP50": None, "best": False},
]


def drawn(rows: list[Row]) -> list[Axes]:
    with figure(6.4, 6.4) as whole:
        draw_curves(whole, rows, (*LOSSES, *SCORES, *RATES))
        ElementTree.fromstring(to_svg(whole))
        return whole.axes


def test_curves_go_where_the_numbers_are() -> None:
    losses, scores, rates = drawn(ROWS)
    assert [(line.get_label(), *line.get_xydata()[-1]) for line in losses.lines] == [("training", 22 / 12, 2.0)]
    ap, _, best = scores.lines
    assert ap.get_xydata().tolist() == [[1.0, 50.0], [2.0, 25.0]]
    assert best.get_xydata().tolist() == [[1.0, 50.0]]
    assert [text.get_text() for text in scores.texts] == ["best 50.0"]
    assert rates.get_xlabel() == "epoch of 12 steps"


def test_the_losses_of_validation_lie_over_those_of_training() -> None:
    """In one panel, and those of a part in one colour; the means of few steps before them are not joined to them."""
    more = {"val_loss": 3.0, "val_token": 2.5, "precision": 0.5, "recall": 0.25, "F1": 1 / 3, "max_F1": 0.75}
    rows = [{**row, **({"token": row["loss"] / 2} if "loss" in row else more)} for row in ROWS]
    loss, parts, _, scores, _ = drawn(rows)
    assert [line.get_label() for line in loss.lines] == ["training", "--val"]
    assert loss.lines[1].get_xydata().tolist() == [[1.0, 3.0], [2.0, 3.0]]
    trained, validated = parts.lines
    assert trained.get_color() == validated.get_color()
    assert (trained.get_linestyle(), validated.get_linestyle()) == ("-", "--")
    assert [(line.get_label(), line.get_ydata()[0]) for line in scores.lines] == [
        ("precision", 50.0), ("recall", 25.0), ("F1", pytest.approx(100 / 3)), ("best F1", 75.0)]  # fmt: skip


def test_a_mean_over_few_steps_joins_the_one_before() -> None:
    assert points(ROWS, "loss") == ([1.0, 22 / 12], [(10 * 4.0 + 2 * 1.0) / 12, 2.0])
    assert points(ROWS, "AP") == ([1.0, 2.0], [0.5, 0.25])


def test_the_first_losses_do_not_set_the_scale() -> None:
    rows = [{"step": 10 * i, "epoch": i, "loss": 50.0 if i == 1 else 2.0} for i in range(1, 12)]
    assert drawn(rows)[0].get_ylim() == pytest.approx((0, 2.16))


def test_without_validation_there_is_no_empty_chart() -> None:
    assert [axes.get_title(loc="left") for axes in drawn([ROWS[0]])] == ["Loss", "Learning rate"]


@pytest.mark.parametrize("rows", [[], [{"step": 5, "epoch": 1.0, "unread": {"a": 1}}], [{**ROWS[0], "loss": 0.0}]])
def test_few_rows_are_an_image_too(rows: list[Row]) -> None:
    assert drawn(rows)[0].get_title(loc="left") == "Loss"


def test_the_image_is_drawn_at_the_end(tmp_path: Path) -> None:
    one = history(tmp_path)
    one.add(ROWS[0])
    assert not one.draw()  # it has only begun
    assert not (tmp_path / "curves.svg").exists()
    one.close()
    assert ElementTree.fromstring((tmp_path / "curves.svg").read_bytes()).tag == f"{SVG}svg"


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
    write_table(tmp_path, table)
    data, people = (tmp_path / f"before_after.{kind}" for kind in ("json", "md"))
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


def test_the_points_of_a_long_training_are_found_in_one_pass() -> None:
    """Their time must not rise with the square of the rows, or this test takes minutes."""
    rows = [{"step": 10 * i, "epoch": i / 100, "loss": 1.0} for i in range(1, 40_001)]
    x, y = points(rows, "loss")
    assert (len(x), x[-1], set(y)) == (40_000, 400.0, {1.0})
