"""The loss of a validation: training's own on the same images, whatever the batches, the processes and the resumes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from glip_cli.detector import Detector
from glip_cli.evaluation.boxes import COCO_RULES
from glip_cli.model.glip import Glip
from glip_cli.options import DetectOptions
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.runs.runner import Runner
from glip_cli.training.batches import Batches
from glip_cli.training.config import TrainConfig
from glip_cli.training.dataset import DetectionItem
from glip_cli.training.distributed import Distributed
from glip_cli.training.loss import grounding_loss
from glip_cli.training.metrics_log import Row, read_rows
from glip_cli.training.transforms import Augmentation
from glip_cli.training.validation import Evaluation, ValidationCheck, ValidationLoss, divided, measure, with_loss
from tests.training.networks import LABELS, TOKENIZER, scenes, small_model, start, trainer
from tests.training.test_trainer import check_of

ALONE = Distributed(0, 1, torch.device("cpu"))
PARTS = ("loss", "token", "box", "centerness")


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> ValidationCheck:
    """Five scenes of 128 x 128, the model's own size."""
    return with_loss(check_of(scenes(5, seed=2), tmp_path_factory.mktemp("scenes")))


def evaluated(check: ValidationCheck, model: Glip, batch_size: int = 1, processes: Distributed = ALONE) -> Evaluation:
    return measure(check, detector_of(model), processes, batch_size)


def detector_of(model: Glip) -> Detector:
    return Detector(model, Tokenizer.from_dir(TOKENIZER), "small", "cpu")


def as_trained(check: ValidationCheck, model: Glip) -> dict[str, float]:
    """The loss of one batch of training with all images, at the model's size and not mirrored."""
    assert check.train_set
    count, tokenizer = len(check.train_set), Tokenizer.from_dir(TOKENIZER)
    still = Augmentation((128,), 128, flip=0.0)
    batch = Batches([check.train_set], [1.0], tokenizer, model.config, count, 0, augmentation=still).batch(0)
    with torch.no_grad():
        raw = model.eval()(batch.pixels, batch.ids, batch.mask)
    losses = grounding_loss(raw, batch.mask, batch.targets, batch.matches)
    return {name: float(value) for name, value in {"loss": losses.total, **losses.parts}.items()}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_is_the_loss_of_one_batch_of_training(check: ValidationCheck, batch_size: int) -> None:
    model = small_model(dropout=0.2).train()
    found = evaluated(check, model, batch_size).row
    assert model.training
    expected = as_trained(check, model)
    assert {name: found[f"val_{name}"] for name in PARTS} == pytest.approx(expected, rel=1e-5)


def test_labels_of_several_texts_are_learned_in_their_own(check: ValidationCheck) -> None:
    """Asked for one label at a time, each text has the boxes of its label, and the others' are background."""
    assert check.train_set
    detector, options = detector_of(small_model()), DetectOptions(**COCO_RULES.options, chunked_size=1)
    sources = dict(zip((row.id for row in check.task.truth.images), check.task.sources, strict=True))
    compiled = detector.compile_prompt(check.task.category_prompt.prompt, options)
    loss = ValidationLoss(check.train_set, sources, detector.tokenizer, detector.model.config.text.window)
    assert len(compiled.chunks) == len(LABELS)
    list(Runner(detector, compiled, options, observe=loss.add)(sources.values()))
    named = {(item.image_id, label) for item in check.train_set.items if isinstance(item, DetectionItem)
             for label in item.labels.tolist()}  # fmt: skip
    assert set(loss.sums) == {(number, label) for number in sources for label in range(len(LABELS))}
    assert {pair for pair, sums in loss.sums.items() if sums["box"] > 0} == named
    assert all(sums["positives"] == 1 for pair, sums in loss.sums.items() if pair not in named)


def test_an_image_that_cannot_be_read_adds_nothing(tmp_path: Path) -> None:
    """It fails between the reading of the set and the validation."""
    model, folders = small_model(), [tmp_path / "both", tmp_path / "first"]
    for folder in folders:
        folder.mkdir()
    both, first = (with_loss(check_of(scenes(2 - i, seed=3), folder)) for i, folder in enumerate(folders))
    whole = evaluated(both, model).losses
    (folders[0] / "2.png").unlink()
    assert evaluated(both, model).losses == evaluated(first, model).losses != whole


def test_nothing_was_measured_without_images() -> None:
    assert divided([{}, {}]) == {}


def measure_share() -> None:
    """What each of several processes does: its share of the scenes in a folder."""
    processes = Distributed.join("cpu")
    given = json.loads(sys.argv[2])
    check = with_loss(check_of(scenes(5, seed=2), Path(given["folders"][processes.rank])))
    Path(sys.argv[1], f"{processes.rank}.json").write_text(
        json.dumps(evaluated(check, small_model(), 1, processes).row)
    )


def test_two_processes_have_the_numbers_of_one(check: ValidationCheck, tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    ranks = start(tmp_path, {"folders": list(map(str, folders))}, 2, measure_share)
    assert [one.wait() for one in ranks] == [0, 0], [one.stderr for one in ranks]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_bytes()) for rank in range(2))
    assert first == second
    losses = evaluated(check, small_model()).losses
    assert {name: first[name] for name in losses} == pytest.approx(losses, rel=1e-6)


def test_a_resumed_training_has_the_rows_of_an_undisturbed_one(check: ValidationCheck, tmp_path: Path) -> None:
    recipe = TrainConfig(epochs=3, freeze_backbone_at=-1)

    def trained(folder: Path, stop_at: int = 0) -> None:
        def stop(row: Row) -> None:
            if row["step"] == stop_at:
                one.stop.set()

        folder.mkdir(exist_ok=True)
        one = trainer(folder, recipe, 0.1, validate=lambda: evaluated(check, one.model).row, on_row=stop)
        one.run()

    def rows(folder: Path) -> Iterator[Row]:
        return ({**row, "seconds": 0, "data_time": 0} for row in read_rows(folder / "metrics.jsonl"))

    trained(tmp_path / "straight")
    trained(tmp_path / "stopped", 4)
    assert read_rows(tmp_path / "stopped" / "metrics.jsonl")[-1]["step"] == 4
    trained(tmp_path / "stopped")
    assert list(rows(tmp_path / "stopped")) == list(rows(tmp_path / "straight"))
    losses = [row["val_loss"] for row in rows(tmp_path / "straight") if "val_loss" in row]
    assert len(set(losses)) == 3
