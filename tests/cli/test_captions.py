"""Captions as a person types them, with the embedded model and, where it lies beside the checkout, the real tagger."""

from __future__ import annotations

import json
from pathlib import Path

import nltk.data
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from glip_cli.cli.app import app
from glip_cli.data.synthetic import draw_scene
from tests.shared import shared

CAPTION = "There is a red square and a Star. The blue ring, a star"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one image, on a machine without a tagger."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setattr(nltk.data, "path", [])
    draw_scene(np.random.default_rng(0)).image.save("0.png")
    return tmp_path


@pytest.fixture
def tagger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", str(shared("nltk_data")))


def glip(*arguments: str, command: str = "detect") -> Result:
    return CliRunner().invoke(app, [command, *arguments, "-m", "glip-mini", "--device", "cpu"])


def found(*arguments: str) -> tuple[dict, str]:
    """The record of 0.png, and what was said."""
    result = glip("0.png", "--json", "--threshold", "0.03", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


@pytest.mark.usefixtures("tagger")
def test_noun_phrases_are_labels_with_spans() -> None:
    record, said = found("--caption", CAPTION)
    assert record["prompt"] == CAPTION
    assert record["labels"] == ["a red square", "a Star", "The blue ring"]
    assert [[CAPTION[b:e] for b, e in spans] for spans in record["spans"]] == [
        ["a red square"],
        ["a Star", "a star"],
        ["The blue ring"],
    ]
    assert record["detections"]
    for detection in record["detections"]:
        begin, end = detection["span"]
        assert CAPTION[begin:end] == detection["label"] == record["labels"][detection["label_id"]]
    assert "parts of the caption: 'a red square', 'a Star', 'The blue ring'" in said
    with Image.open("0.png") as before, Image.open("outputs/vis/0.jpg") as after:
        assert after.width == before.width
        assert after.height > before.height


@pytest.mark.usefixtures("tagger")
def test_a_number_is_no_part_of_a_phrase() -> None:
    """shared/seeds/article-walkthrough-zh.md: "a cat" is one phrase with its article, "two cat" is not."""
    shared("seeds/article-walkthrough-zh.md")
    for caption, labels in (
        ("There is a cat and a remote in the image", ["a cat", "a remote", "the image"]),
        ("There is two cat and a remote in the image", ["cat", "a remote", "the image"]),
    ):
        assert found("--caption", caption)[0]["labels"] == labels


@pytest.mark.usefixtures("tagger")
def test_texts_that_read_like_a_sentence_are_a_caption() -> None:
    record, said = found("-t", "There is two square and a star in the image.")
    assert record["labels"] == ["square", "a star", "the image"]
    assert "spans" in record
    assert "a caption, with the parts: 'square', 'a star', 'the image' (to take it as one label: -c)" in said


@pytest.mark.usefixtures("tagger")
@pytest.mark.parametrize(
    ("arguments", "labels"),
    [
        (["-c", "-t", "a red square and a star"], ["a red square and a star"]),
        (["-t", "the red square"], ["the red square"]),
        (["-t", "red square"], ["red square"]),
        (["-t", "a square . a star"], ["a square", "a star"]),
        (["-t", "a square on a star", "-t", "star"], ["a square on a star", "star"]),
        (["-t", "a [square] . star"], ["a [square]", "star"]),
        (["-t", "is it on"], ["is it on"]),
    ],
)
def test_texts_that_are_labels(arguments: list[str], labels: list[str]) -> None:
    record, said = found(*arguments)
    assert record["labels"] == labels
    assert "spans" not in record
    assert said.startswith("labels: ")
    with Image.open("0.png") as before, Image.open("outputs/vis/0.jpg") as after:
        assert after.size == before.size


@pytest.mark.usefixtures("tagger")
@pytest.mark.parametrize("caption", ["playing loudly", "?!", "and or"])
def test_no_noun_phrase_is_an_error(caption: str) -> None:
    result = glip("0.png", "--caption", caption)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "no noun phrase" in result.stderr
    assert "--phrases" in result.stderr


def test_bracketed_words_need_no_tagger() -> None:
    record, said = found("--caption", "two [red squares] and a [ Star ], a [star]", "--offline")
    assert record["prompt"] == "two red squares and a  Star , a star"
    assert record["labels"] == ["red squares", "Star"]
    assert record["spans"] == [[[4, 15]], [[23, 27], [32, 36]]]
    assert "parts of the caption: 'red squares', 'Star'" in said


def test_phrases_need_no_tagger_and_take_brackets_as_text() -> None:
    record, _ = found("--caption", "a red square [left] and a star", "--phrases", "red square", "--offline")
    assert record["prompt"] == "a red square [left] and a star"
    assert record["spans"] == [[[2, 12]]]


@pytest.mark.parametrize("caption", ["a [star", "a star]", "[a [star]]", "[] star", ""])
def test_captions_that_cannot_be_meant(caption: str) -> None:
    result = glip("0.png", "--caption", caption, "--offline")
    assert result.exit_code == 2
    assert result.stderr.startswith("glip: error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["detect", "batch", "features"])
def test_without_a_tagger_the_error_names_both_ways_out(command: str) -> None:
    result = glip("0.png", "--caption", "a star and a square", "--offline", command=command)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "--phrases" in result.stderr
    assert "[bracketed] words" in result.stderr


def test_without_a_tagger_a_sentence_is_one_label() -> None:
    record, said = found("-t", "a star and a square", "--offline")
    assert record["labels"] == ["a star and a square"]
    assert "note: 'a star and a square' is taken as one label, because" in said
    assert "labels: 'a star and a square'" in said


def test_features_read_a_sentence_as_detect_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline it is one label, and no server is asked, of which the error would speak; with -c it always is."""
    said = glip("0.png", "-t", "a star and a square", "--offline", command="features").stderr
    assert "is taken as one label" in said
    assert "the network is not to be used" in said
    monkeypatch.setenv("NLTK_DATA", str(shared("nltk_data")))
    again = ["0.png", "-t", "a star and a square", "--overwrite"]
    assert "with the parts: 'a star', 'a square'" in glip(*again, command="features").stderr
    assert "labels: 'a star and a square'" in glip(*again, "-c", command="features").stderr


def test_the_help_shows_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which rich would take for markup of its own."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["detect", "--help"]).stdout
    assert "[bracketed]" in shown


@pytest.mark.usefixtures("tagger")
def test_explain_shows_the_tokens_of_every_span() -> None:
    result = glip("--caption", "a star and a Star", "--explain")
    assert result.exit_code == 0, result.stderr
    (row,) = [line for line in result.stderr.splitlines() if "0-6" in line]
    assert "0-6 11-17" in row
    assert "1:a 2:star 4:a 5:star" in row


@pytest.mark.usefixtures("tagger")
def test_batch_takes_captions_and_goes_on() -> None:
    arguments = ["0.png", "--caption", CAPTION, "-o", "run", "--save-vis", "--threshold", "0.03"]
    for _ in range(2):
        result = glip(*arguments, command="batch")
        assert result.exit_code == 0, result.stderr
    (line,) = Path("run/results.jsonl").read_text().splitlines()
    assert json.loads(line)["spans"] == found("--caption", CAPTION)[0]["spans"]
    with Image.open("run/vis/0.jpg") as image:
        assert image.height > 160
