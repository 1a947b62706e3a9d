"""Networks without weights: built in a tenth of a second, to be filled by `load_state_dict(assign=True)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glip_cli.errors import CheckpointError
from glip_cli.model.config import Config
from glip_cli.model.glip import Glip

Module = TypeVar("Module", bound=nn.Module)


class SkipNormal(TorchFunctionMode):
    """Draw no normal numbers: on the meta device that imports torch's compiler, which takes a second."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func is nn.init.normal_ or func is Tensor.normal_:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def init_empty(build: Callable[[], Module]) -> Module:
    """The module that `build` makes, its parameters on the meta device. No network of this package has buffers."""
    with torch.device("meta"), SkipNormal():
        return build()


def load_assign(module: Module, state: Mapping[str, Tensor]) -> Module:
    """Give an empty module its tensors, without a copy; evaluation mode. Keys and shapes must agree already."""
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval()


# ------------------------------------------------------------------------------------------------------ prompt tuning
# The one tensor that only some networks have: what prompt tuning adds to the tokens (`TextEncoder.offset`).

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
