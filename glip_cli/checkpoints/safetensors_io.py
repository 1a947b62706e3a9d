"""The files that this package writes: safetensors, keys as in `Glip.state_dict()`, and metadata that explains them.

Adapters are files of this kind too, with a `format` and keys of their own.

Metadata is a dict of strings: `format`, `architecture`, `name`, `dialect` (that the weights came in), and for
converted files `source` (file name) and `source_sha256`. A training run may add its own.

Equal tensors and metadata give equal bytes. safetensors alone writes the metadata in an order that changes from one
process to the next, and leaves a file that only its owner may read.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glip_cli.checkpoints.cache import atomic
from glip_cli.errors import CheckpointError

FORMAT = "glip/1"
SUFFIX = ".safetensors"


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


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; no tensor is read. Raises CheckpointError as `read`."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
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
            temporary.touch()
            mode = temporary.stat().st_mode  # as the umask has it
            save_file(tensors, temporary, {"format": FORMAT, "dialect": "native", **metadata})
        except SafetensorError as error:  # what it calls a full disk, among others
            raise OSError(str(error)) from error
        _sort_header_of(temporary)
        os.chmod(temporary, mode)
    return path


def sorted_header(data: bytes) -> bytes:
    """The beginning of a safetensors file, or all of it, with its metadata in the order of their keys."""
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    if metadata := header.get("__metadata__"):
        header["__metadata__"] = dict(sorted(metadata.items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(end - 8)
    return data[:8] + ordered + data[end:] if len(ordered) == end - 8 else data


def _sort_header_of(path: Path) -> None:
    """In place: the order changes no length. Raises OSError."""
    with path.open("r+b") as file:
        head = file.read(8)
        head += file.read(struct.unpack("<Q", head)[0])
        file.seek(0)
        file.write(sorted_header(head))
