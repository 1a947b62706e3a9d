"""Ways in which files get damaged, drawn by hypothesis so that a failure shrinks to the smallest damage."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "0", "7", "-1", "1e9", "nan", "\0", "../x", "é图😀", "\ud800", "a" * 300),
    *([], [[]], {}, {"": None}, [None] * 5, [1, 2, 3, 4], [float("nan")] * 4),
]


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, most: int = 4) -> bytes:
    """`whole` with a few stretches replaced, cut out, doubled or put elsewhere; possibly cut at the end."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, most))):
        size = len(data)
        begin = draw(st.integers(0, max(size - 1, 0)))
        end = min(size, begin + draw(st.sampled_from([1, 1, 2, 4, 8, 64, 1024])))
        how = draw(st.sampled_from(["replace", "flip", "cut", "double", "move", "end"]))
        if how == "replace":
            data[begin:end] = draw(
                st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\0" * 8, b"\x7f"])
            )
        elif how == "flip" and size:
            data[begin] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[begin:end]
        elif how == "double":
            data[begin:begin] = data[begin:end]
        elif how == "move":
            piece = data[begin:end]
            del data[begin:end]
            place = draw(st.integers(0, len(data)))
            data[place:place] = piece
        else:
            del data[begin:]
    return bytes(data)


@st.composite
def altered(draw: st.DrawFn, whole: Any, most: int = 3) -> Any:
    """A JSON-like value with a few of its parts replaced by odd ones, left out, doubled, or of other parts' content."""
    root = [copy.deepcopy(whole)]
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(root))
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["odd", "odd", "odd", "leave out", "double", "other"]))
        if how == "odd" or (holder is root and how != "other"):
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        elif how == "leave out":
            del holder[key]
        elif how == "double" and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            other, place = draw(st.sampled_from(places))
            holder[key] = copy.deepcopy(other[place])
    return root[0] if root else None


def _places(value: Any) -> Any:
    """(container, key) of everything inside."""
    if isinstance(value, list | dict):
        for key, inner in enumerate(value) if isinstance(value, list) else list(value.items()):
            yield value, key
            yield from _places(inner)
