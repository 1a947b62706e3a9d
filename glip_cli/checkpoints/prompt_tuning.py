"""The one tensor that only some networks have: what prompt tuning adds to the tokens (`TextEncoder.offset`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from glip_cli.errors import CheckpointError
from glip_cli.model.config import Config
from glip_cli.model.glip import Glip

OFFSET = "text.offset"


def find_offset(state: Mapping[str, Tensor], config: Config, path: Path) -> dict[str, Tensor]:
    """The rows [n, hidden] in float32 under their key, or nothing. Raises CheckpointError for a wrong shape."""
    rows, text = state.get(OFFSET), config.text
    if rows is None:
        return {}
    if rows.ndim != 2 or not 1 <= len(rows) <= text.window or rows.shape[1] != text.hidden:
        raise CheckpointError(
            f"{path}: {OFFSET} is {list(rows.shape)}, not up to {text.window} rows of {text.hidden}: is it of another "
            "model?"
        )
    return {OFFSET: rows.float().contiguous()}


def make_room(model: Glip, state: Mapping[str, Tensor]) -> Glip:
    """Give an empty network a place for the rows of `state`, if it has any."""
    if OFFSET in state:
        model.text.offset = nn.Parameter(torch.empty_like(state[OFFSET], device="meta"))
    return model
