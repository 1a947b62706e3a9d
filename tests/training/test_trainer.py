"""The loop on a network of a few thousand parameters: what it learns, and what must not change what it learns."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glip_cli.data.synthetic import Scene, draw_scene
from glip_cli.detector import Detector
from glip_cli.errors import GlipError, OutOfMemoryError
from glip_cli.evaluation.boxes import COCO_RULES, box_task
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.batches import Batch, level_sizes
from glip_cli.training.checkpoint import TrainingFolder
from glip_cli.training.config import TrainConfig
from glip_cli.training.distributed import Distributed
from glip_cli.training.loss import grounding_loss, normalisers
from glip_cli.training.metrics_log import read_rows
from glip_cli.training.trainer import Trainer, TrainResult
from glip_cli.training.validation import ValidationCheck, measure
from tests.training.networks import (
    LABELS,
    PAIRS,
    TOKENIZER,
    Drawn,
    batch_of,
    run,
    scenes,
    small_model,
    start,
    train,
    trainer,
)

ALL = {"freeze_backbone_at": -1}


def run_small(folder: Path, given: dict[str, Any], processes: int = 1) -> str:
    """What they print."""
    ranks = start(folder, given, processes)
    assert [one.wait() for one in ranks] == [0] * processes, [one.stderr for one in ranks]
    return "".join(one.stdout for one in ranks)


def run_here(folder: Path, given: dict[str, Any]) -> str:
    """The same in this process, which need not import torch again, with one thread too."""
    threads = torch.get_num_threads()
    try:
        with redirect_stdout(StringIO()) as said:
            run(folder, given)
    finally:
        torch.set_num_threads(threads)
    return said.getvalue()


def momenta(folder: Path) -> torch.Tensor:
    """AdamW's first moments: of one step, a tenth of the gradients."""
    state = TrainingFolder(folder).load()
    assert state is not None
    return torch.cat([one["exp_avg"].flatten() for one in state["optimizer"]["adamw"]["state"].values()])


