"""GLIP-T (A), GLIP-T (B) and GLIP-L agree with mmdetection 3.3.0, stage by stage.

Provenance: tests/golden/goldens, and `parity/goldens` of the reference material for the larger ones; made by running
mmdetection's own code in float32 on a CPU with the weights of tests/recipe.py. The tolerances are those that a correct
implementation reaches: float32 in another order of operations moves logits by 5e-5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from glip_cli.checkpoints import registry
from glip_cli.checkpoints.formats import table
from glip_cli.detector import Detector
from glip_cli.inference.postprocess import PostprocessOptions, RawDetections, label_scores, postprocess
from glip_cli.inference.preprocess import collate, preprocess
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput
from glip_cli.prompts.labels import parse_texts
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.loss import grounding_loss
from tests import recipe
from tests.model.networks import recipe_model
from tests.shared import golden, shared
from tests.training.test_loss import matches, targets

PROMPTS = ["synthetic200-cat", "synthetic256-cat", "synthetic256-caption", "synthetic256-coco", "cats-cat"]
CASES = [(m, p) for m in "abl" for p in PROMPTS if (m, p) != ("l", "cats-cat")]
STAGE = 5e-4  # features are of the order of 1
LOGIT, SCORE, PIXEL = 1e-3, 1e-4, 0.02


@pytest.fixture(scope="module", params=["a", "b", pytest.param("l", marks=pytest.mark.long)])
def network(request: pytest.FixtureRequest) -> tuple[str, Glip]:
    return request.param, recipe_model(request.param)


@dataclass
class Run:
    """What the network said to one golden's input, and what it ought to have said."""

    stored: Any
    text: Tensor
    backbone: list[Tensor]
    fpn: list[Tensor]
    tower: list[Tensor]
    raw: RawOutput
    found: RawDetections


def source_image(name: str) -> Image.Image:
    if name.startswith("synthetic"):
        return Image.fromarray(recipe.synthetic())
    return Image.open(shared("data/photos/000000039769.png")).convert("RGB")


