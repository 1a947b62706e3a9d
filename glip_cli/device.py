"""Devices and number formats: what was asked for, what this machine has, and what to say when it is not enough."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from glip_cli.errors import DeviceError, OutOfMemoryError


def pick_device(name: str) -> torch.device:
    """ "auto" is CUDA, else MPS, else the CPU; under torchrun, each process' own GPU. Raises DeviceError."""
    mps = torch.backends.mps.is_available()
    if name == "auto" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if name == "auto":
        return torch.device("mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(
            f"--device {name}: there is no such kind of device; use auto, cpu, cuda, cuda:1 or mps"
        ) from None
    there = {"cpu": True, "mps": mps, "cuda": (device.index or 0) < torch.cuda.device_count()}
    if not there.get(device.type, False):
        raise DeviceError(f"--device {name}: torch finds no such device here; use --device auto or cpu")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto" is float32, the published answers; half precision is a choice. Raises DeviceError."""
    known = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise DeviceError(f"--dtype {name}: use auto, float32, bfloat16 or float16")
    if name == "float16" and device.type == "cpu":
        raise DeviceError("--dtype float16 needs a GPU; on a CPU use bfloat16 or float32")
    return known[name]


def upload(pixels: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[B, 3, H, W] on the CPU -> on a device, in channels_last memory. On CUDA nobody waits for the copy."""
    if device.type == "cuda":  # only from pinned memory of the same dtype and layout is a copy asynchronous
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device, dtype, memory_format=torch.channels_last)


CPU_MEMORY = ("can't allocate memory", "could not create a", "could not execute a")
"""What the CPU's allocator says, and what oneDNN says of a primitive or memory object."""


@contextmanager
def out_of_memory(device: torch.device) -> Iterator[None]:
    """Turns what torch raises when memory runs out, on a GPU or on a CPU, into OutOfMemoryError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if isinstance(error, RuntimeError) and not _is_about_memory(error):
            raise
        raise OutOfMemoryError(
            f"out of memory on {device}: use a smaller --size or --batch-size, --dtype bfloat16, or --device cpu"
        ) from None


def let_go(device: torch.device) -> None:
    """Free what did not fit, after an OutOfMemoryError: its frames hold it, and from Python 3.12 on each other."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _is_about_memory(error: RuntimeError) -> bool:
    """Neither the CPU's allocator nor oneDNN has a class of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in CPU_MEMORY)
