"""Training glip-nano: what trains at which rates, its loss, labels that no name stands for, and what a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from glip_cli.checkpoints import registry
from glip_cli.checkpoints.adapters import load_adapter
from glip_cli.checkpoints.load import load
from glip_cli.checkpoints.resolve import load_tokenizer_folder
from glip_cli.cli.app import app
from glip_cli.errors import CheckpointError, UsageError
from glip_cli.inference.postprocess import label_scores
from glip_cli.model.boxes import anchors as make_anchors
from glip_cli.model.boxes import decode, iou
from glip_cli.model.checkpointing import CheckpointedModule
from glip_cli.model.glip import Glip
from glip_cli.prompts.chunking import tokenize
from glip_cli.prompts.concepts import ConceptTokenizer
from glip_cli.prompts.prompt import label_prompt
from glip_cli.training.assign import match
from glip_cli.training.config import TrainConfig
from glip_cli.training.gradients import checkpoint_activations
from glip_cli.training.init_model import InitSource
from glip_cli.training.loss import Target, grounding_loss
from glip_cli.training.metrics_log import read_rows
from glip_cli.training.optim import param_group
from glip_cli.training.transforms import Augmentation
from glip_cli.training.tuning import select
from tests.test_photographs import FOLDER

LABELS = ("RBC", "cat", "kitten")  # no name; a name; a word for the same name
PIXELS = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
BOXES = torch.tensor([[4.0, 4.0, 51.0, 51.0], [40.0, 40.0, 91.0, 91.0]])
runner = CliRunner()


@pytest.fixture(scope="module")
def tokens() -> tuple[Tensor, tuple[tuple[int, ...], ...]]:
    read = tokenize(label_prompt(LABELS), ConceptTokenizer.from_dir(load_tokenizer_folder("glip-nano")), 1024)
    return torch.tensor([read.ids]), read.label_tokens


@pytest.fixture
def model() -> Glip:
    return load(registry.find("glip-nano")).model


def targets(places: tuple[tuple[int, ...], ...], length: int) -> Target:
    """The first box is an RBC, the second a kitten."""
    named = torch.zeros(2, length, dtype=torch.bool)
    named[0, list(places[0])] = named[1, list(places[2])] = True
    return Target(BOXES, named)


def test_what_trains_in_each_mode(model: Glip) -> None:
    names = {name for name, _ in model.named_parameters()}
    full = set(select(model, TrainConfig(mode="full", freeze_backbone_at=2)).names)
    assert {name.rsplit(".", 1)[0] for name in names - full} == {
        "backbone.stem", *(f"backbone.layers.0.{part}" for part in
        ("reduce", "transition", "blocks.0.first", "blocks.0.second"))}  # fmt: skip
    assert set(select(model, TrainConfig(mode="head")).names) == {
        "text.concepts.weight", "text.projection.weight",
        *(f"head.box.{level}.{part}" for level in range(3) for part in ("weight", "bias"))}  # fmt: skip
    assert select(model, TrainConfig(mode="prompt")).names == ("text.offset",)
    assert model.get_parameter("text.offset").shape == (1024, 387)


def test_lora_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(UsageError, match=r"^--mode lora is for transformers, and glip-nano is none: take --mode head"):
        InitSource("glip-nano").load("lora", 0, offline=True)


def test_the_text_side_has_a_rate_of_its_own_and_names_that_are_not_asked_for_do_not_fade(model: Glip) -> None:
    recipe = TrainConfig.of("full", watched=False, architecture="glip-nano")
    kinds = {name: param_group(name, parameter, recipe) for name, parameter in model.named_parameters()}
    assert kinds["text.concepts.weight"][1:3] == (recipe.language_lr, 0.0)
    assert kinds["text.projection.weight"][1:3] == (recipe.language_lr, recipe.weight_decay)
    assert kinds["backbone.layers.3.transition.weight"][1:3] == (recipe.lr, recipe.weight_decay)


def test_the_loss_by_hand(model: Glip, tokens: tuple[Tensor, tuple[tuple[int, ...], ...]]) -> None:
    """Quality focal loss: what a location says of the label of its box is to be the overlap of the two."""
    ids, places = tokens
    with torch.no_grad():
        raw = model(PIXELS, ids, ids > 0)
    target, matched = targets(places, ids.shape[1]), match(raw.sizes, BOXES)
    losses = grounding_loss(raw, ids > 0, [target], [matched])
    boxes = decode(raw.deltas[0], make_anchors(raw.sizes))[matched.where]
    goal = torch.zeros_like(raw.logits[0])
    for where, box, overlap in zip(matched.where, matched.box, iou(boxes, BOXES[matched.box], 1.0), strict=True):
        goal[where, target.tokens[box]] = overlap
    p = raw.logits[0].sigmoid()
    by_hand = -(goal * p.log() + (1 - goal) * (1 - p).log()) * (goal - p).abs() ** 2
    assert len(matched.where) > 2
    assert float(losses.token) == pytest.approx(float(by_hand.nansum()) / len(matched.where), rel=1e-4)
    assert losses.centerness is None


@pytest.mark.parametrize("mode", ["head", "prompt"])
def test_labels_of_no_name_and_of_the_same_name_are_told_apart(
    mode: str, model: Glip, tokens: tuple[Tensor, tuple[tuple[int, ...], ...]]
) -> None:
    ids, places = tokens
    tuning = select(model, TrainConfig(mode=mode, lr=5e-3, language_lr=5e-3, weight_decay=0))
    optimizer = torch.optim.AdamW(tuning.groups)
    tuning.train(model)
    target = targets(places, ids.shape[1])
    for _ in range(30):
        raw = model(PIXELS, ids, ids > 0)
        matched = [match(raw.sizes, BOXES)]
        optimizer.zero_grad()
        grounding_loss(raw, ids > 0, [target], matched).total.backward()
        optimizer.step()
    where, box = matched[0].where, matched[0].box
    scores = label_scores("max", places, ids.shape[1])(raw.logits[0, where].detach().sigmoid())
    assert scores[box == 0].amax(0).argmax() == 0
    assert scores[box == 1].amax(0).argmax() == 2


def test_activations_that_are_forgotten_change_no_gradient(
    model: Glip, tokens: tuple[Tensor, tuple[tuple[int, ...], ...]]
) -> None:
    ids, places = tokens
    gradients = []
    for _ in range(2):
        model.zero_grad()
        raw = model(PIXELS, ids, ids > 0)
        grounding_loss(raw, ids > 0, [targets(places, ids.shape[1])], [match(raw.sizes, BOXES)]).total.backward()
        gradients.append(model.backbone.stem.weight.grad.clone())
        checkpoint_activations(model)
    assert sum(isinstance(module, CheckpointedModule) for module in model.modules()) == 4
    torch.testing.assert_close(*gradients)


def test_sizes_of_training_are_areas() -> None:
    chosen = Augmentation.of_size((448, 448), (512,), None, 32)
    assert chosen.sides == (512,)
    with pytest.raises(UsageError, match=r"^max_size 600: this model reads images by their area"):
        Augmentation.of_size((448, 448), (), 600, 32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs as COCO; a parrot has a label that the model does not know."""
    rows = [("dogs.jpg", 320, 480, [97, 111, 71, 85], 1), ("parrot.jpg", 320, 480, [60, 60, 120, 200], 2)]
    path = tmp_path_factory.mktemp("data") / "train.json"
    path.write_text(json.dumps({
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "gizmo"}],
        "images": [{"id": i, "file_name": name, "width": w, "height": h} for i, (name, w, h, *_) in enumerate(rows)],
        "annotations": [{"id": i, "image_id": i, "category_id": category, "bbox": box, "area": 1, "iscrowd": 0}
                        for i, (*_, box, category) in enumerate(rows)]}))  # fmt: skip
    return path


