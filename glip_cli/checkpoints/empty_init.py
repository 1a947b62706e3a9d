"""Networks without weights: built in a tenth of a second, to be filled by `load_state_dict(assign=True)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)


class SkipNormal(TorchFunctionMode):
    """Draw no normal numbers: on the meta device that imports torch's compiler, which takes a second."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
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
