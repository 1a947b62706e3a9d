"""A flag beats GLIP_... variables, which beat the config file."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from glip_cli.cli import app
from glip_cli.cli.defaults import with_defaults
from glip_cli.errors import UsageError

ROOT = typer.main.get_command(app)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "glip.toml"
    path.write_text(
        'threshold = 0.4\ntexts = ["cat", "dog"]\nquiet = true\n[detect]\nthreshold = 0.5\nno-save-vis = false\n'
    )
    return str(path)


def run(*arguments: str, **environment: str) -> list[str]:
    return with_defaults(ROOT, ["detect", *arguments], environment)[1:]


def test_nothing_to_add() -> None:
    assert run("a.jpg", "-t", "cat") == ["a.jpg", "-t", "cat"]
    assert with_defaults(ROOT, ["--help"], {}) == ["--help"]
    assert with_defaults(ROOT, [], {"GLIP_TEXTS": "cat"}) == []


def test_the_table_of_the_command_beats_the_top_of_the_file(config: str) -> None:
    assert run("a.jpg", "--config", config) == [
        "--threshold=0.5", "--texts=cat", "--texts=dog", "--quiet", "a.jpg", "--config", config,
    ]  # fmt: skip


def test_the_environment_beats_the_file(config: str) -> None:
    words = run("a.jpg", "--config", config, GLIP_TEXTS="cat . remote .", GLIP_QUIET="0")
    assert words[:2] == ["--threshold=0.5", "--texts=cat . remote ."]
    assert "--quiet" not in words


@pytest.mark.parametrize("typed", [["-t", "bird"], ["--texts=bird"], ["--labels", "bird"], ["-tbird"]])
def test_a_flag_beats_both_and_replaces_lists(config: str, typed: list[str]) -> None:
    words = run(*typed, f"--config={config}", GLIP_TEXTS="cow")
    assert not [word for word in words if word.startswith("--texts=") and word != "--texts=bird"]


def test_a_config_named_by_the_environment(config: str) -> None:
    assert "--texts=dog" in run("a.jpg", GLIP_CONFIG=config)


def test_aliases_are_the_flags_they_stand_for() -> None:
    assert run("--pred-score-thr", "0.5", "--iou=0.7") == ["--threshold", "0.5", "--nms-iou=0.7"]


@pytest.mark.parametrize(
    ("content", "told"),
    [("threshhold = 1", "--threshhold"), ("[detekt]\n", "detekt"), ("not toml", "TOML"), ("\xff", "TOML")],
)
def test_a_bad_file_is_one_error(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=told):
        run("a.jpg", "--config", str(path))
    with pytest.raises(UsageError, match="no\\.toml"):
        run("a.jpg", "--config", "no.toml")
