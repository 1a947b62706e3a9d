"""Damaged and hostile checkpoint files: loaded, or a WeightsError of one line; nothing of them is ever run."""

from __future__ import annotations

import json
import os
import pickle
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from glip_cli.checkpoints import files, finetuned, load
from glip_cli.errors import OutputError, WeightsError
from tests.checkpoints.support import foreign, small_state
from tests.hardening.mutate import altered, damaged
from tests.hardening.robustness import CANARY, CARD
from tests.hardening.robustness import CHECKPOINTS as WHOLE


@pytest.fixture(autouse=True)
def nothing_was_run() -> Iterator[None]:
    os.environ.pop(CANARY, None)
    yield
    assert CANARY not in os.environ, "code of a checkpoint was run"


def test_the_attacks_are_real() -> None:
    pickle.loads(WHOLE["attack, bare"])
    assert os.environ.pop(CANARY) == "1"


def attempt(read: Callable[[Path], object], path: Path, content: bytes) -> bool:
    """True where it was read. Any other exception than WeightsError goes through."""
    path.unlink(missing_ok=True)  # a mapped file must not change
    path.write_bytes(content)
    try:
        read(path)
    except WeightsError as error:
        return not is_one_line(error)
    return True


def is_one_line(error: WeightsError) -> bool:
    assert "\n" not in str(error)
    return True


def fuzz(kind: str, path: Path, count: int) -> None:
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

    @settings(max_examples=count, database=None, suppress_health_check=quiet)
    @given(damaged(WHOLE[kind]))
    def check(content: bytes) -> None:
        attempt(files.read, path, content)

    check()


@pytest.mark.parametrize("kind", WHOLE)
def test_damaged(tmp_path: Path, kind: str) -> None:
    assert attempt(files.read, tmp_path / "x.pth", WHOLE[kind]) is not kind.startswith("attack")
    fuzz(kind, tmp_path / "x.pth", 60)


@pytest.mark.long
@pytest.mark.parametrize("kind", WHOLE)
def test_damaged_for_long(tmp_path: Path, kind: str) -> None:
    fuzz(kind, tmp_path / "x.pth", 4000)


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x40\0\0\0\0\0\0\0{"]))
@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, tail: bytes, head: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("any.pth", "any.safetensors"):
        attempt(files.read, folder / name, head + tail)


@given(altered(CARD))
@settings(max_examples=200, derandomize=True)
def test_cards_of_tuned_folders(tmp_path_factory: pytest.TempPathFactory, card: Any) -> None:
    path = tmp_path_factory.getbasetemp() / finetuned.CONFIG_FILE
    text = json.dumps(card).encode("utf-8", "surrogatepass")
    attempt(lambda file: finetuned.read_run_config(file.parent), path, text)


@given(damaged(json.dumps(CARD).encode()))
@settings(max_examples=100, derandomize=True)
def test_damaged_cards(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / finetuned.CONFIG_FILE
    attempt(lambda file: finetuned.read_run_config(file.parent), path, content)


# --------------------------------------------------------------------------------------------- whole small models


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """No file may grow beyond `count` bytes: to a program, a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "small.pth"
    torch.save({"state_dict": foreign(small_state(), "mmdet")}, path)
    return path


def test_a_cache_without_room_costs_time_only(pth: Path, tmp_path: Path) -> None:
    with room_for(1_000_000):
        found = load.load(pth, cache_dir=tmp_path)
    assert found.path == pth
    assert [path for path in (tmp_path / "converted").iterdir() if path.is_file()] == []
    assert load.load(pth, cache_dir=tmp_path).path.parent == tmp_path / "converted"


def test_a_conversion_without_room_leaves_nothing(pth: Path, tmp_path: Path) -> None:
    with room_for(1_000_000), pytest.raises(OutputError, match="cannot write"):
        load.convert(pth, tmp_path / "out.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_conversion_kept_is_of_another_network(pth: Path, tmp_path: Path) -> None:
    """A converted file that somebody overwrote with another safetensors is no reason to fail."""
    kept = load.load(pth, cache_dir=tmp_path).path
    for content in (save({"x": torch.zeros(1)}), save({"x": torch.zeros(1)}, {"format": "glip/1"}), b"", b"\xff" * 30):
        kept.unlink()
        kept.write_bytes(content)
        assert load.load(pth, cache_dir=tmp_path).architecture == "glip-mini"
