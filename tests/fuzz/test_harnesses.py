"""The harnesses on whole inputs and on damaged ones; and that each of them can fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.errors import UsageError
from tests.fuzz import __main__ as runner
from tests.fuzz import harnesses
from tests.fuzz.finds import FINDS
from tests.fuzz.harnesses import BETWEEN, HARNESSES
from tests.fuzz.seeds import SEEDS, WORDS
from tests.hardening.mutate import damaged

KINDS = list(HARNESSES)
READ_BY = {
    "texts": ["prompt.sentence_of", "prompt.parse_texts"],
    "labels": ["prompt.label_prompt", "prompt.chunk", "prompt.explain"],
    "caption": ["prompt.parse_tokens_positive", "prompt.caption_prompt", "prompt.read_brackets", "nouns.noun_phrases"],
    "image": ["image.read_image"],
    "checkpoint": ["files.read"],
    "card": ["tuned.read_card", "adapters.find_adapter"],
    "coco": ["readers.read_train_set", "ground_truth.read_ground_truth", "results.read_results"],
    "thresholds": ["calibrate.read_thresholds"],
    "settings": ["defaults.with_defaults"],
    "journal": ["journal.Journal", "journal.read_records"],
    "list": ["sources.expand", "image.read_image"],
    "captions": ["captions.read_captions"],
}
"""What each harness hands its bytes to, as `harnesses` calls it."""


def test_every_kind_has_its_parts() -> None:
    assert set(SEEDS) == set(WORDS) == set(READ_BY) == set(KINDS)
    assert all(list(seeds) for seeds in SEEDS.values())


def run_all(kind: str) -> None:
    for seed in SEEDS[kind]:
        HARNESSES[kind](seed)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_inputs(kind: str) -> None:
    run_all(kind)


@pytest.mark.parametrize(("kind", "data"), FINDS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_once_got_through(kind: str, data: bytes) -> None:
    HARNESSES[kind](data)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_inputs(kind: str) -> None:
    @settings(max_examples=40, derandomize=True, database=None)
    @given(st.sampled_from(list(SEEDS[kind])).flatmap(damaged))
    def check(data: bytes) -> None:
        HARNESSES[kind](data)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_spliced_words(kind: str) -> None:
    """The words of the language, anywhere in a row: what a search would try first."""
    words = st.sampled_from([word.encode() for word in WORDS[kind].split(" ")]) | st.sampled_from(
        [b" ", b"\n", BETWEEN]
    )

    @settings(max_examples=40, derandomize=True, database=None)
    @given(st.lists(words, max_size=12))
    def check(row: list[bytes]) -> None:
        HARNESSES[kind](b"".join(row))

    check()


def failing(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in READ_BY.items() for name in names])
def test_an_escape_is_seen(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a reader raises but glip's own comes out, and so does an error of several lines."""
    room, _, function = name.partition(".")
    for error in (KeyError("escaped"), RecursionError("escaped"), UsageError("of two\nlines"), UsageError("")):
        monkeypatch.setattr(getattr(harnesses, room), function, failing(error))
        with pytest.raises(AssertionError if isinstance(error, UsageError) else type(error)):
            run_all(kind)
        monkeypatch.undo()


def test_code_that_is_run_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    monkeypatch.setattr(harnesses.files, "read", lambda path: pickle.loads(path.read_bytes()))
    monkeypatch.setenv(harnesses.CANARY, "")  # so that it is put back
    (attack,) = [seed for seed in SEEDS["checkpoint"] if seed.startswith(b"\x80\x02") and b"torch" not in seed]
    with pytest.raises(AssertionError, match="code of a checkpoint was run"):
        HARNESSES["checkpoint"](attack)


@pytest.mark.parametrize("lines", [b"/\n", b"  /etc\n", b"a/../../x\n", b"~root\n", b"0.png\n\\\\host\\x\n"])
def test_a_list_never_leads_out_of_its_folder(lines: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harnesses.sources, "expand", failing(AssertionError("read")))
    HARNESSES["list"](lines)


# ----------------------------------------------------------------------------------------------------- from a shell


def test_files_are_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, seed in enumerate(SEEDS["coco"]):
        (tmp_path / str(number)).write_bytes(seed)
    runner.main(["coco", *map(str, sorted(tmp_path.iterdir()))])
    assert capsys.readouterr().out == f"{len(list(SEEDS['coco']))} answered\n"


@pytest.mark.slow
def test_a_search(tmp_path: Path) -> None:
    """A second of it, where atheris is installed."""
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.fuzz", "thresholds", "-runs=500", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Done 500 runs" in done.stderr
    assert any(tmp_path.iterdir())