@torch.inference_mode()
def run(model: Glip, stored: Any, name: str) -> Run:
    size = {"synthetic200": (200, 1333), "synthetic256": (240, 1333), "cats": (800, 1333)}[name.split("-")[0]]
    item = preprocess(source_image(name), *size)
    pixels = collate([item])
    count = len(stored["input_ids"])
    ids = torch.zeros(1, -(-count // 8) * 8, dtype=torch.long)
    ids[0, :count] = torch.from_numpy(stored["input_ids"])
    mask = torch.arange(ids.shape[1]).unsqueeze(0) < count
    stages = model.backbone(pixels)
    maps = model.fpn(stages)
    text = model.encode_text(ids, mask)
    tower: list[Tensor] = []
    handle = model.head.tower[-1].register_forward_hook(lambda _m, _i, output: tower.extend(output[0]))
    raw = model.head(maps, text, mask)
    handle.remove()
    places = json.loads(str(stored["positive_map"]))
    matrix = label_scores("mean", [places[key] for key in sorted(places, key=int)], ids.shape[1])
    return Run(
        stored, text[0, :count], stages, maps, tower, raw, postprocess(raw, [matrix], [item], PostprocessOptions())[0]
    )


def test_without_fusion_the_image_alone_goes_through_the_rounds(network: tuple[str, Glip]) -> None:
    """However the steps are cut, the whole is the same."""
    letter, model = network
    if letter == "l":
        pytest.skip("its steps are cut as B's are")
    pixels, ids, mask = torch.randn(2, 3, 64, 96), torch.randint(1000, 2000, (2, 8)), torch.arange(8).expand(2, 8) < 6
    with torch.inference_mode():
        seen, text = model.encode_image(pixels), model.encode_text(ids, mask)
        mine = model.ground(seen, text, mask)
        assert_close(model(pixels, ids, mask).logits, mine.logits)
        assert_close(model.head(model.fpn(model.backbone(pixels)), text, mask).logits, mine.logits)


def check_stage(run: Run, key: str, mine: list[Tensor]) -> None:
    for i, level in enumerate(mine):
        expected, stride = run.stored[f"{key}{i}"], run.stored[f"{key}{i}_stride"]
        ours = level[0].numpy()[:: stride[0], :: stride[1], :: stride[2]]
        np.testing.assert_allclose(ours, expected, atol=STAGE, rtol=0, err_msg=f"{key}{i}")
        mean_std = [float(level.double().mean()), float(level.double().std(correction=0))]
        np.testing.assert_allclose(mean_std, run.stored[f"{key}{i}_stat"], atol=STAGE)


def check_heads(run: Run) -> None:
    levels = [h * w for h, w in run.raw.sizes]
    locations, tokens = int(run.stored["loc_stride"]), int(run.stored["token_stride"])
    count = len(run.stored["input_ids"])
    for i, size in enumerate(run.raw.sizes):
        assert tuple(run.stored[f"level{i}_hw"]) == size
    parts = (run.raw.logits[0].split(levels), run.raw.deltas[0].split(levels), run.raw.centerness[0].split(levels))
    for i, (logits, deltas, centerness) in enumerate(zip(*parts, strict=True)):
        ours = logits.numpy()[::locations, :count:tokens]
        np.testing.assert_allclose(ours, run.stored[f"cls{i}"], atol=LOGIT, rtol=0, err_msg=f"cls{i}")
        np.testing.assert_allclose(deltas.numpy()[::locations].T, run.stored[f"bbox{i}"], atol=LOGIT, rtol=0)
        np.testing.assert_allclose(centerness.numpy()[None, ::locations], run.stored[f"ctr{i}"], atol=LOGIT, rtol=0)


def check_detections(found: RawDetections, stored: Any) -> None:
    """The same detections; equal scores may swap places."""
    boxes, scores, labels = found.boxes.numpy(), found.scores.numpy(), found.labels.numpy()
    assert len(scores) == len(stored["scores"])
    left = set(range(len(scores)))
    for box, score, label in zip(stored["boxes"], stored["scores"], stored["labels"], strict=True):
        near = [
            i
            for i in left
            if labels[i] == label and abs(scores[i] - score) < SCORE and np.abs(boxes[i] - box).max() < PIXEL
        ]
        assert near, f"no detection like {label} {score} {box}"
        left.remove(near[0])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_stage(network: tuple[str, Glip], prompt: str) -> None:
    letter, model = network
    if (letter, prompt) not in CASES:
        pytest.skip("no such golden")
    stored = np.load(golden(f"goldens/{letter}-{prompt}.npz"))
    result = run(model, stored, prompt)
    width = stored["text_embedded"].shape[1]
    np.testing.assert_allclose(
        result.text.numpy()[:, :: result.text.shape[1] // width], stored["text_embedded"], atol=STAGE
    )
    check_stage(result, "backbone", result.backbone)
    check_stage(result, "fpn", result.fpn)
    check_stage(result, "dyhead", result.tower)
    check_heads(result)
    check_detections(result.found, stored)


def test_chunks(network: tuple[str, Glip]) -> None:
    """COCO's 80 names, 40 to a text: the detections of both texts together, as mmdetection's --chunked-size gives."""
    letter, model = network
    path = golden(f"goldens/{letter}-synthetic256-cocochunk40.npz")
    detector = Detector(model, Tokenizer.from_dir(registry.BERT), "recipe", device="cpu")
    names = parse_texts(["$: coco"])
    found = detector(source_image("synthetic256"), names, chunked_size=40, threshold=0.0, size=(240, 1333))
    result = RawDetections(torch.tensor(found.boxes), torch.tensor(found.scores), torch.tensor(found.label_ids))
    check_detections(result, np.load(path))


def test_gradients(network: tuple[str, Glip]) -> None:
    """Losses and the norms of their gradients, through the whole network, with everything stochastic off.

    Two boxes of one class, the image and its mirror image (parity/losses/README.md).
    """
    letter, model = network
    stored = np.load(golden(f"losses/loss-golden-{letter}-oneclass.npz"))
    photo = recipe.synthetic()
    pixels = collate([preprocess(Image.fromarray(image), 240, 1333) for image in (photo, photo[:, ::-1].copy())])
    ids = torch.from_numpy(np.stack([stored["input_ids0"], stored["input_ids1"]]))
    mask = torch.ones_like(ids, dtype=torch.bool)
    losses = grounding_loss(model(pixels, ids, mask), mask, targets(stored), matches(targets(stored)))
    losses.total.backward()
    for key, mine in (("cls", losses.token), ("bbox", losses.box), ("centerness", losses.centerness)):
        assert mine.item() == pytest.approx(float(stored[f"loss_{key}"]), rel=1e-5)
    ours = {source.key: name for name, source in table(model.config, "mmdet").sources.items()}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    for key, norm in zip(stored["grad_keys"].tolist(), stored["grad_norms"].tolist(), strict=True):
        gradient = gradients[ours[key]]
        assert gradient is not None, key
        assert gradient.double().norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-7), key
