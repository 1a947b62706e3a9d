"""A network whose two large steps torch compiles (`torch.compile`): one graph for each shape of their inputs.

Compiling one shape takes from seconds to minutes, so only the first few shapes are; what comes in others runs as it is
written, and the answers are the same but for rounding. On CUDA each graph is recorded as a CUDA graph, whose outputs
lie in memory that the next run writes to: they are copied out of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import torch
from torch import Tensor

from glip_cli.errors import DeviceError
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput
from glip_cli.model.torchvision_ops import load_operators
from glip_cli.utils.text_format import first_line

SHAPES = 8  # of each step that are compiled
# torch's own limits count all networks of a process together, and raise; SHAPES is the limit here
NO_LIMITS = {"recompile_limit": 1 << 20, "accumulated_recompile_limit": 1 << 20}

Function = Callable[..., tuple[Tensor, ...]]


class Compiled:
    """`encode_image` and `ground` of a network that is on `device`. Both raise DeviceError where torch cannot compile.

    Attributes:
        passed: whether more than SHAPES shapes came, of which the later ones were not compiled.
    """

    def __init__(self, model: Glip, device: torch.device):
        def encode(pixels: Tensor) -> tuple[Tensor, ...]:
            return tuple(model.encode_image(pixels))

        def predict(hidden: Tensor, mask: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
            return model.ground(list(maps), hidden, mask).tensors

        # what it says is that there is no GPU, wherever there is a folder of CUDA
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        load_operators(differentiable=True)  # the compiler needs their Python side
        self._encode, self._predict = _Step(encode, device), _Step(predict, device)

    @property
    def passed(self) -> bool:
        return self._encode.passed or self._predict.passed

    def encode_image(self, pixels: Tensor) -> list[Tensor]:
        """As `Glip.encode_image`."""
        return list(self._encode(pixels))

    def ground(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> RawOutput:
        """As `Glip.ground`."""
        logits, deltas, *centerness = self._predict(hidden, mask, *maps)
        sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
        return RawOutput(logits, deltas, centerness[0] if centerness else None, sizes)


class _Step:
    """A function of tensors, compiled for the first SHAPES shapes that it is called with."""

    def __init__(self, function: Function, device: torch.device):
        self.passed = False
        self._function = function
        self._on_cuda = device.type == "cuda"
        mode = "reduce-overhead" if self._on_cuda else None  # with CUDA graphs
        self._compiled: Function = torch.compile(function, fullgraph=True, dynamic=False, mode=mode)
        self._shapes: set[tuple[tuple[int, ...], ...]] = set()
        self._lock = threading.Lock()  # graphs are made, and write to their outputs, one at a time

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        shape = tuple((*x.shape, *x.stride()) for x in tensors)
        with self._lock:
            if shape in self._shapes or len(self._shapes) < SHAPES:
                outputs = self._run(*tensors)
                self._shapes.add(shape)
                return tuple(x.clone() for x in outputs) if self._on_cuda else outputs
        self.passed = True
        return self._function(*tensors)

    def _run(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        try:
            with torch._dynamo.config.patch(NO_LIMITS):
                return self._compiled(*tensors)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = first_line(getattr(error, "inner_exception", error))
            needs = "Triton and a C compiler" if self._on_cuda else "a C++ compiler: g++, or what CXX names"
            raise DeviceError(
                f"--compile: torch cannot compile here ({reason}); it needs {needs}; else leave --compile out"
            ) from error
