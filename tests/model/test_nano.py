"""glip-nano's network: equal to the published graph, and labels that do not depend on their neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from glip_cli.checkpoints import registry
from glip_cli.checkpoints.load import load
from glip_cli.model.boxes import anchors, decode
from glip_cli.model.config import GLIP_NANO
from glip_cli.model.glip import Glip
from glip_cli.model.head import flatten
from glip_cli.model.nano import NEVER, LabelEncoder, NanoHead
from tests.shared import shared

FIRST, STOP = GLIP_NANO.text.pieces, GLIP_NANO.text.stop
NAMES = torch.tensor([[101, *(token for i in range(1, 81) for token in (FIRST + i, STOP)), 102]])
PLACES = slice(1, 161, 2)  # of the 80 names


@pytest.fixture(scope="module")
def model() -> Glip:
    return load(registry.find("glip-nano"), offline=True).model


def run_graph(folder: Path, pixels: Tensor) -> dict[str, Tensor]:
    """Every value of a tfjs graph model for an input [1, 3, 416, 416], operator by operator."""
    model = json.loads((folder / "nanodet.json").read_text(encoding="utf-8"))
    data, offset, known = (folder / "nanodet.bin").read_bytes(), 0, {}
    for entry in model["weightsManifest"][0]["weights"]:
        stored = np.dtype((entry.get("quantization") or entry)["dtype"])
        count = int(np.prod(entry["shape"]))
        array = np.frombuffer(data, stored, count, offset).reshape(entry["shape"])
        known[entry["name"]] = torch.from_numpy(array.astype(np.float32 if stored.kind == "f" else np.int64))
        offset += count * stored.itemsize
    for node in model["modelTopology"]["node"]:
        name, inputs = node["name"], node.get("input", [])
        if node["op"] == "Placeholder":
            known[name] = pixels
        elif all(one in known for one in inputs) and node["op"] in OPERATORS:
            given = [known[one] for one in inputs]
            made = OPERATORS[node["op"]](node.get("attr", {}), *given)
            parts = made if isinstance(made, tuple) else (made,)
            known |= {f"{name}:{i}" if i else name: part for i, part in enumerate(parts)}
    return known


def _pad(value: float, x: Tensor, pads: Tensor) -> Tensor:
    return F.pad(x, [int(side) for pair in reversed(pads.tolist()) for side in pair], value=value)


def _convolution(attr: dict[str, Any], x: Tensor, weight: Tensor) -> Tensor:
    stride = int(attr["strides"]["list"]["i"][1])
    return F.conv2d(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), stride=stride).permute(0, 2, 3, 1)


def _resize(attr: dict[str, Any], x: Tensor, size: Tensor) -> Tensor:
    assert attr["half_pixel_centers"]["b"]
    resized = F.interpolate(x.permute(0, 3, 1, 2), tuple(size.tolist()), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)


OPERATORS: dict[str, Any] = {
    "Pad": lambda attr, x, pads: _pad(0.0, x, pads),
    "PadV2": lambda attr, x, pads, value: _pad(float(value), x, pads),
    "Transpose": lambda attr, x, order: x.permute(*order.tolist()),
    "Conv2D": _convolution,
    "Add": lambda attr, a, b: a + b,
    "LeakyRelu": lambda attr, x: F.leaky_relu(x, attr["alpha"]["f"]),
    "MaxPool": lambda attr, x: F.max_pool2d(x.permute(0, 3, 1, 2), 3, 2).permute(0, 2, 3, 1),
    "ConcatV2": lambda attr, *given: torch.cat(given[:-1], int(given[-1])),
    "ResizeBilinear": _resize,
    "SplitV": lambda attr, x, sizes, axis: x.split(sizes.tolist(), int(axis)),
}


def test_the_image_side_is_the_published_graph(model: Glip) -> None:
    """Class logits and bins of distances of all levels; biases differ by the calibration, which is the same for all."""
    pixels = torch.randn(1, 3, 416, 416, generator=torch.Generator().manual_seed(0))
    known = run_graph(shared("pretrained/nanodet-g"), pixels)
    levels = [known[f"PartitionedCall/onnx_tf_prefix_Split_{number}"] for number in (153, 164, 175)]
    bins = [known[f"PartitionedCall/onnx_tf_prefix_Split_{number}:1"] for number in (153, 164, 175)]
    assert isinstance(model.head, NanoHead)
    with torch.inference_mode():
        maps = model.encode_image(pixels)
        raw = model.head.predict(maps, model.encode_text(NAMES, NAMES >= 0))
        rows = [layer(flatten([x])) for layer, x in zip(model.head.box, maps, strict=True)]
    shift = raw.logits[..., PLACES] - flatten(levels)
    assert_close(shift, shift.mean().expand_as(shift), rtol=0, atol=2e-3)  # weights are kept in half precision
    assert_close(torch.cat(rows, 1), flatten(bins), rtol=0, atol=2e-3)


def test_boxes_are_expected_distances_from_the_centres_of_cells() -> None:
    head, count = NanoHead(GLIP_NANO), GLIP_NANO.bins
    logits = torch.full((1, 4, 4, count), -30.0)
    distances = torch.tensor([[1, 2, 3, 4], [0, 5, 10, 5], [2, 2, 2, 2], [7, 1, 1, 9]])
    logits[0].scatter_(2, distances.unsqueeze(-1), 30.0)
    deltas = head._deltas(logits.flatten(2))
    boxes = decode(deltas, anchors(((2, 2),)))[0] + torch.tensor([0.0, 0.0, 1.0, 1.0])
    centres = torch.tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]])
    low, high = (8.0 * distances).split(2, dim=1)
    assert_close(boxes, torch.cat((centres - low, centres + high), dim=1))


def test_a_label_is_read_alone(model: Glip) -> None:
    """Its features depend on no other label, on no padding and on no other text of the batch."""
    assert isinstance(model.text, LabelEncoder)
    torch.nn.init.normal_(model.text.projection.weight, generator=torch.Generator().manual_seed(0))
    first, second = [FIRST + 3, 2482], [FIRST, 26261, 2705]
    alone = torch.tensor([[101, *second, 102]])
    both = torch.tensor([[101, *first, STOP, *second, 102, 0, 0]])
    mask = both > 0
    with torch.inference_mode():
        expected = model.encode_text(alone, alone > 0)[0, 1]
        given = model.encode_text(both, mask)
    assert_close(given[0, 4], expected)
    assert (given[0, [0, 2, 3, 5, 6, 7, 8, 9], -1] == NEVER).all()
    torch.nn.init.zeros_(model.text.projection.weight)


def test_word_pieces_tell_labels_of_one_concept_apart_once_they_are_trained() -> None:
    encoder = LabelEncoder(GLIP_NANO)
    ids = torch.tensor([[101, FIRST, 2417, STOP, FIRST, 2630, 102]])
    with torch.no_grad():
        same = encoder(ids, ids >= 0)
        encoder.projection.weight.normal_(generator=torch.Generator().manual_seed(0))
        other = encoder(ids, ids >= 0)
    assert_close(same[0, 1], same[0, 4])
    assert not torch.allclose(other[0, 1], other[0, 4])
