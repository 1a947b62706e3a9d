"""Drawn scenes as training data: the same whoever draws them, never twice, and what is said of them is true."""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.data.synthetic import COLOURS, HELD_OUT, PATTERNS, SHAPES, SIZES, Thing
from glip_cli.errors import UsageError
from glip_cli.model.config import GLIP_MINI
from glip_cli.training.batches import Batch, Batches, feed
from glip_cli.training.sampler import ALIKE, DrawnScenes, draw_sample, parse_scenes, sample_source
from glip_cli.training.transforms import Augmentation
from tests.training.examples import MINI, detection_set, images, mini_tokenizer

TOKENIZER = mini_tokenizer()
PLAIN = Augmentation((160,), 320)


def stream(size: int = 4, count: int = 20, **more: object) -> Batches:
    return Batches([DrawnScenes(count)], [1], TOKENIZER, GLIP_MINI, size, 7, augmentation=PLAIN, **more)  # type: ignore[arg-type]


def same(a: Batch, b: Batch) -> bool:
    pairs = [(a.pixels, b.pixels), (a.ids, b.ids), (a.mask, b.mask)]
    for mine, other in zip(a.targets, b.targets, strict=True):
        pairs += [(mine.boxes, other.boxes), (mine.tokens, other.tokens)]
    return a.images == b.images and all(torch.equal(*pair) for pair in pairs)


def test_workers_and_the_beginning_do_not_change_it() -> None:
    whole = list(islice(stream(), 6))
    assert all(map(same, whole[2:], islice(feed(stream().starting(2), 2), 4)))


def test_processes_share_it() -> None:
    together, ranks = stream(8), [stream(4, rank=rank, world=2) for rank in (0, 1)]
    for k in range(3):
        halves = [one.batch(k) for one in ranks]
        assert sum((half.images for half in halves), ()) == together.batch(k).images
        boxes = [target.boxes for half in halves for target in half.targets]
        assert all(map(torch.equal, boxes, (target.boxes for target in together.batch(k).targets)))


def test_every_epoch_has_new_scenes() -> None:
    batches = stream(4, count=4)
    assert batches.per_round == 1
    shown = [batches.batch(k).pixels for k in range(4)]
    assert not any(a.shape == b.shape and torch.equal(a, b) for i, a in enumerate(shown) for b in shown[:i])


def test_a_batch_of_sixteen_has_no_padding() -> None:
    shapes = set()
    for number in range(6):
        batch = stream(ALIKE).batch(number)
        shapes.add(tuple(batch.pixels.shape[2:]))
        assert batch.pixels[:, :, -1, -1].abs().gt(0).any(1).all()
    assert shapes == {(160, 160), (160, 192), (192, 160)}


def describes(phrase: str, thing: Thing) -> bool:
    """By the words alone."""
    words = {*SHAPES, *COLOURS, *PATTERNS, *SIZES, "thing"}
    mine = {thing.shape, thing.colour, thing.pattern, thing.size, "thing"}
    told = [word for word in phrase.split() if word not in ("a", "the")]
    return all(word in mine for word in told) and all(word in words for word in told)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_asked_is_true(number: int) -> None:
    scene, asked = draw_sample(3, number, TOKENIZER, 256)
    things = scene.things
    for thing, positive in zip(things, asked.positive, strict=True):
        fitting = {i for i, label in enumerate(asked.prompt.labels) if describes(label, thing)}
        assert set(positive) == fitting
    sample = sample_source(DrawnScenes(1), TOKENIZER, 256, 3)(0, number, np.random.default_rng(0))
    assert sample.boxes.tolist() == [list(thing.box) for thing in things]
    held_out = {" ".join(pair) for pair in HELD_OUT}
    assert not any(pair in label for pair in held_out for label in asked.prompt.labels)
    assert not {thing.pair for thing in things} & set(HELD_OUT)


def test_all_kinds_of_prompts_occur() -> None:
    asked = [draw_sample(3, number, TOKENIZER, 256)[1] for number in range(0, 1600, 16)]
    long = [one for one in asked if len(one.prompt.labels) >= 20]
    assert 0.05 < len(long) / len(asked) < 0.3
    assert any(one.prompt.is_caption for one in asked)
    assert any(not positive for one in asked for positive in one.positive)  # things that nothing names
    assert any(len(positive) > 1 for one in asked for positive in one.positive)
    assert any(len(set(sum(one.positive, ()))) < len(one.prompt.labels) for one in asked)  # names of nothing


def test_files_and_scenes_share_a_batch(tmp_path: Path) -> None:
    things = detection_set(images(tmp_path) / "a.png", [[0, 0, 20, 20]], [1], ("star", "disk"), copies=20)
    batch = Batches([things, DrawnScenes(20)], [1, 1], TOKENIZER, GLIP_MINI, 8, 0).batch(0)
    drawn = [name for name in batch.images if name.startswith("drawn scene")]
    assert 0 < len(drawn) < 8


def test_how_it_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_scenes(Path("scenes:1000")) == DrawnScenes(1000)
    assert parse_scenes(Path("photos")) is None
    for text in ("scenes", "scenes:", "scenes:0", "scenes:many", "scenes:-5", "scenes:1e3"):
        with pytest.raises(UsageError, match=f"train {text}: say how many drawn scenes an epoch has"):
            parse_scenes(Path(text))
    os.mkdir("scenes")
    assert parse_scenes(Path("scenes")) is None  # a folder of that name is a folder


def test_the_embedded_vocabulary_is_what_the_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(MINI.parents[2] / "scripts"))
    monkeypatch.delitem(sys.modules, "mini_data", raising=False)
    import mini_data

    assert (MINI / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1] == mini_data.vocabulary()