@pytest.fixture(scope="module", params=["head", "prompt"])
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / request.param
    words = ["finetune", "--train", data, "--images", FOLDER, "-m", "glip-nano", "-o", out, "--mode", request.param,
             "--epochs", 2, "--size", 96, "--workers", 0, "--device", "cpu"]  # fmt: skip
    done = runner.invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    assert "does not know" not in done.stderr  # it is about to learn
    assert "centerness" not in done.stderr
    rows = read_rows(out / "metrics.jsonl")
    assert [set(row) & {"loss", "token", "box", "centerness"} for row in rows] == [{"loss", "token", "box"}] * len(rows)
    return out


def test_an_adapter_of_a_run_loads_and_knows_its_labels(run: Path) -> None:
    found = runner.invoke(app, ["detect", str(FOLDER / "dogs.jpg"), "-m", str(run), "--device", "cpu",
                                "--no-save-vis", "--no-save-pred"])  # fmt: skip
    assert found.exit_code == 0, found.output
    assert "labels of the model: 'dog', 'gizmo'" in found.stderr
    assert "does not know" not in found.stderr


def test_an_adapter_is_refused_by_another_model(run: Path) -> None:
    with pytest.raises(CheckpointError, match="was made for glip-nano@"):
        load_adapter(load(registry.find("glip-mini")), run)
