"""The comparison itself: what it forgives, and that it forgives nothing else."""

from __future__ import annotations

import pytest

from tests.docs.compare import difference

SAME = [
    ("a star  0.65  380.9", "a star  0.63  381.1"),
    ("4.3 s, 47.0 images/s; the model waited for images 1% of the time", "19 s, 9.1 images/s; the model waited for "
     "images 0% of the time"),
    ("AP      72.9", "AP  72.8"),
    ("...\nsaved in run", "one\ntwo\nsaved in run"),
    ("a\n...\nb", "a\nb"),
    ("a ... c", "a (b) c"),
    ("saved in run (1+1)", "saved in run (1+1)"),
    ("", ""),
]  # fmt: skip
OTHER = [
    ("a star  0.65", "a star  0.62"),
    ("a star  0.65", "a moon  0.65"),
    ("a star  0.65", "a star  0.651"),
    ("200 images, 204 found", "200 images, 205 found"),
    ("glip-mini@e150af1c", "glip-mini@e150af1d"),
    ("640x480", "640x481"),
    ("a", ""),
    ("", "a"),
    ("a\nb", "a"),
    ("a\n...\nc", "a\nb"),
    ("a ... c", "a b d"),
    ("saved in run", "saved in runs"),
]


@pytest.mark.parametrize(("shown", "printed"), SAME)
def test_forgiven(shown: str, printed: str) -> None:
    assert difference(shown.splitlines(), printed.splitlines()) is None


@pytest.mark.parametrize(("shown", "printed"), OTHER)
def test_not_forgiven(shown: str, printed: str) -> None:
    said = difference(shown.splitlines(), printed.splitlines())
    assert said is not None
    assert all(line in said for line in (*shown.splitlines(), *printed.splitlines()))
