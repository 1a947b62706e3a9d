"""The files that this package writes: safetensors, keys as in `Glip.state_dict()`, and metadata that explains them.

Adapters are files of this kind too, with a `format` and keys of their own.

Metadata is a dict of strings: `format`, `architecture`, `name`, `dialect` (that the weights came in), and for
converted files `source` (file name) and `source_sha256`. A training run may add its own.

Equal tensors and metadata give equal bytes; safetensors alone writes the metadata in an order that changes from one
process to the next. Tensors begin at multiples of ALIGNMENT, in files and in memory: some kernels add up in another
order where they do not, so that the last digits of an answer would depend on how long a file's metadata are.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glip_cli.checkpoints.cache import atomic
from glip_cli.errors import CheckpointError

FORMAT = "glip/1"
SUFFIX = ".safetensors"
ALIGNMENT = 64  # bytes: torch's own
DTYPES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
    torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""By safetensors' names."""
_LENGTH = struct.Struct("<Q")  # of the header, before it


@dataclass(frozen=True)
class Contents:
    """Tensors of a safetensors file, mapped from it copy-on-write: changing one leaves the file as it is.

    Those that are not aligned, in files of others, are copied.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]


def read(path: Path) -> Contents:
    """Raises CheckpointError for a file that is not safetensors, or only a part of one."""
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: _aligned(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118 (not a dict)
            return Contents(state, dict(file.metadata() or {}))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated, damaged or no safetensors file: fetch it again") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises CheckpointError as `read`."""
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
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in sorted(state.items())}
    order = sorted(tensors, key=lambda key: tensors[key].nbytes % ALIGNMENT != 0)  # these would shift those after them
    header: dict[str, object] = {
        "__metadata__": dict(sorted({"format": FORMAT, "dialect": "native", **metadata}.items()))
    }
    end = 0
    for key in order:
        begin, end = end, end + tensors[key].nbytes
        header[key] = {
            "dtype": DTYPES[tensors[key].dtype],
            "shape": [*tensors[key].shape],
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % ALIGNMENT)
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(_LENGTH.pack(len(text)) + text)
        for key in order:
            file.write(tensors[key].flatten().view(torch.uint8).numpy().data)
    return path


def _aligned(tensor: Tensor) -> Tensor:
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()


def sorted_header(data: bytes) -> bytes:
    """The beginning of a safetensors file, or all of it, with its metadata in the order of their keys."""
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    header = json.loads(data[8:end])
    if metadata := header.get("__metadata__"):
        header["__metadata__"] = dict(sorted(metadata.items()))
    ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(end - _LENGTH.size)
    return data[: _LENGTH.size] + ordered + data[end:] if len(ordered) == end - _LENGTH.size else data
