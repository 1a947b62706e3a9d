"""The files that this package writes: safetensors, keys as in `Glip.state_dict()`, and metadata that explains them.

Adapters are files of this kind too, with a `format` and keys of their own.

Metadata is a dict of strings: `format`, `architecture`, `name`, `dialect` (that the weights came in), and for
converted files `source` (file name) and `source_sha256`. A training run may add its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glip_cli.errors import CheckpointError
from glip_cli.weights.cache import atomic

FORMAT = "glip/1"


@dataclass(frozen=True)
class Contents:
    """Tensors of a safetensors file, mapped from it copy-on-write: changing one leaves the file as it is."""

    state: dict[str, Tensor]
    metadata: dict[str, str]


def read(path: Path) -> Contents:
    """Raises CheckpointError for a file that is not safetensors, or only a part of one."""
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            return Contents(state, dict(file.metadata() or {}))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated, damaged or no safetensors file: fetch it again") from error


def write(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a native file; readers see the whole of it or nothing. Raises OSError.

    Args:
        path: ends in .safetensors.
        state: as `Glip.state_dict()`.
        metadata: `architecture` and `name` at least.
    """
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, {"format": FORMAT, "dialect": "native", **metadata})
        except SafetensorError as error:  # what it calls a full disk, among others
            raise OSError(str(error)) from error
    return path
