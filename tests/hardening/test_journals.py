"""Damaged journals and settings of runs: mended, or refused in one line; what is kept is whole records in order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_cli.cli.config import with_defaults
from glip_cli.errors import GlipError, OutputError, UsageError
from glip_cli.runs.journal import Journal, read_records
from glip_cli.runs.run_dir import RunFolder
from glip_cli.runs.shards import Shard
from tests.hardening.mutate import altered, damaged
from tests.hardening.robustness import JOURNAL as WHOLE
from tests.hardening.robustness import NAMES, RECORDS, TOML
from tests.runs.examples import MadeEngine, do

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def one_line(error: GlipError) -> None:
    assert len(str(error).splitlines()) == 1, str(error)


def reopened(path: Path, content: bytes) -> None:
    """Open, add one record, and read: what was there before the damage, and the new one last."""
    path.write_bytes(content)
    try:
        journal = Journal(path)
    except OutputError as error:
        one_line(error)
        assert path.read_bytes() == content, "a journal that is refused must not be changed"
        return
    assert content.startswith(path.read_bytes()), "mending only cuts off the end"
    before = journal.counts.images
    journal.add(RECORDS[0])
    journal.close()
    records = list(read_records(path))
    assert len(records) == before + 1
    assert records[-1] == RECORDS[0]


@given(damaged(WHOLE))
@settings(max_examples=250, derandomize=True, suppress_health_check=QUIET)
def test_damaged(tmp_path: Path, content: bytes) -> None:
    reopened(tmp_path / "results.jsonl", content)


@given(st.lists(altered(RECORDS[0]), max_size=3))
@settings(max_examples=150, derandomize=True, suppress_health_check=QUIET)
def test_altered_records(tmp_path: Path, records: list[Any]) -> None:
    lines = [json.dumps(record).encode("utf-8", "surrogatepass") + b"\n" for record in records]
    reopened(tmp_path / "results.jsonl", b"".join(lines))


@pytest.mark.long
@given(damaged(WHOLE, most=8))
@settings(max_examples=20_000, database=None, suppress_health_check=QUIET)
def test_damaged_for_long(tmp_path: Path, content: bytes) -> None:
    reopened(tmp_path / "results.jsonl", content)


@given(damaged(WHOLE))
@settings(max_examples=80, derandomize=True, suppress_health_check=QUIET)
def test_a_run_goes_on_or_is_refused(tmp_path: Path, content: bytes) -> None:
    """With one record per image at its end, of that image."""
    run = tmp_path / "run"
    shutil.rmtree(run, ignore_errors=True)
    do(run, NAMES)
    (run / "results.jsonl").write_bytes(content)
    try:
        do(run, NAMES)
    except (OutputError, UsageError) as error:
        one_line(error)
        return
    assert [record["image"] for record in read_records(run / "results.jsonl")] == NAMES


@given(altered({"model": "made@0", "labels": ["cat"], "threshold": 0.3, "processes": 1}))
@settings(max_examples=80, derandomize=True, suppress_health_check=QUIET)
def test_altered_settings_of_a_run(tmp_path: Path, content: Any) -> None:
    run = tmp_path / "run"
    shutil.rmtree(run, ignore_errors=True)
    do(run, NAMES, MadeEngine(most=2))
    (run / "run.json").write_bytes(json.dumps(content).encode("utf-8", "surrogatepass"))
    try:
        do(run, NAMES)
    except (OutputError, UsageError) as error:
        one_line(error)


@given(damaged(WHOLE), st.integers(0, 1))
@settings(max_examples=60, derandomize=True, suppress_health_check=QUIET)
def test_damaged_journals_of_several_processes(tmp_path: Path, content: bytes, rank: int) -> None:
    run = tmp_path / "run"
    shutil.rmtree(run, ignore_errors=True)
    for part in (0, 1):
        do(run, NAMES, MadeEngine(most=1), Shard(part, 2))
    journal = sorted((run / "shards").glob("*.jsonl"))[rank]
    journal.write_bytes(content)
    try:
        for part in (0, 1):
            do(run, NAMES, shard=Shard(part, 2))
    except (OutputError, UsageError) as error:
        one_line(error)
        return
    assert [record["image"] for record in read_records(run / "results.jsonl")] == NAMES


# ------------------------------------------------------------------------------------- settings of the command line


@pytest.fixture(scope="module")
def root() -> Any:
    import typer

    from glip_cli.cli.app import app

    return typer.main.get_command(app)


@given(damaged(TOML))
@settings(max_examples=150, derandomize=True, suppress_health_check=QUIET)
def test_damaged_config_files(tmp_path: Path, root: Any, content: bytes) -> None:
    (tmp_path / "glip.toml").write_bytes(content)
    given_words(root, ["detect", "a.jpg", "--config", str(tmp_path / "glip.toml")], {})


@given(
    st.dictionaries(
        st.sampled_from(["GLIP_THRESHOLD", "GLIP_TEXTS", "GLIP_JSON", "GLIP_CONFIG", "GLIP_", "GLIP_TOP_K", "GLIP_X"]),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    ),
    st.lists(
        st.sampled_from(["--threshold", "--threshold=1", "-t", "--", "-", "", "--json", "--config", "=", "a.jpg"])
    ),
)
@settings(max_examples=150, derandomize=True, suppress_health_check=QUIET)
def test_any_variables(root: Any, environment: dict[str, str], words: list[str]) -> None:
    given_words(root, ["detect", *words], environment)


def given_words(root: Any, words: list[str], environment: dict[str, str]) -> None:
    """Defaults are words for typer; or one line."""
    try:
        found = with_defaults(root, words, environment)
    except UsageError as error:
        one_line(error)
        return
    assert found[0] == "detect"
    assert all(isinstance(word, str) for word in found)


def test_a_run_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(OutputError, match="cannot write to"):
        RunFolder(tmp_path / "run", {})
