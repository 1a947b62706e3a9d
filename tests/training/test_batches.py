"""The stream is the same however it is cut, and the network learns from it."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glip_cli.checkpoints.load import load
from glip_cli.errors import DataError, GlipError, ImageError
from glip_cli.model.config import GLIP_MINI
from glip_cli.training import loss
from glip_cli.training.assign import match
from glip_cli.training.batches import Batch, Batches, feed, level_sizes, pad_ids
from glip_cli.training.dataset import DetectionItem, TrainSet, read_train_set
from glip_cli.training.loss import grounding_loss
from glip_cli.training.transforms import Augmentation
from tests.shared import shared
from tests.training.examples import MINI, detection_set, grounding_item, mini_tokenizer

NAMES = ("star", "disk", "ring")
TOKENIZER = mini_tokenizer()
COUNT = 7


@pytest.fixture(scope="module")
def train_set(tmp_path_factory: pytest.TempPathFactory) -> TrainSet:
    """Seven images, each of one grey level."""
    folder = tmp_path_factory.mktemp("images")
    items = []
    for i in range(COUNT):
        Image.new("RGB", (60 + i, 50), (20 * i,) * 3).save(folder / f"{i}.png")
        boxes = np.array([[5, 5, 25, 30], [20, 10, 50, 45]][: i % 3], np.float32).reshape(-1, 4)
        items.append(DetectionItem(folder / f"{i}.png", boxes, np.arange(len(boxes)), i))
    return TrainSet("seven", NAMES, tuple(items))


def stream(train_set: TrainSet, size: int = 2, seed: int = 3, **more: object) -> Batches:
    return Batches([train_set], [1.0], TOKENIZER, GLIP_MINI, size, seed, **more)  # type: ignore[arg-type]


def same(a: Batch, b: Batch) -> bool:
    pairs = [(a.pixels, b.pixels), (a.ids, b.ids), (a.mask, b.mask)]
    for mine, other in zip(a.targets, b.targets, strict=True):
        pairs += [(mine.boxes, other.boxes), (mine.tokens, other.tokens)]
    for one, its in zip(a.matches, b.matches, strict=True):
        pairs += [(one.where, its.where), (one.box, its.box), (one.centerness, its.centerness)]
    return a.images == b.images and all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_do_not_change_it(train_set: TrainSet, workers: int) -> None:
    batches = stream(train_set)
    made = list(islice(feed(batches.starting(2), workers), 7))
    assert all(same(batch, batches.batch(2 + k)) for k, batch in enumerate(made))


def test_it_begins_anywhere(train_set: TrainSet) -> None:
    whole = list(islice(stream(train_set), 9))
    assert all(map(same, whole[4:], islice(stream(train_set, first=4), 5)))
    assert not same(whole[0], whole[4])
    assert not same(whole[0], stream(train_set, seed=4).batch(0))


def test_ranks_share_it(train_set: TrainSet) -> None:
    """Rank r of 2 has the halves of the batches of one process with twice the size."""
    together, ranks = stream(train_set, 4), [stream(train_set, 2, rank=rank, world=2) for rank in (0, 1)]
    for k in range(5):
        halves = [one.batch(k) for one in ranks]
        assert sum((half.images for half in halves), ()) == together.batch(k).images
        boxes = [target.boxes for half in halves for target in half.targets]
        assert all(map(torch.equal, boxes, (target.boxes for target in together.batch(k).targets)))


def test_every_round_shows_every_image_once_in_a_new_order(train_set: TrainSet) -> None:
    shown = [image for batch in islice(stream(train_set, 1), 3 * COUNT) for image in batch.images]
    rounds = [tuple(shown[i : i + COUNT]) for i in (0, COUNT, 2 * COUNT)]
    assert all(len(set(one)) == COUNT for one in rounds)
    assert len(set(rounds)) == 3


def test_every_round_shows_other_views(train_set: TrainSet) -> None:
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for batch in islice(stream(train_set, 1), 6 * COUNT):
        shapes.setdefault(batch.images[0], set()).add(tuple(batch.pixels.shape))
    assert all(len(seen) > 1 for seen in shapes.values())


def test_sets_are_mixed(train_set: TrainSet) -> None:
    batches = Batches([train_set, train_set], [2, 2], TOKENIZER, GLIP_MINI, 1, 0)
    order = [int(which) for which, _ in batches._shuffled(0)]
    assert order not in (sorted(order), sorted(order, reverse=True))


def test_boxes_that_vanish_take_their_tokens_along(train_set: TrainSet) -> None:
    """The first of three is a pixel high once it is resized; the others keep their own names."""
    image = train_set.items[0].image  # 60 x 50
    things = detection_set(image, [[0, 0, 20, 2], [0, 0, 20, 20], [5, 5, 30, 30]], [0, 1, 2], NAMES)
    batches = Batches([things], [1], TOKENIZER, GLIP_MINI, 1, 0, augmentation=Augmentation((50,), 60, flip=0))
    (target,) = batches.batch(0).targets
    assert target.boxes.tolist() == [[0, 0, 19, 19], [5, 5, 29, 29]]
    tokens = TOKENIZER.encode("star. disk. ring").tokens
    named = [[tokens[i] for i in row.nonzero().flatten()] for row in target.tokens]
    assert ["".join(row).replace("##", "") for row in named] == ["disk", "ring"]


def test_boxes_are_assigned_where_batches_are_made(train_set: TrainSet) -> None:
    """For the locations of the padded batch, as the loss wants them; the loss itself assigns nothing."""
    batch = next(feed(stream(train_set, 4), 1))
    assert level_sizes(batch.pixels)[0] == (batch.pixels.shape[2] // 8, batch.pixels.shape[3] // 8)
    for target, made in zip(batch.targets, batch.matches, strict=True):
        expected = match(level_sizes(batch.pixels), target.boxes)
        assert all(map(torch.equal, vars(made).values(), vars(expected).values()))
    assert "assign" not in vars(loss)


def test_per_round(train_set: TrainSet) -> None:
    assert stream(train_set, 2).per_round == 4
    assert stream(train_set, 7).per_round == 1
    assert stream(train_set, 2, world=2).per_round == 2


def test_weights(train_set: TrainSet) -> None:
    """2 shows all twice; 0.5 a part (4 of 7, rounded to even), another one each time; 1.5 all once and a part twice."""
    other = TrainSet("other", NAMES, tuple(train_set.items[:2]))
    for weight, counts in ((2.0, {2: COUNT}), (0.5, {1: 4}), (1.5, {1: 4, 2: 3})):
        batches = Batches([train_set, other], [weight, 1], TOKENIZER, GLIP_MINI, 1, 0)
        length = batches.round_length
        assert length == round(weight * COUNT) + 2
        kinds = [[int(which) for which, _ in batches._shuffled(k)] for k in range(2)]
        assert all(sorted(one) == [0] * (length - 2) + [1, 1] for one in kinds)
        drawn = [Counter(int(item) for which, item in batches._shuffled(k) if which == 0) for k in range(4)]
        assert all(Counter(one.values()) == counts for one in drawn)
        assert weight == 2 or len({tuple(sorted(one.items())) for one in drawn}) > 1


def test_targets(train_set: TrainSet, tmp_path: Path) -> None:
    """Text is padded to a multiple of 8; two kinds of sets share a batch; their tokens are told apart."""
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 50)).save(path)
    item = grounding_item(path, "a red star and two large moon on a square", [[(2, 10)], [(15, 29)]])
    captions = TrainSet("captions", (), (item,))
    things = detection_set(path, [[0, 0, 20, 20]], [1], NAMES)
    plain = Augmentation((50,), 60, flip=0)
    batch = Batches([captions, things], [1, 1], TOKENIZER, GLIP_MINI, 2, 0, augmentation=plain).batch(0)
    assert batch.ids.shape == batch.mask.shape == (2, 16)
    assert batch.pixels.shape == (2, 3, 64, 64)
    by_count = sorted(zip(batch.targets, batch.mask, strict=True), key=lambda pair: len(pair[0].boxes))
    (thing, thing_mask), (caption, caption_mask) = by_count
    assert thing.boxes.tolist() == [[0, 0, 19, 19]]
    assert caption.boxes.tolist() == [[10, 10, 29, 39], [10, 10, 30, 39]]
    assert caption.tokens.nonzero().tolist() == [[0, 2], [0, 3], [1, 5], [1, 6], [1, 7]]
    assert not (thing.tokens & ~thing_mask).any()
    assert not (caption.tokens & ~caption_mask).any()


def test_names_that_did_not_fit(train_set: TrainSet) -> None:
    """Their boxes are background: a row without a token would count as a positive that is none."""
    names = ("star", "ring", "circle", "heart", "moon", "cross")
    config = replace(GLIP_MINI, text=replace(GLIP_MINI.text, window=8))  # [CLS] a . b . c [SEP]
    crowd = detection_set(train_set.items[0].image, [[i, 0, 30, 30] for i in range(6)], range(6), names)
    batch = Batches([crowd], [1], TOKENIZER, config, 1, 0).batch(0)
    assert len(batch.targets[0].boxes) == 3
    assert batch.targets[0].tokens.sum(1).tolist() == [1, 1, 1]


def test_global_random_state_is_left_alone(train_set: TrainSet) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    next(feed(stream(train_set), 1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("copies", "tried"), [(1, 1), (30, 16)])
def test_images_that_all_went_away_are_one_line(tmp_path: Path, workers: int, copies: int, tried: int) -> None:
    lost = detection_set(tmp_path / "gone.png", [], [], NAMES, copies)
    with pytest.raises(ImageError, match=rf"so many in a row \({tried}\) cannot be read") as caught:
        next(feed(stream(lost), workers))
    assert "gone.png" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked, and know no patch")
def test_a_process_that_loads_batches_and_is_killed_is_one_line(
    train_set: TrainSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system does it for want of memory, also of shared memory."""
    monkeypatch.setattr(Batches, "batch", lambda self, number: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(
        GlipError, match=r"a process that loads batches has died \(DataLoader worker .*; --workers 0"
    ) as caught:
        next(feed(stream(train_set), 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"no image", None])
def test_another_image_takes_the_place_of_one_that_cannot_be_read(
    train_set: TrainSet, tmp_path: Path, damage: bytes | None
) -> None:
    """Wherever the stream begins and whoever prepares it, the same one; all other places hold what they held."""
    gone = tmp_path / "gone.png"
    if damage is not None:
        gone.write_bytes(damage)
    items = list(train_set.items)
    items[3] = replace(items[3], image=gone)
    odd = replace(train_set, items=tuple(items))
    whole = [stream(train_set, 1).batch(i) for i in range(2 * COUNT)]
    found = [stream(odd, 1).batch(i) for i in range(2 * COUNT)]
    missed = [i for i, batch in enumerate(found) if batch.unread]
    assert missed == [i for i, batch in enumerate(whole) if batch.images[0].endswith("3.png")]
    assert len(missed) == 2  # once in each round
    for i, (mine, other) in enumerate(zip(found, whole, strict=True)):
        assert same(mine, other) == (i not in missed)
        assert str(gone) not in mine.images
    assert all(len(found[i].unread) == 1 and str(gone) in found[i].unread[0] for i in missed)
    again = list(islice(feed(stream(odd, 1).starting(missed[0]), 1), COUNT))
    assert all(map(same, again, found[missed[0] :]))
    assert [batch.unread for batch in again] == [batch.unread for batch in found[missed[0] :][:COUNT]]


def test_without_any_image() -> None:
    with pytest.raises(DataError, match="no image is left"):
        stream(TrainSet("none", NAMES, ()))


def test_pad_ids() -> None:
    ids, mask = pad_ids([[2, 5, 3], [2] * 9])
    assert ids.shape == mask.shape == (2, 16)
    assert mask.sum(1).tolist() == [3, 9]
    assert ids[0, :4].tolist() == [2, 5, 3, 0]


def test_the_network_learns_from_a_batch(train_set: TrainSet) -> None:
    learn(stream(train_set, 4).batch(0))


def test_the_network_learns_from_real_cells() -> None:
    cells, _ = read_train_set(shared("data/bccd") / "train.json")
    batch = stream(cells, 2).batch(0)
    assert all(len(target.boxes) > 3 for target in batch.targets)
    learn(batch)


def learn(batch: Batch) -> None:
    model = load(MINI).model.train()
    assert model.config == GLIP_MINI
    losses = grounding_loss(model(batch.pixels, batch.ids, batch.mask), batch.mask, batch.targets, batch.matches)
    assert losses.total.isfinite()
    assert losses.token > 0
    assert losses.box > 0
    losses.total.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert norm.isfinite()
    assert norm > 0