class Same:
    """One batch, again and again."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def __call__(self, first: int) -> Iterator[Batch]:
        while True:
            yield self.batch


def check_of(drawn: Sequence[Scene], folder: Path) -> ValidationCheck:
    images, boxes = [], []
    for number, scene in enumerate(drawn, 1):
        scene.image.save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 128})
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            category = PAIRS.index(thing.pair) + 1
            row = {"image_id": number, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            boxes.append(row | {"id": len(boxes) + 1, "area": (x2 - x1) * (y2 - y1)})
    categories = [{"id": i, "name": name} for i, name in enumerate(LABELS, 1)]
    file = folder / "truth.json"
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return ValidationCheck(box_task("drawn", read_ground_truth(file), folder, COCO_RULES))


@pytest.mark.long
def test_it_learns_four_scenes_by_heart(tmp_path: Path) -> None:
    drawn = scenes(4)
    recipe = TrainConfig(lr=3e-3, language_lr=3e-3, weight_decay=0, batch_size=4, warmup=10, epochs=1,
                    schedule="steps", steps=(0.8,), **ALL)  # fmt: skip
    check = check_of(drawn, tmp_path)
    alone = Distributed(0, 1, torch.device("cpu"))

    def measured(one: Trainer) -> dict[str, float]:
        return measure(check, Detector(one.model, Tokenizer.from_dir(TOKENIZER), "small", "cpu"), alone).numbers

    assert measured(trainer(tmp_path / "not", recipe))["AP50"] < 0.2
    one = train(tmp_path / "run", recipe, source=Same(batch_of(drawn)), epoch_steps=180)
    assert measured(one)["AP50"] == pytest.approx(1.0)
    losses = [row["loss"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    assert losses[-1] < losses[0] / 3


def test_level_sizes_are_the_networks() -> None:
    model = small_model().eval()
    ids = torch.ones(1, 4, dtype=torch.long)
    for height, width in ((32, 32), (96, 160), (352, 224)):
        pixels = torch.zeros(1, 3, height, width)
        assert level_sizes(pixels) == model(pixels, ids, ids.bool()).sizes


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 9])
def test_the_parts_of_a_batch_are_the_batch(parts: int) -> None:
    batch = batch_of(scenes(4))
    pieces = batch.cut(parts)
    assert torch.equal(torch.cat([piece.pixels for piece in pieces]), batch.pixels)
    assert [one for piece in pieces for one in piece.targets] == batch.targets
    assert max(len(piece.ids) for piece in pieces) == math.ceil(4 / min(parts, 4))


def test_the_gradients_of_the_parts_add_up_to_those_of_the_batch() -> None:
    """Divided by the positives of all parts together; by their own they would not: the scenes have 1 to 3 things."""
    batch, model = batch_of(scenes(4)), small_model()

    def gradients(parts: int, weights: torch.Tensor | None) -> torch.Tensor:
        model.zero_grad()
        for part in batch.cut(parts):
            raw = model(part.pixels, part.ids, part.mask)
            grounding_loss(raw, part.mask, part.targets, part.matches, weights).total.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = normalisers(batch.targets, batch.matches)
    expected = gradients(1, None)
    for parts in (1, 2, 4):
        assert (gradients(parts, whole) - expected).norm() < 1e-5 * expected.norm()
    assert (gradients(4, None) / 4 - expected).norm() > 1e-2 * expected.norm()


def test_accumulated_batches_are_one_great_batch(tmp_path: Path) -> None:
    class Halves:
        def __call__(self, first: int) -> Iterator[Batch]:
            yield from batch_of(scenes(4)).cut(2)

    one = {"epochs": 1, "schedule": "constant", **ALL}
    train(tmp_path / "great", TrainConfig(batch_size=4, **one), source=Same(batch_of(scenes(4))), epoch_steps=1)
    train(tmp_path / "small", TrainConfig(batch_size=2, accumulation=2, **one), source=Halves(), epoch_steps=1)
    great, small = momenta(tmp_path / "great"), momenta(tmp_path / "small")
    assert (great - small).norm() < 1e-5 * great.norm()


def test_two_processes_have_the_gradients_of_one_with_the_double_batch(tmp_path: Path) -> None:
    given = {"epochs": 1, "schedule": "constant", "save_every": 1, "dropout": 0.0}
    run_small(tmp_path / "two", {**given, "images": 2}, processes=2)
    run_here(tmp_path / "one", {**given, "images": 4})
    one, two = (read_rows(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert two[-1]["loss"] == pytest.approx(one[-1]["loss"], rel=1e-3)
    one_step = {**given, "epochs": 1, "epoch_steps": 1}
    run_small(tmp_path / "two-1", {**one_step, "images": 2}, processes=2)
    run_here(tmp_path / "one-1", {**one_step, "images": 4})
    expected, found = momenta(tmp_path / "one-1"), momenta(tmp_path / "two-1")
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_the_time_that_images_are_waited_for_is_in_the_row(tmp_path: Path) -> None:
    class Slow(Drawn):
        def __call__(self, first: int) -> Iterator[Batch]:
            for batch in super().__call__(first):
                time.sleep(0.05)
                yield batch

    train(tmp_path, TrainConfig(epochs=2, accumulation=2, **ALL), source=Slow(), epoch_steps=1)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert len(rows) == 2
    assert all(0.1 <= row["data_time"] <= row["seconds"] for row in rows)


def test_a_loss_that_is_no_number_ends_it_with_one_line_and_the_batch(tmp_path: Path) -> None:
    recipe = TrainConfig(epochs=3, **ALL)

    def spoiled(first: int) -> Iterator[Batch]:
        for number, batch in enumerate(Drawn()(first), first):
            if number == 4:
                one.model.head.bias0.data.fill_(float("nan"))
            yield batch

    one = trainer(tmp_path, recipe, source=spoiled)
    with pytest.raises(GlipError) as error:
        one.run()
    said = str(error.value)
    assert "the loss of step 5 is not a number" in said
    assert "\n" not in said
    assert str(tmp_path / "bad-batch.pt") in said
    saved = torch.load(tmp_path / "bad-batch.pt", weights_only=True)
    assert saved["step"] == 4
    assert torch.equal(saved["batches"][0]["pixels"], next(Drawn()(4)).pixels)
    assert [name for name, weight in saved["weights"].items() if weight.isnan().any()] == ["head.bias0"]


@pytest.mark.parametrize("given", [{"epoch_steps": 1}, {"epoch_steps": 9, "save_every": 1}])
def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path, given: dict[str, int]) -> None:
    """Also those of the last step, which no loss comes after."""
    recipe = TrainConfig(epochs=1, weight_decay=1e300, save_every=given.get("save_every", 500), **ALL)
    one = trainer(tmp_path, recipe, epoch_steps=given["epoch_steps"])
    with pytest.raises(GlipError, match="the weights after step 1 are not numbers, so they are not kept; start over"):
        one.run()
    assert not {"best", "last", "state.pt"} & {path.name for path in tmp_path.iterdir()}


def test_a_gradient_that_is_no_number_ends_it_too(tmp_path: Path) -> None:
    one = trainer(tmp_path, TrainConfig(epochs=1, **ALL))
    one.model.head.box.weight.register_hook(lambda gradient: gradient * float("inf"))
    tmp_path.mkdir(exist_ok=True)
    with pytest.raises(GlipError, match="the gradient of step 1 is not a number"):
        one.run()


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc")
def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path) -> None:
    """With a real limit on the address space; and the step is what it would have been."""
    given = {"epochs": 1, "epoch_steps": 1, "images": 48, "dropout": 0.0, "schedule": "constant"}
    free = run_here(tmp_path / "free", given)
    assert "out of memory" not in free
    tight = run_small(tmp_path / "tight", {**given, "limit": 150_000_000})
    assert "out of memory: batches of 24 from step 1 on, accumulated over 2" in tight
    expected, found = momenta(tmp_path / "free"), momenta(tmp_path / "tight")
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc")
def test_one_image_that_does_not_fit_ends_it(tmp_path: Path) -> None:
    given = {"epochs": 1, "epoch_steps": 1, "images": 2, "limit": 4_000_000}
    (process,) = start(tmp_path, given)
    assert process.wait() == 1
    assert f"{OutOfMemoryError.__name__}: out of memory on cpu with one image at a time" in process.stderr


def test_auto_step_and_early_stop_on_scripted_aps(tmp_path: Path) -> None:
    """Rates fall after 2 validations that are no better; the end comes after 3 below the best."""
    script = iter([0.1, 0.4, 0.3, 0.3, 0.2])
    one = trainer(tmp_path, TrainConfig(step_patience=1, patience=3, epochs=50, lr=1e-3, **ALL),
                  validate=lambda: {"AP": next(script)}, epoch_steps=1)  # fmt: skip
    tmp_path.mkdir(exist_ok=True)
    ending = one.run()
    assert (ending.step, ending.early, ending.complete, ending.best, ending.best_step) == (5, True, True, 0.4, 2)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["AP"] for row in rows if "AP" in row] == [0.1, 0.4, 0.3, 0.3, 0.2]
    assert [row["lr"] for row in rows if "lr" in row] == pytest.approx([1e-3] * 4 + [1e-4])
    cards = [json.loads((tmp_path / name / "config.json").read_bytes())["training"] for name in ("best", "last")]
    assert [card["step"] for card in cards] == [2, 5]
    assert [card["AP"] for card in cards] == [0.4, 0.2]


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []
    one = trainer(tmp_path, TrainConfig(ema=0.75, epochs=1, lr=1e-2, **ALL), epoch_steps=1,
                  validate=lambda: seen.append(weight.detach().clone()) or {"AP": 0.1})  # fmt: skip
    tmp_path.mkdir(exist_ok=True)
    weight = one.model.head.box.weight
    before = weight.detach().clone()
    one.run()
    assert not torch.equal(weight, before)
    torch.testing.assert_close(seen[0], 0.75 * before + 0.25 * weight.detach())
    from safetensors.torch import load_file

    assert torch.equal(load_file(tmp_path / "best" / "model.safetensors")["head.box.weight"], seen[0])


def test_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    for name, checkpointing in (("all", False), ("few", True)):
        recipe = TrainConfig(epochs=1, checkpointing=checkpointing, schedule="constant", **ALL)
        train(tmp_path / name, recipe, dropout=0.1, epoch_steps=1)
    expected, found = momenta(tmp_path / "all"), momenta(tmp_path / "few")
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_bfloat16_is_near(tmp_path: Path) -> None:
    for name, bf16 in (("full", False), ("half", True)):
        train(tmp_path / name, TrainConfig(epochs=1, bf16=bf16, schedule="constant", **ALL), epoch_steps=1)
    full, half = (read_rows(tmp_path / name / "metrics.jsonl")[0]["loss"] for name in ("full", "half"))
    assert half == pytest.approx(full, rel=0.02)
    assert half != full


def test_frozen_weights_stay(tmp_path: Path) -> None:
    before = {name: p.detach().clone() for name, p in small_model().named_parameters()}
    one = train(tmp_path, TrainConfig(mode="head", epochs=1, lr=1e-2))
    changed = {name for name, p in one.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(one.tuning.names)


def test_muon_leaves_alone_what_is_frozen_and_moves_the_rest(tmp_path: Path) -> None:
    before = {name: p.detach().clone() for name, p in small_model().named_parameters()}
    one = train(tmp_path, TrainConfig(optimizer="muon", epochs=1, lr=1e-3, weight_decay=0, freeze_backbone_at=2))
    changed = {name for name, p in one.model.named_parameters() if not torch.equal(p, before[name])}
    assert "backbone.layers.0.blocks.0.attn.qkv.weight" not in one.trained
    assert "backbone.layers.1.blocks.0.attn.qkv.weight" in changed
    # the bias of keys has no gradient but rounding's, and words that are not asked have none
    assert changed <= set(one.trained)
    assert len(changed) > 0.95 * len(one.trained)


def test_asked_to_stop_it_ends_after_the_step(tmp_path: Path) -> None:
    stop = threading.Event()
    recipe = TrainConfig(epochs=3, **ALL)

    def stop_at_three(row: dict[str, Any]) -> None:
        if row["step"] == 4:
            stop.set()

    one = trainer(tmp_path / "a", recipe, dropout=0.1, on_row=stop_at_three, stop=stop)
    (tmp_path / "a").mkdir()
    ending = one.run()
    assert (ending.step, ending.complete) == (4, False)
    again = trainer(tmp_path / "a", recipe, dropout=0.1)
    assert again.step == 4
    assert again.run().complete
    straight = train(tmp_path / "b", recipe, dropout=0.1)
    assert all(torch.equal(again.trained[name], straight.trained[name]) for name in straight.trained)


@dataclass(frozen=True)
class Damaged(Drawn):
    """Some of whose images could not be read."""

    def __call__(self, first: int) -> Iterator[Batch]:
        for number, batch in enumerate(super().__call__(first), first):
            yield replace(batch, unread=(("a.png: cut short", "b.png: gone"), ("a.png: cut short",), ())[number % 3])


def test_images_that_could_not_be_read_are_counted(tmp_path: Path) -> None:
    """Each is said once, and all stand in the last row, also where the training was stopped in between."""
    recipe = TrainConfig(epochs=3, **ALL)
    stop, said = threading.Event(), list[str]()

    def stop_at_four(row: dict[str, Any]) -> None:
        if row["step"] == 4:
            stop.set()

    (tmp_path / "a").mkdir()
    trainer(tmp_path / "a", recipe, source=Damaged(), notes=said.append, on_row=stop_at_four, stop=stop).run()
    assert said == ["a.png: cut short; other images take its place", "b.png: gone; other images take its place"]
    assert "unread" not in read_rows(tmp_path / "a" / "metrics.jsonl")[-1]
    ending = trainer(tmp_path / "a", recipe, source=Damaged(), notes=said.append).run()
    assert len(said) == 2
    assert ending.unread == {"a.png: cut short": 4, "b.png: gone": 2}
    assert read_rows(tmp_path / "a" / "metrics.jsonl")[-1] == {"step": 6, "epoch": 3.0, "unread": ending.unread}


def test_more_epochs_go_on_after_the_end(tmp_path: Path) -> None:
    """To the weights of a training that was asked for all of them at once."""
    more = {"schedule": "constant", **ALL}
    train(tmp_path / "run", TrainConfig(epochs=1, **more), dropout=0.1)
    again = train(tmp_path / "run", TrainConfig(epochs=2, **more), dropout=0.1)
    straight = train(tmp_path / "straight", TrainConfig(epochs=2, **more), dropout=0.1)
    assert again.step == straight.step == 4
    assert all(torch.equal(again.trained[name], straight.trained[name]) for name in straight.trained)


def test_more_epochs_go_on_after_ap_had_fallen(tmp_path: Path) -> None:
    script = iter([0.4, 0.3, 0.2, 0.5, 0.1, 0.6])

    def trained(epochs: int) -> TrainResult:
        recipe = TrainConfig(patience=2, epochs=epochs, **ALL)
        with TrainingFolder(tmp_path).held(recipe.to_dict(), resume=True):
            return trainer(tmp_path, recipe, validate=lambda: {"AP": next(script)}, epoch_steps=1).run()

    first, same, more = trained(9), trained(9), trained(5)
    assert (first.step, first.early) == (same.step, same.early) == (3, True)
    assert (more.step, more.early, more.best) == (5, False, 0.5)


def test_an_undefined_ap_is_no_number(tmp_path: Path) -> None:
    """It chooses no state, lowers no rate and ends nothing; the last state is kept."""
    (tmp_path / "run").mkdir()
    recipe = TrainConfig(patience=1, step_patience=0, epochs=3, **ALL)
    ending = trainer(tmp_path / "run", recipe, validate=lambda: {"AP": None}, epoch_steps=1).run()
    assert (ending.step, ending.early, ending.best, ending.best_step) == (3, False, 0.0, 0)
    assert [row["AP"] for row in read_rows(tmp_path / "run" / "metrics.jsonl") if "AP" in row] == [None] * 3
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()


@pytest.mark.parametrize("sides", [(64, 128), (128, 128)])
def test_shares_of_a_batch_that_are_padded_alike_have_its_gradients(sides: tuple[int, int]) -> None:
    """As two processes have them, in float64: exactly, where both shares have one size; else the padding shows."""
    model = small_model().double()
    drawn = [draw_scene(np.random.default_rng((3, i)), side, 128, PAIRS, most=3) for i, side in enumerate(sides)]
    shares = [batch_of([scene]) for scene in drawn]
    whole = batch_of(drawn)
    weights = normalisers(whole.targets, whole.matches)

    def gradients(batches: Sequence[Batch]) -> torch.Tensor:
        model.zero_grad()
        for one in batches:
            raw = model(one.pixels.double(), one.ids, one.mask)
            grounding_loss(raw, one.mask, one.targets, one.matches, weights).total.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    expected = gradients([whole])
    assert (gradients(whole.cut(2)) - expected).norm() < 1e-6 * expected.norm()
    alike = (gradients(shares) - expected).norm() < 1e-6 * expected.norm()
    assert alike == (sides[0] == sides[1])
