"""Lines of messages: one line each, of at most 300 characters, with what is wrong and the way out left in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from glip_cli.cli.app import app
from glip_cli.cli.console import Console, say_error
from glip_cli.utils.text_format import LIST, counted, listed, message, open_text, quoted


@given(st.lists(st.text(max_size=200), min_size=1, max_size=50))
def test_a_list_is_cut_with_a_count(values: list[str]) -> None:
    text = listed(values)
    assert len(text) <= LIST + len(" and 49 more")
    more = int(text.rpartition(" and ")[2].removesuffix(" more")) if text.endswith(" more") else 0
    assert text.startswith(", ".join(map(quoted, values[: len(values) - more])))


def test_one_thing_is_singular() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [counted(n, "box is", "boxes are") for n in (0, 1, 2)] == ["0 boxes are", "1 box is", "2 boxes are"]


def test_a_short_list_is_whole() -> None:
    assert listed([]) == ""
    assert listed(["cat", "a, b"]) == "'cat', 'a, b'"
    assert listed(map(str, range(1200))).endswith(" and 1,178 more")


@given(st.text(max_size=1000))
def test_a_message_is_one_short_line(text: str) -> None:
    shown = message(text)
    assert len(shown) <= 287
    assert len(shown.splitlines()) <= 1


def test_errors_and_notes_are_short_and_keep_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{'a/' * 3000}x.jpg: no such file;\n check the path"
    say_error(text)
    Console(False).warn(text)
    error, note = capsys.readouterr().err.splitlines()
    assert error.startswith("glip: error: a/a/")
    assert note.startswith("note: a/a/")
    for line in (error, note):
        assert len(line) <= 300
        assert line.endswith("x.jpg: no such file;\\n check the path")


def test_an_unknown_label_among_many_is_a_short_error(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"label number {number}\n" for number in range(1200)))
    words = ["detect", "x.jpg", "-t", f"@{labels}", "--class-threshold", f"{'y' * 1000}=0.5", "-m", "glip-mini"]
    (tmp_path / "x.jpg").touch()
    result = CliRunner().invoke(app, [*words[:1], str(tmp_path / "x.jpg"), *words[2:], "--device", "cpu"])
    assert result.exit_code == 2
    assert all(len(line) <= 300 for line in result.stderr.splitlines())
    assert "the labels are 'label number 0', 'label number 1'," in result.stderr
    assert " and 1,194 more" in result.stderr


def test_text_files_of_windows(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "a.txt").write_bytes("é\r\n猫".encode(encoding))
        with open_text(tmp_path / "a.txt") as file:
            assert file.read() == "é\n猫"
    (tmp_path / "a.txt").write_bytes(b"")
    with open_text(tmp_path / "a.txt") as file:
        assert file.read() == ""
