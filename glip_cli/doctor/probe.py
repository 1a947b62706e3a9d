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
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

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


def attempt(step: str, look: Callable[[], dict[str, object]]) -> bool:
    """Say what `look` finds, or what it raises; tell whether it went well."""
    say(step)
    try:
        facts = look()
    except BaseException as error:  # a broken package raises anything, SystemExit too
        say(step, error=one_line(error))
        return False
    say(step, **facts)
    return True


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def look_at_torch() -> dict[str, object]:
    import torch

    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "threads": torch.get_num_threads(),
        "numpy": numpy_error(),
    }


def numpy_error() -> str | None:
    """Why torch and numpy do not work together: built for another major version, as a rule."""
    import torch

    try:
        torch.zeros(1).numpy()
    except Exception as error:
        return one_line(error)
    return None


def look_at_torchvision() -> dict[str, object]:
    import torch
    import torchvision

    kept = torchvision.ops.nms(
        torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9]]), torch.tensor([0.5, 0.9]), 0.5
    )
    if kept.tolist() != [1]:
        raise RuntimeError(f"its nms gives {kept.tolist()} instead of [1]")
    return {"version": torchvision.__version__}


def devices() -> Iterator[str]:
    import torch

    yield "cpu"
    yield from (f"cuda:{i}" for i in range(torch.cuda.device_count()))
    if torch.backends.mps.is_available():
        yield "mps"


def look_for_devices(names: list[str]) -> dict[str, object]:
    """Put them into `names`."""
    names += devices()
    return {"names": names}


def look_at_device(name: str) -> dict[str, object]:
    """What it is, and billions of operations per second by dtype; a dtype that fails is left out."""
    import torch

    facts: dict[str, object] = {}
    if name.startswith("cuda"):
        props = torch.cuda.get_device_properties(name)
        free, total = torch.cuda.mem_get_info(name)
        facts = {"name": props.name, "memory": total, "free": free, "capability": f"{props.major}.{props.minor}"}
    torch.ones(2, device=name).sum().item()  # raises where the build has no kernels for it
    facts["speed"] = {str(dtype).removeprefix("torch."): speed(name, dtype) for dtype in dtypes(name)}
    return facts


def dtypes(name: str) -> list[torch.dtype]:
    import torch

    halves = [torch.bfloat16] if name == "cpu" else [torch.bfloat16, torch.float16]
    return [torch.float32, *(dtype for dtype in halves if works(name, dtype))]


def works(name: str, dtype: torch.dtype) -> bool:
    import torch

    try:
        matrix = torch.ones(8, 8, device=name, dtype=dtype)
        return (matrix @ matrix).sum().item() == 512
    except (RuntimeError, TypeError):
        return False


def speed(name: str, dtype: torch.dtype) -> float:
    """The best of a few products of two matrices, 10^9 operations per second."""
    import torch

    side = SIDE if name == "cpu" else 8 * SIDE
    a = torch.ones(side, side, device=name, dtype=dtype)
    best = float("inf")
    for _ in range(TIMES):
        begin = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best / 1e9


def look_at_nms_on_cuda() -> dict[str, object]:
    import torch
    import torchvision

    torchvision.ops.nms(torch.tensor([[0.0, 0.0, 2.0, 2.0]], device="cuda"), torch.ones(1, device="cuda"), 0.5)
    return {}


def imported(module: str) -> dict[str, object]:
    importlib.import_module(module)
    return {}


def main() -> None:
    warnings.simplefilter("ignore")
    if attempt("torch", look_at_torch):
        names: list[str] = []
        attempt("devices", lambda: look_for_devices(names))
        for name in names:
            attempt(name, lambda name=name: look_at_device(name))  # type: ignore[misc]
        if attempt("torchvision", look_at_torchvision) and any(name.startswith("cuda") for name in names):
            attempt("nms", look_at_nms_on_cuda)
    for package, module in PACKAGES.items():
        attempt(package, lambda module=module: imported(module))  # type: ignore[misc]


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what packages print themselves must not get between the lines
    main()
