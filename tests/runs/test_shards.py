"""Several processes, one run: whoever is last brings the journals together, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.errors import OutputError, UsageError
from glip_cli.runs.shards import Shard, in_turn
from tests.runs.examples import MadeEngine, do

NAMES = [f"{'bad' if i % 5 == 3 else ''}{i}.jpg" for i in range(23)]


@pytest.fixture
def alone(tmp_path: Path) -> bytes:
    do(tmp_path / "alone", NAMES)
    return (tmp_path / "alone/results.jsonl").read_bytes()


def test_torchrun_says_which_part() -> None:
    assert Shard.chosen(None, {}) == Shard(0, 1)
    assert Shard.chosen(None, {"RANK": "2", "WORLD_SIZE": "3"}) == Shard(2, 3)
    for wrong in ({"RANK": "3", "WORLD_SIZE": "3"}, {"RANK": "-1"}, {"RANK": "x"}, {"RANK": "1"}):
        with pytest.raises(UsageError, match="torchrun"):
            Shard.chosen(None, wrong)


@pytest.mark.parametrize("environment", [{}, {"RANK": "0", "WORLD_SIZE": "3"}, {"RANK": "x"}])
def test_the_flag_says_which_part(environment: dict[str, str]) -> None:
    assert Shard.chosen("0/1", environment) == Shard(0, 1)
    assert Shard.chosen("2/8", environment) == Shard(2, 8)
    for wrong in ("8/8", "2", "2/", "/8", "-1/8", "a/b", "1/2/3", " 1/2", ""):
        with pytest.raises(UsageError, match=f"--shard {wrong}: write I/N, counted from 0"):
            Shard.chosen(wrong, environment)


def test_the_flag_and_torchrun_do_not_go_together() -> None:
    torchrun = {"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"}
    with pytest.raises(UsageError, match="--shard and torchrun each spread the work"):
        Shard.chosen("1/2", torchrun)


def test_processes_started_by_hand_have_a_terminal_each() -> None:
    by_hand = {"RANK": "1", "WORLD_SIZE": "2"}
    assert Shard.chosen(None, by_hand).speaks
    assert not Shard.chosen(None, by_hand | {"TORCHELASTIC_RUN_ID": "x"}).speaks
    assert Shard(0, 2, torchrun=True).speaks


@given(count=st.integers(0, 50), world=st.integers(1, 7))
def test_the_parts_are_the_whole(count: int, world: int) -> None:
    assert sum(Shard(rank, world).part_of(count) for rank in range(world)) == count


@given(
    count=st.integers(0, 23),
    world=st.integers(1, 5),
    order=st.randoms(use_true_random=False),
    stops=st.lists(st.integers(0, 6), max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_any_number_of_processes_in_any_order_stopped_anywhere(
    tmp_path_factory: pytest.TempPathFactory, count: int, world: int, order: object, stops: list[int]
) -> None:
    alone, several = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("several")
    do(alone, NAMES[:count])
    ranks = list(range(world))
    for most in stops:
        rank = order.choice(ranks)  # type: ignore[attr-defined]
        do(several, NAMES[:count], MadeEngine(most=most), Shard(rank, world))
    order.shuffle(ranks)  # type: ignore[attr-defined]
    ends = [do(several, NAMES[:count], shard=Shard(rank, world)) for rank in ranks]
    assert (several / "results.jsonl").read_bytes() == (alone / "results.jsonl").read_bytes()
    assert not (several / "shards").exists()
    assert all(end.share_done for end in ends)
    assert ends[-1].complete
    assert ends[-1].counts.images == count


def test_one_speaks_for_all(tmp_path: Path) -> None:
    first = do(tmp_path, NAMES, shard=Shard(0, 2))
    assert (first.complete, first.share_done, first.speaks, first.counts.images) == (False, True, True, 12)
    last = do(tmp_path, NAMES, shard=Shard(1, 2))
    assert (last.complete, last.speaks, last.counts.images) == (True, True, 23)
    again = [do(tmp_path, NAMES, shard=Shard(rank, 2)) for rank in range(2)]
    assert [end.speaks for end in again] == [True, False]
    assert all(end.complete and end.before == 23 for end in again)


def test_one_that_is_done_names_those_that_are_not(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(most=2), Shard(2, 4))
    assert do(tmp_path, NAMES, shard=Shard(0, 4)).waits_for == (1, 2, 3)
    assert do(tmp_path, NAMES, shard=Shard(3, 4)).waits_for == (1, 2)
    do(tmp_path, NAMES, shard=Shard(1, 4))
    assert do(tmp_path, NAMES, shard=Shard(2, 4)).waits_for == ()


@pytest.mark.parametrize("world", [1, 3])
def test_what_was_merged_is_for_any_number_of_processes(tmp_path: Path, alone: bytes, world: int) -> None:
    """As for one more format: nothing is left to share."""
    for rank in range(2):
        do(tmp_path, NAMES, shard=Shard(rank, 2))
    engine = MadeEngine()
    end = do(tmp_path, NAMES, engine, Shard(0, world))
    assert (end.complete, end.before, engine.asked) == (True, 23, [])
    assert (tmp_path / "results.jsonl").read_bytes() == alone


def test_a_finished_run_of_one_process_is_for_several(tmp_path: Path, alone: bytes) -> None:
    do(tmp_path, NAMES)
    assert do(tmp_path, NAMES, shard=Shard(1, 2)).complete
    assert (tmp_path / "results.jsonl").read_bytes() == alone


def test_shards_that_are_not_merged_belong_to_their_number(tmp_path: Path) -> None:
    do(tmp_path, NAMES, shard=Shard(0, 2))
    for shard in (Shard(0, 1), Shard(0, 3)):
        with pytest.raises(UsageError, match=f"processes 2, not {shard.world}"):
            do(tmp_path, NAMES, shard=shard)


def test_nothing_is_detected_again_once_merged(tmp_path: Path) -> None:
    for rank in range(2):
        do(tmp_path, NAMES, shard=Shard(rank, 2))
    engine = MadeEngine()
    do(tmp_path, NAMES, engine, Shard(0, 2))
    assert engine.asked == []


@pytest.mark.parametrize("now", [NAMES[:-1], [*NAMES, "more.jpg"], ["new.jpg", *NAMES[1:]]])
def test_merged_results_of_other_images_are_refused(tmp_path: Path, now: list[str]) -> None:
    for rank in range(2):
        do(tmp_path, NAMES, shard=Shard(rank, 2))
    with pytest.raises(UsageError, match="the images have changed"):
        do(tmp_path, now, shard=Shard(0, 2))


def test_images_added_between_two_starts_are_waited_for(tmp_path: Path, alone: bytes) -> None:
    """A share that was done before they came is not done: merging it would leave them out."""
    do(tmp_path, NAMES[:20], shard=Shard(1, 2))
    assert not do(tmp_path, NAMES, shard=Shard(0, 2)).complete
    assert do(tmp_path, NAMES, shard=Shard(1, 2)).complete
    assert (tmp_path / "results.jsonl").read_bytes() == alone


def test_begun_anew_it_does_not_merge_what_is_left_of_before(tmp_path: Path, alone: bytes) -> None:
    old = [f"old{name}" for name in NAMES]
    do(tmp_path, old, shard=Shard(1, 2))
    assert not do(tmp_path, NAMES, shard=Shard(0, 2), overwrite=True).complete
    assert do(tmp_path, NAMES, shard=Shard(1, 2), overwrite=True).complete
    assert (tmp_path / "results.jsonl").read_bytes() == alone


def test_killed_between_the_merge_and_its_tidying_up(tmp_path: Path, alone: bytes) -> None:
    for rank in range(2):
        do(tmp_path, NAMES, shard=Shard(rank, 2))
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/0-of-2.jsonl").write_bytes(b"")
    assert do(tmp_path, NAMES, shard=Shard(1, 2)).complete
    assert not (tmp_path / "shards").exists()
    assert (tmp_path / "results.jsonl").read_bytes() == alone


def test_journals_that_do_not_belong_together(tmp_path: Path) -> None:
    do(tmp_path / "a", NAMES[:3])
    do(tmp_path / "b", NAMES[:7])
    with pytest.raises(OutputError, match="not of one run"):
        list(in_turn([tmp_path / "a/results.jsonl", tmp_path / "b/results.jsonl"]))
