"""The harnesses on whole inputs and on damaged ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.finds import FINDS
from tests.fuzz.harnesses import BETWEEN, HARNESSES
from tests.fuzz.seeds import SEEDS, WORDS
from tests.hardening.mutate import damaged

KINDS = list(HARNESSES)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_inputs(kind: str) -> None:
    for seed in SEEDS[kind]:
        HARNESSES[kind](seed)


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
