"""Any checkpoint file -> its state dict, and how the file wrapped it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from glip_cli.checkpoints import finetuned, registry, safe_pickle, safetensors_io
from glip_cli.errors import CheckpointError
from glip_cli.utils.text_format import listed, quoted

WRAPPERS = ("state_dict", "model")  # mmengine's key, and the official one; averages (EMA) are never read
PARALLEL = "module."


@dataclass(frozen=True)
class Checkpointed:
    """A state dict with plain keys, and where it was found."""

    state: dict[str, Tensor]
    metadata: dict[str, str]  # of a safetensors file
    wrapping: str  # "flat", "state_dict", "model", each with "+module" where keys had that prefix
    container: str  # "safetensors" or "pickle"


def locate(path: Path) -> Path:
    """A file stays; a run folder of `finetune` is its best state; another folder is the one safetensors file in it.

    Raises CheckpointError where there is none, or a choice.
    """
    if path.is_file():
        return path
    if not path.exists() and str(path) in registry.names():
        raise CheckpointError(f"there is no file {path}: it is the name of a model, which goes to --model")
    if not path.is_dir():
        raise CheckpointError(f"there is no file {path}: give a checkpoint, or a folder that `glip finetune` left")
    path = finetuned.best_of(path)
    candidates = sorted(path.glob("*.safetensors"))
    if len(candidates) != 1:
        names = listed(file.name for file in candidates) or "none"
        raise CheckpointError(f"{path} must hold exactly one safetensors file, it has {names}: name the file itself")
    return candidates[0]


def is_safetensors(path: Path) -> bool:
    """By its name or its first bytes. Raises CheckpointError for what is no file of weights at all."""
    return path.suffix == ".safetensors" or _head(path)[8:9] == b"{"


def read(path: Path) -> Checkpointed:
    """The state dict of a .pth or .safetensors file.

    Raises CheckpointError for what is no checkpoint and says what it is instead, UnsafeFileError for a pickle that
    wants more than data.
    """
    head = _head(path)
    if is_safetensors(path):
        contents = safetensors_io.read(path)
        return Checkpointed(contents.state, contents.metadata, "flat", "safetensors")
    if not head.startswith((safe_pickle.ZIP, b"\x80")):
        raise CheckpointError(f"{path} is no checkpoint: neither safetensors nor written by torch.save")
    state, wrapping = _unwrap(safe_pickle.load(path), path)
    return Checkpointed(state, {}, wrapping, "pickle")


def _head(path: Path) -> bytes:
    """The first bytes. Raises CheckpointError for an HTML page or an LFS pointer that was saved as weights."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"{path} is empty: fetch it again")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            f"{path} is a web page saved under this name: fetch the file itself (/resolve/ or raw link)"
        )
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the file: run `git lfs pull` where it came from")
    return head


def _unwrap(loaded: object, path: Path) -> tuple[dict[str, Tensor], str]:
    wrapping = "flat"
    if isinstance(loaded, Mapping):
        for key in WRAPPERS:
            if isinstance(loaded.get(key), Mapping):
                loaded, wrapping = loaded[key], key
                break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(key, str) for key in loaded):
        raise CheckpointError(f"{path} holds no state dict, neither at its top nor under {' or '.join(WRAPPERS)}")
    if odd := [key for key, value in loaded.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path} holds something else than tensors under {quoted(odd[0])}: not a state dict")
    sizes = {
        key: value.numel() * value.element_size() for key, value in loaded.items()
    }  # strides of 0 make much of little
    if large := [key for key, value in loaded.items() if sizes[key] > value.untyped_storage().nbytes()]:
        raise CheckpointError(f"{path} has less data than its tensor {quoted(large[0])} has numbers: it is damaged")
    if all(key.startswith(PARALLEL) for key in loaded):
        return {key.removeprefix(PARALLEL): value for key, value in loaded.items()}, f"{wrapping}+module"
    return dict(loaded), wrapping
