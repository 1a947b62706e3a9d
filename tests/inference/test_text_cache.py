"""A text is encoded once, however many a prompt has and however many images are asked; and few are kept."""

from __future__ import annotations

import copy
import pickle
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from glip_cli.inference import batch_detector as module
from glip_cli.inference.preprocess import preprocess
from glip_cli.model.config import GLIP_MINI
from glip_cli.model.glip import Glip
from glip_cli.options import DetectOptions
from glip_cli.utils.lru_cache import LastUsed

IMAGES = [draw_scene(np.random.default_rng(seed), 64, 64).image for seed in range(2)]
ROOM = 4
ASKED = {"size": (64, 64), "chunked_size": 1}
OPTIONS = DetectOptions(**ASKED, threshold=0.0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Detector:
    """Without fusion, as the models that read definitions; room for four texts instead of 256."""
    monkeypatch.setattr(module, "CACHED_TEXTS", ROOM)
    with torch.random.fork_rng(devices=[]):
        model = Glip(replace(GLIP_MINI, fusion=None))
    return Detector(model, Detector.load("glip-mini", device="cpu").tokenizer, "small@0", device="cpu")


def encoded(detector: Detector, labels: list[str], images: int) -> int:
    """How often BERT runs while so many images are asked for the labels, each a text of its own."""
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    with_hook = detector.model.text.register_forward_hook(count)
    try:
        compiled = detector.compile_prompt(labels, OPTIONS)
        assert len(compiled.chunks) == len(labels)
        list(detector.stream(IMAGES[:images], compiled, OPTIONS))
    finally:
        with_hook.remove()
    return runs


@pytest.mark.parametrize("count", [1, ROOM, ROOM + 1, 3 * ROOM])
def test_each_text_is_encoded_once(small: Detector, count: int) -> None:
    labels = [f"star {i}" for i in range(count)]
    assert encoded(small, labels, images=1) == count
    assert encoded(small, labels, images=2) == 0


def test_a_smaller_prompt_brings_the_cache_back_to_its_size(small: Detector) -> None:
    """Of a long prompt's texts the last stay, as room is for."""
    labels = [f"star {i}" for i in range(3 * ROOM)]
    encoded(small, labels, images=1)
    assert encoded(small, ["moon"], images=1) == 1
    assert encoded(small, labels[-ROOM + 1 :], images=1) == 0
    assert encoded(small, labels[:1], images=1) == 1


@pytest.fixture
def hasty() -> Iterator[None]:
    """Python changes from thread to thread as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_get_what_one_thread_gets(small: Detector, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The texts of all do not fit: what one thread makes is pushed out by the others."""
    monkeypatch.setattr(module, "CACHED_TEXTS", 2)
    compiled_prompts = [
        small.compile_prompt([f"star {4 * thread + i}" for i in range(2)], OPTIONS) for thread in range(6)
    ]
    seen = small.encode_images([preprocess(IMAGES[0], 32, 32)])
    alone = [small.detect_features(seen, compiled, OPTIONS) for compiled in compiled_prompts]
    with ThreadPoolExecutor(len(compiled_prompts)) as pool:
        for _ in range(8):
            assert (
                list(pool.map(lambda compiled: small.detect_features(seen, compiled, OPTIONS), compiled_prompts))
                == alone
            )


def test_a_store_that_threads_share_keeps_to_its_room(hasty: None) -> None:
    """With a store so small each call pushes out what another thread is about to take."""
    store: LastUsed[int, int] = LastUsed()
    asked = [random.Random(0).randrange(6) for _ in range(6_000)]

    def same(key: int) -> bool:
        return store.get(key, lambda: key, room=1) == key

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(same, asked, chunksize=250))
    assert len(store) == 1


def test_who_wants_another_value_does_not_wait() -> None:
    store: LastUsed[str, str] = LastUsed()
    begun, go = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go.wait(60)
        return "slow"

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(store.get, "a", slow, 2)
        assert begun.wait(60)
        second = pool.submit(store.get, "a", lambda: "made twice", 2)
        assert pool.submit(store.get, "b", lambda: "quick", 2).result(60) == "quick"
        go.set()
        assert [first.result(60), second.result(60)] == ["slow", "slow"]


def test_what_could_not_be_made_is_made_the_next_time() -> None:
    store: LastUsed[str, int] = LastUsed()
    with pytest.raises(ZeroDivisionError):
        store.get("a", lambda: 1 // 0, 2)
    assert len(store) == 0
    assert store.get("a", lambda: 1, 2) == 1


def test_a_detector_can_be_copied(small: Detector) -> None:
    assert copy.deepcopy(small)(IMAGES[0], "star", **ASKED) == small(IMAGES[0], "star", **ASKED)
    assert pickle.loads(pickle.dumps(small._texts)).get("new", lambda: 7, room=1) == 7
