"""Long lists of rows, worked through a piece at a time.

What a layer makes in between (the four times wider hidden rows of an MLP, the nine samples per position of a
deformable convolution) is larger than a processor's cache and, at such sizes, memory fresh from the operating system,
whose pages cost more than the arithmetic. A piece stays in the cache. The result is the same. A GPU takes all at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# In one piece: a few MB between two layers. The same with any number of threads, since the last digits of a product
# depend on how many rows it has.
ROWS = 2048


def map_chunks(function: Callable[..., Tensor], *inputs: Tensor, rows: int = ROWS) -> Tensor:
    """`function(*inputs)` for a function that treats each row (of dimension 0) by itself; rows: of a piece."""
    if not inputs[0].is_cpu or len(inputs[0]) <= rows or torch.compiler.is_compiling():
        return function(*inputs)
    pieces = zip(*(tensor.split(rows) for tensor in inputs), strict=True)
    return torch.cat([function(*piece) for piece in pieces])
