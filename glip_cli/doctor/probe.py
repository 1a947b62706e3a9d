"""Imports what `glip` needs, in a process of its own, so that a crash there harms nothing else.

Run as a script that knows nothing of this package. Prints one JSON object per line: first the name of a step, then
what it gave, {"step": "torch", "version": "2.6.0"} or {"step": "torch", "error": "..."}. Where the process dies, the
last step that was begun is the culprit.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Facts = dict[str, Any]
PACKAGES = {
    "timm": "timm.models.swin_transformer",
    "transformers": "transformers.models.bert.modeling_bert",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors.torch",
    "hotcoco": "hotcoco",
    "pillow": "PIL.Image",
    "huggingface_hub": "huggingface_hub",
}
"""Package -> the part of it that this one uses; the rest of a package may be broken."""
SIDE = 512  # of the matrices whose products are timed
TIMES = 5


def say(step: str, **facts: object) -> None:
    print(json.dumps({"step": step, **facts}), file=sys.__stdout__, flush=True)


def attempt(step: str, look: Callable[[], Facts]) -> Facts | None:
    """Print and return what `look` finds; None if it raises, and its message is printed."""
    say(step)
    try:
        facts = look()
    except BaseException as error:  # a broken package raises anything, SystemExit too
        say(step, error=one_line(error))
        return None
    say(step, **facts)
    return facts


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def look_at_torch() -> Facts:
    import torch

    numpy_error = None
    try:
        torch.zeros(1).numpy()
    except Exception as error:  # built for another major version, as a rule
        numpy_error = one_line(error)
    version = {"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip}
    return {**version, "threads": torch.get_num_threads(), "numpy": numpy_error}


def look_at_torchvision() -> Facts:
    import torch
    import torchvision

    kept = torchvision.ops.nms(
        torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9]]), torch.tensor([0.5, 0.9]), 0.5
    )
    if kept.tolist() != [1]:
        raise RuntimeError(f"its nms gives {kept.tolist()} instead of [1]")
    return {"version": torchvision.__version__}


def look_for_devices() -> Facts:
    import torch

    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return {"names": names + ["mps"] * torch.backends.mps.is_available()}


def look_at_device(name: str) -> Facts:
    """The device, and its billions of operations per second by dtype, without dtypes that fail."""
    import torch

    facts: Facts = {}
    if name.startswith("cuda"):
        props = torch.cuda.get_device_properties(name)
        free, total = torch.cuda.mem_get_info(name)
        facts = {"name": props.name, "memory": total, "free": free, "capability": f"{props.major}.{props.minor}"}
    speeds = {"float32": speed(name, torch.float32)}  # raises where the build has no kernels for it
    for dtype in [torch.bfloat16] if name == "cpu" else [torch.bfloat16, torch.float16]:
        with suppress(RuntimeError, TypeError):
            speeds[str(dtype).removeprefix("torch.")] = speed(name, dtype)
    return {**facts, "speed": speeds}


def speed(name: str, dtype: torch.dtype) -> float:
    """The best of a few products of two matrices, 10^9 operations per second. Raises RuntimeError, TypeError."""
    import torch

    side = SIDE if name == "cpu" else 8 * SIDE
    a = torch.ones(side, side, device=name, dtype=dtype)
    best = float("inf")
    for _ in range(TIMES):
        begin = time.perf_counter()
        product = (a @ a)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - begin)
        if product != side:
            raise RuntimeError(f"a product of matrices gives {product} instead of {side}")
    return 2 * side**3 / best / 1e9


def look_at_nms_on_cuda() -> Facts:
    import torch
    import torchvision

    torchvision.ops.nms(torch.tensor([[0.0, 0.0, 2.0, 2.0]], device="cuda"), torch.ones(1, device="cuda"), 0.5)
    return {}


def imported(module: str) -> Facts:
    importlib.import_module(module)
    return {}


def main() -> None:
    warnings.simplefilter("ignore")
    if attempt("torch", look_at_torch) is not None:
        names = (attempt("devices", look_for_devices) or {}).get("names", [])
        for name in names:
            attempt(name, partial(look_at_device, name))
        if attempt("torchvision", look_at_torchvision) is not None and any(name.startswith("cuda") for name in names):
            attempt("nms", look_at_nms_on_cuda)
    for package, module in PACKAGES.items():
        attempt(package, partial(imported, module))


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what packages print themselves must not get between the lines
    main()
