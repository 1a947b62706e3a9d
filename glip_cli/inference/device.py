"""Devices, dtypes and running out of memory."""

from __future__ import annotations

import copy
import gc
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.errors import DeviceError, OptionError, OutOfMemoryError
from glip_cli.model.dyhead import DynamicConv
from glip_cli.model.onednn_linear import lay_by_terms, onednn_is_better
from glip_cli.model.swin import Backbone
from glip_cli.utils.malloc import keep_freed_memory

Module = TypeVar("Module", bound=nn.Module)
SIDE, TIMES = 256, 5  # of the matrices that are timed, and how often
COLLECT_TRIES = 1000  # a millisecond apart


def pick_device(name: str) -> torch.device:
    """ "auto" is CUDA, else MPS, else the CPU; under torchrun, each process' own GPU.

    Raises DeviceError for one that this machine lacks, OptionError for what is none anywhere.
    """
    mps = torch.backends.mps.is_available()
    if name == "auto" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if name == "auto":
        return torch.device("mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionError(
            "device", name, "there is no such kind of device; use auto, cpu, cuda, cuda:1 or mps"
        ) from None
    available = {"cpu": True, "mps": mps, "cuda": (device.index or 0) < torch.cuda.device_count()}
    if not available.get(device.type, False):
        raise DeviceError(f"--device {name}: torch finds no such device here; use --device auto or cpu")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto" is float32, the published answers; half precision is a choice.

    Raises DeviceError for one that the device lacks, OptionError for what is none.
    """
    dtypes = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        raise OptionError("dtype", name, "use auto, float32, bfloat16 or float16")
    if name == "float16" and device.type == "cpu":
        raise DeviceError("--dtype float16 needs a GPU; on a CPU use bfloat16 or float32")
    return dtypes[name]


def dtype_notes(flag: str, device: torch.device) -> tuple[str, ...]:
    """A remark for `flag`, which asks for bfloat16, where it is slower than float32: on a CPU that emulates it."""
    cost = bfloat16_cost() if device.type == "cpu" else 0.0
    if cost <= 1:
        return ()
    times = f"{float(f'{cost:.2g}'):g}"  # 210, where .2g alone says 2.1e+02
    return (
        f"{flag} is slow on this processor, which emulates it: a matrix product takes {times} times as long as in "
        "float32; leave it out",
    )


@cache
def bfloat16_cost() -> float:
    """Time of a matrix product on the CPU in bfloat16, over that in float32; measured once, in at most 0.3 s."""
    float32, bfloat16 = (_product_seconds(torch.ones(SIDE, SIDE, dtype=d)) for d in (torch.float32, torch.bfloat16))
    return bfloat16 / float32


def _product_seconds(matrix: Tensor) -> float:
    """The best of a few: a busy machine only ever makes them slower."""
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        F.linear(matrix, matrix)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def for_inference(module: Module, device: torch.device, dtype: torch.dtype) -> Module:
    """A module in evaluation mode on a device, in channels_last memory; the given one stays as it was.

    As with `Tensor.to`, what has to change is copied and the rest is shared. On a CPU, memory that is freed from here
    on stays with the process.
    """
    if device.type == "cpu":
        keep_freed_memory()
    products = _products_of_positions(module) if device.type == "cpu" and dtype == torch.float32 else set()
    tensors = [*module.parameters(), *module.buffers()]
    moved = {id(tensor): _moved(tensor, device, dtype, id(tensor) in products) for tensor in tensors}
    if not module.training and all(moved[id(tensor)] is tensor for tensor in tensors):
        return module
    return copy.deepcopy(module, moved).eval()


def _products_of_positions(module: nn.Module) -> set[int]:
    """The ids of the weights by which oneDNN multiplies all positions of an image."""
    parts = [*module.modules()] if onednn_is_better() else []
    backbones = [part for part in parts if isinstance(part, Backbone)]
    linears = [layer for part in backbones for layer in part.modules() if isinstance(layer, nn.Linear)]
    convs = [conv for part in parts if isinstance(part, DynamicConv) for conv in part.convs]
    return {id(layer.weight) for layer in (*linears, *convs)}


@torch.no_grad()
def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype, by_terms: bool) -> Tensor:
    kind = dtype if tensor.is_floating_point() else tensor.dtype
    if by_terms:
        moved = lay_by_terms(tensor.to(device, kind))
    else:
        layout = torch.channels_last if tensor.dim() == 4 else torch.preserve_format
        moved = tensor.to(device, kind, memory_format=layout)
    if moved is not tensor and isinstance(tensor, nn.Parameter):
        return nn.Parameter(moved, tensor.requires_grad)
    return moved


def to_device(pixels: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[B, 3, H, W] on the CPU -> on a device, in channels_last memory. On CUDA the copy is asynchronous."""
    if device.type == "cuda":  # only from pinned memory of the same dtype and layout is a copy asynchronous
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device, dtype, memory_format=torch.channels_last)


_MEMORY = re.compile(
    r"can't allocate memory|could not (create|execute) a primitive(?! desc)|could not create a memory object"
    r"|std::bad_alloc|CUBLAS_STATUS_ALLOC_FAILED|MPS backend out of memory"
)
"""What torch's CPU allocator, oneDNN, C++, cuBLAS and MPS say; none of them has a class of its own for it."""


@contextmanager
def out_of_memory(device: torch.device) -> Iterator[None]:
    """Raises OutOfMemoryError where memory runs out, and DeviceError where oneDNN lacks a kernel."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or _MEMORY.search(str(error)):
            raise OutOfMemoryError(f"out of memory on {device}: {LESS[device.type == 'cpu']}") from None
        if "primitive descriptor" in str(error):
            reason = str(error).partition(".")[0][:100]
            raise DeviceError(f"oneDNN cannot do this on this processor ({reason}); use --dtype float32") from None
        raise


LESS = {
    True: "use a smaller --size or --batch-size, or close other programs",
    False: "use a smaller --size or --batch-size, --dtype bfloat16, or --device cpu",
}
"""What takes less memory: on a CPU, and elsewhere."""


@contextmanager
def on_one_thread(wanted: bool = True) -> Iterator[None]:
    """CPU work of the block is done by this thread alone; it starts no OpenMP threads, which would stay with it.

    Such threads matter where another thread runs a model: libgomp lets threads wait awake for the next part of the work
    only while a process has no more of them than cores, and asleep each of the many parts begins later.

    Args:
        wanted: False leaves everything as it is.
    """
    threads = torch.get_num_threads()
    if not wanted or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def free_cached_memory(device: torch.device) -> None:
    """Free what did not fit, after an OutOfMemoryError: its frames hold it, and from Python 3.12 on each other.

    While another thread collects, `gc.collect` does nothing and returns 0. Else it finds at least the cycle made here.
    """
    for _ in range(COLLECT_TRIES):
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        if gc.collect():
            break
        time.sleep(0.001)
    if device.type == "cuda":
        torch.cuda.empty_cache()
