"""Networks without weights: built in a tenth of a second, to be filled by `load_state_dict(assign=True)`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

Module = TypeVar("Module", bound=nn.Module)


def init_empty(build: Callable[[], Module]) -> Module:
    """The module that `build` makes, its parameters on the meta device, its buffers real.

    `torch.device("meta")` would take away the buffers too, and a checkpoint does not hold those that the network
    works out for itself (window positions, position ids). Here only parameters are replaced, as they are registered,
    so their initialisation costs nothing and every buffer is what the ordinary constructor makes it.
    """
    thread = threading.get_ident()

    def empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or threading.get_ident() != thread:
            return None  # another thread may be building a real one
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(empty)  # type: ignore[arg-type]  # torch says None
    try:
        return build()
    finally:
        handle.remove()


def load_assign(module: Module, state: Mapping[str, Tensor]) -> Module:
    """Give a hollow module its tensors, without a copy; evaluation mode. Keys and shapes must agree already."""
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval()
