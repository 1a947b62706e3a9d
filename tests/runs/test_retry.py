"""Images that failed, tried again: the run ends as if they had never failed, whatever happens in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.errors import OutputError, UsageError
from glip_cli.outputs.files import json_bytes
from glip_cli.runs import run_dir as folder_module
from glip_cli.runs.journal import fold, retries_of
from glip_cli.runs.shards import Shard
from tests.runs.examples import MadeEngine, do, items, made_record

NAMES = [f"{'bad' if i % 5 == 3 else ''}{'x' * (i % 4)}{i}.jpg" for i in range(23)]
GOOD = [name for name in NAMES if not name.startswith("bad")]


def straight(block: int) -> bytes:
    return b"".join(json_bytes(record) + b"\n" for record in MadeEngine(block)(items(NAMES)))


@given(
    away=st.sets(st.sampled_from(GOOD), min_size=1),
    first=st.integers(1, 23),
    stops=st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from(["", "old", "both"])), max_size=6),
    block=st.integers(1, 5),
    tear=st.integers(0, 60),
)
@settings(max_examples=40, deadline=None)
def test_tried_again_it_ends_as_if_nothing_had_failed(
    tmp_path_factory: pytest.TempPathFactory, away: set[str], first: int,
    stops: list[tuple[int, bool, str]], block: int, tear: int,
) -> None:  # fmt: skip
    """Stopped, killed before and in the midst of folding, and torn."""
    path = tmp_path_factory.mktemp("run")
    results, retries = path / "results.jsonl", retries_of(path / "results.jsonl")
    do(path, NAMES, MadeEngine(block, first, away))
    for most, retry, killed in stops:
        with pytest.MonkeyPatch.context() as patch:
            if killed:
                patch.setattr(folder_module, "fold", lambda journal: False)
            do(path, NAMES, MadeEngine(block, most), retry_failed=retry)
        if killed == "both" and retries.exists():  # after the new file had its name, before the other was gone
            kept = retries.read_bytes()
            fold(results)
            retries.write_bytes(kept)
        elif retries.exists():
            retries.write_bytes(retries.read_bytes()[: -tear or None])
    end = do(path, NAMES, MadeEngine(block), retry_failed=True)
    assert end.complete
    assert results.read_bytes() == straight(block)
    assert not retries.exists()


def test_only_what_failed_is_done_again(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(most=12, away=NAMES[:2]))
    engine = MadeEngine(away=NAMES[:1])
    end = do(tmp_path, NAMES, engine, retry_failed=True)
    assert engine.asked == [*NAMES[:2], NAMES[3], NAMES[8], *NAMES[12:]]
    assert (end.counts.failed, end.counts.unavailable) == (5, 1)
    engine = MadeEngine()
    do(tmp_path, NAMES, engine)
    assert engine.asked == [], "without the flag they stay"


def test_of_blocks_all_is_done_again_and_nothing_good_is_lost(tmp_path: Path) -> None:
    """Answers depend on the block: those beside the image that failed come as if it never had."""
    do(tmp_path, NAMES, MadeEngine(5, away=[NAMES[6]]))
    engine = MadeEngine(5, away=[NAMES[7]])
    do(tmp_path, NAMES, engine, retry_failed=True)
    assert engine.asked == [*NAMES[:10], *NAMES[10:23]], "every block but none has a bad one"
    records = (tmp_path / "results.jsonl").read_text().splitlines()
    assert "error" not in records[7]
    assert "error" not in records[6]


def test_stopped_while_it_tries_again_it_is_not_done(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(away=NAMES[:9]))
    end = do(tmp_path, NAMES, MadeEngine(most=4), retry_failed=True)
    assert (end.share_done, end.complete, end.counts.unavailable) == (False, False, 5)


def test_in_shards_each_tries_its_own_and_a_merged_run_takes_one_process(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(away=NAMES), Shard(1, 2))
    again = MadeEngine(most=3)
    assert not do(tmp_path, NAMES, again, Shard(1, 2), retry_failed=True).share_done
    assert not do(tmp_path, NAMES, shard=Shard(0, 2)).complete, "a share that is tried again is not done"
    do(tmp_path, NAMES, MadeEngine(), Shard(1, 2), retry_failed=True)
    assert (tmp_path / "results.jsonl").read_bytes() == straight(1)
    with pytest.raises(UsageError, match="--retry-failed takes one process"):
        do(tmp_path, NAMES, shard=Shard(1, 2), retry_failed=True)
    assert do(tmp_path, NAMES, retry_failed=True).complete


@pytest.mark.parametrize("world", [1, 2])
def test_begun_again_what_a_kill_left_of_a_retry_is_forgotten(tmp_path: Path, world: int) -> None:
    do(tmp_path, NAMES, MadeEngine(away=NAMES), Shard(0, world))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_module, "fold", lambda journal: False)
        do(tmp_path, NAMES, MadeEngine(most=3), Shard(0, world), retry_failed=True)
    for rank in range(world):
        end = do(tmp_path, NAMES, MadeEngine(), Shard(rank, world), overwrite=True)
    assert end.complete
    assert (tmp_path / "results.jsonl").read_bytes() == straight(1)


@pytest.mark.parametrize("place", [{}, {"number": "x", "last": 0}, {"number": 0}])
def test_a_record_without_its_place_is_an_altered_file(tmp_path: Path, place: dict[str, object]) -> None:
    do(tmp_path, NAMES)
    altered = {**made_record("0.jpg", ["0.jpg"]), **place}
    retries_of(tmp_path / "results.jsonl").write_bytes(json_bytes(altered) + b"\n")
    with pytest.raises(OutputError, match=r"results\.retry\.jsonl, line 1, is not a record: the file was altered"):
        do(tmp_path, NAMES)
    assert do(tmp_path, NAMES, overwrite=True).complete
