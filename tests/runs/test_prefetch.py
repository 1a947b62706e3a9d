"""Work ahead by threads: everything once, in order, at its place, and no more of it than was asked for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.runs.prefetch import in_order


def eventually(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


def threads() -> int:
    return sum(thread.name.startswith("glip-") for thread in threading.enumerate())


class OddError(Exception):
    pass


@given(
    delays=st.lists(st.sampled_from([0, 0, 0, 0.001, 0.003]), max_size=40),
    workers=st.integers(1, 4),
    ahead=st.integers(1, 9),
    fails=st.sets(st.integers(0, 39)),
)
@settings(max_examples=60, deadline=None)
def test_results_are_those_of_map_up_to_the_first_error(
    delays: list[float], workers: int, ahead: int, fails: set[int]
) -> None:
    def work(item: tuple[int, float]) -> int:
        time.sleep(item[1])
        if item[0] in fails:
            raise OddError(item[0])
        return item[0]

    results = in_order(work, enumerate(delays), workers, ahead)
    first = min((i for i in fails if i < len(delays)), default=len(delays))
    assert [next(results) for _ in range(first)] == list(range(first))
    with pytest.raises(OddError if first < len(delays) else StopIteration):
        next(results)


def test_what_the_items_raise_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OddError

    results = in_order(lambda x: x * 10, items(), workers=2, ahead=4)
    assert [next(results), next(results)] == [10, 20]
    with pytest.raises(OddError):
        next(results)


def test_a_million_items_are_taken_as_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 1_000_000:
            yield taken
            taken += 1

    with closing(in_order(lambda x: x, items(), workers=3, ahead=8)) as results:
        for expected in range(50):
            assert next(results) == expected
        time.sleep(0.3)
        assert taken <= 50 + 8 + 1


def test_a_slow_source_holds_back_no_result_that_is_ready() -> None:
    """One that waits for its next line for ever, as a terminal does."""
    lines: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    lines.put(1)
    results = in_order(lambda x: x, iter(lines.get, None), workers=2, ahead=4)
    assert next(results) == 1
    lines.put(2)
    assert next(results) == 2
    lines.put(None)
    assert list(results) == []


def test_closed_early_it_frees_its_threads() -> None:
    before = threads()
    results = in_order(lambda x: x, iter(range(1000)), workers=4, ahead=4)
    next(results)
    assert threads() > before
    results.close()
    assert eventually(lambda: threads() == before)


def test_at_the_end_it_frees_its_threads() -> None:
    before = threads()
    assert list(in_order(str, range(5), workers=4, ahead=2)) == list("01234")
    assert eventually(lambda: threads() == before)


@pytest.mark.parametrize("slow", ["items", "function"])
def test_told_to_stop_it_waits_for_nothing(slow: str) -> None:
    hold, stop = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        if slow == "items":
            hold.wait()
        yield 1

    def work(item: int) -> int:
        if item == 1:
            hold.wait()
        return item

    results = in_order(work, items(), workers=1, ahead=4, stop=stop)
    assert next(results) == 0
    threading.Timer(0.2, stop.set).start()
    late = threading.Timer(60, hold.set)  # if it waited, it would wait until then
    late.start()
    assert list(results) == []
    assert not hold.is_set()
    late.cancel()
    hold.set()
