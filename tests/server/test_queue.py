"""A bounded queue: what is too much is refused, who goes away frees the place, what is in work is finished."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import torch
from PIL import Image
from starlette.requests import Request
from starlette.types import Message, Receive

from glip_cli.detector import Detector
from glip_cli.errors import OutOfMemoryError
from glip_cli.options import DetectOptions
from glip_cli.server import run
from glip_cli.server.app import while_wanted
from glip_cli.server.errors import RequestError
from glip_cli.server.metrics import Metrics
from glip_cli.server.options import ServeOptions
from glip_cli.server.queue import DetectQueue
from tests.server.serving import serving
from tests.server.test_detect import CODE, scene_image
from tests.server.test_hostile import asked, post


class Held(Detector):
    """glip-mini that detects when it may.

    Attributes:
        go: set, it goes on.
        begun: released once for each batch that it begins.
        batches, texts: the sizes of the batches, and what they were asked, in order.
    """

    is_small = False  # one thread for the model, whatever the machine has
    go: threading.Event
    begun: threading.Semaphore
    batches: list[int]
    texts: list[str]

    @classmethod
    def of(cls, detector: Detector) -> Held:
        held = cls(detector.model, detector.tokenizer, detector.name, "cpu")
        held.go, held.begun = threading.Event(), threading.Semaphore(0)
        held.batches, held.texts = [], []
        return held

    def encode_images(self, batch: Any) -> Any:
        self.batches.append(len(batch))
        self.begun.release()
        assert self.go.wait(60)
        return super().encode_images(batch)

    def _predict_chunks(self, seen: Any, parts: Any, *more: Any) -> Any:
        self.texts += [part.prompt.text for part in parts]
        return super()._predict_chunks(seen, parts, *more)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As glip-mini has it, whose answers are compared with those of `Held`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def held(detector: Detector) -> Iterator[Held]:
    made = Held.of(detector)
    yield made
    made.go.set()


def ask(url: str) -> requests.Response:
    return requests.post(f"{url}/detect", json={"image": CODE, "texts": "star"}, timeout=60)


def wait_for(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 20 s")


def waiting(url: str) -> float:
    text = requests.get(f"{url}/metrics", timeout=60).text
    return float(next(line for line in text.splitlines() if line.startswith("glip_queue_images ")).split()[1])


def test_a_full_queue_says_when_to_try_again(held: Held) -> None:
    with serving(held, ServeOptions(port=0, queue=2)) as url, ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(ask, url) for _ in range(2)]
        wait_for(lambda: waiting(url) == 2)
        refused = ask(url)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error"] == "2 images are waiting or in work, and 2 may be; try again later"
        assert requests.get(f"{url}/health", timeout=60).status_code == 200
        held.go.set()
        assert [answer.result().status_code for answer in answers] == [200, 200]
        assert ask(url).status_code == 200
        several = [{"image": CODE, "texts": "star"}] * 3
        assert requests.post(f"{url}/detect", json=several, timeout=60).status_code == 413  # it could never be taken


def test_a_body_that_comes_slowly_has_a_place(detector: Detector) -> None:
    """Else any number of uploads at once could fill the memory."""
    with serving(detector, ServeOptions(port=0, queue=1)) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port)) as slow:
            slow.sendall(asked()[:-1000])
            wait_for(lambda: waiting(url) == 1)
            assert ask(url).status_code == 503
        wait_for(lambda: waiting(url) == 0)
        assert ask(url).status_code == 200


def test_a_client_that_goes_away_frees_its_places(held: Held) -> None:
    with serving(held, ServeOptions(port=0, queue=3)) as url:
        place = urlsplit(url)
        gone = [socket.create_connection((place.hostname, place.port)) for _ in range(3)]
        for sock in gone:
            sock.sendall(asked().replace(b"Connection: close", b"Connection: keep-alive"))
        wait_for(lambda: waiting(url) == 3)
        assert held.begun.acquire(timeout=20)
        for sock in gone:
            sock.close()
        wait_for(lambda: waiting(url) == 0)
        held.go.set()
        assert ask(url).status_code == 200
        assert len(held.batches) == 2  # the one that was in work, and the last


async def at_once() -> Message:
    return {"type": "http.disconnect"}


async def never() -> Message:
    await asyncio.sleep(60)
    raise AssertionError


@pytest.mark.parametrize(
    ("receive", "seconds", "said"), [(at_once, 60, "the client has gone"), (never, 0.05, "not done within 0.05 s")]
)
def test_work_has_ended_before_its_places_are_free(receive: Receive, seconds: float, said: str) -> None:
    """Else the model could begin an image that nothing waits for, in a place that was given to another."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)  # cancelled, a request has steps left, in which its images leave the queue
            ended.append(True)

    async def answer() -> None:
        try:
            await while_wanted(Request({"type": "http"}, receive), work(), seconds)
        finally:
            assert ended

    with pytest.raises(RequestError, match=said):
        asyncio.run(answer())


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_client_that_goes_away_while_it_sends_is_no_fault_of_the_server(detector: Detector, kind: str) -> None:
    with serving(detector) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port)) as sock:
            head = f"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 999\r\n\r\n"
            sock.sendall(head.encode() + b"--x")
        wait_for(lambda: 'path="/detect",status="499"' in requests.get(f"{url}/metrics", timeout=60).text)


def test_a_request_has_a_time_limit(held: Held) -> None:
    with serving(held, ServeOptions(port=0, time_limit=0.5)) as url:
        late = ask(url)
        assert late.status_code == 504
        assert late.json()["error"].startswith("not done within 0.5 s")
        wait_for(lambda: waiting(url) == 0)
        held.go.set()
        wait_for(lambda: ask(url).status_code == 200)


LONG = {
    "texts": {"image": CODE, "labels": [f"heart {i}" for i in range(12)], "chunked_size": 1},
    "crops": {"image": CODE, "texts": "heart", "tile": 64},
}


@pytest.mark.parametrize("kind", LONG)
def test_what_is_not_wanted_any_more_is_ended_on_the_way(held: Held, kind: str) -> None:
    """Else one image in thousands of crops, or a prompt of as many texts, would hold the model for an hour."""
    with serving(held, ServeOptions(port=0)) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port)) as gone:
            gone.sendall(post(json.dumps(LONG[kind]).encode(), "application/json"))
            assert held.begun.acquire(timeout=20)
        wait_for(lambda: waiting(url) == 0)
        held.go.set()
        assert ask(url).status_code == 200
    assert len(held.texts) == 2  # one of the image that is not wanted, and one of `ask`


@pytest.mark.parametrize("begin", [b"", b"GET /health HTTP/1.1\r\nHost: local"])
def test_a_connection_without_a_request_is_closed(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    """Else a few thousand of them would leave no file for those who ask."""
    monkeypatch.setattr(run, "HEADER_SECONDS", 0.1)
    with serving(detector) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), 20) as idle:
            idle.sendall(begin)
            assert idle.recv(1) == b""


def test_a_connection_with_a_request_stays_open(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "HEADER_SECONDS", 0.02)
    with serving(held, ServeOptions(port=0)) as url, ThreadPoolExecutor(1) as client:
        answer = client.submit(ask, url)
        assert held.begun.acquire(timeout=20)
        time.sleep(0.3)
        held.go.set()
        assert answer.result().status_code == 200


def test_a_stop_finishes_what_is_in_work(held: Held) -> None:
    with ThreadPoolExecutor(3) as clients:
        with serving(held, ServeOptions(port=0)) as url:
            answers = [clients.submit(ask, url) for _ in range(3)]
            wait_for(lambda: waiting(url) == 3)
            threading.Timer(0.3, held.go.set).start()
        assert [answer.result().status_code for answer in answers] == [200] * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_signal_with_work_in_flight(number: signal.Signals) -> None:
    """The process as it is started from a shell: it answers what it has, and leaves with 0."""
    command = [sys.executable, "-m", "glip_cli", "serve", "-m", "glip-nano", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert line.startswith("glip serve: http://127.0.0.1:"), line
        url = line.split()[-1]
        with ThreadPoolExecutor(4) as clients:
            answers = [clients.submit(ask, url) for _ in range(4)]
            wait_for(lambda: waiting(url) > 0 or all(answer.done() for answer in answers))
            server.send_signal(number)
            assert [answer.result().status_code for answer in answers] == [200] * 4
        assert server.wait(60) == 0
        assert server.stderr.read() == ""
    with pytest.raises(requests.ConnectionError):
        ask(url)


# ------------------------------------------------------------------------------------------------------- as on a GPU


@contextmanager
def queue_of(detector: Detector, together: int) -> Iterator[DetectQueue]:
    """A queue that takes several images at once, as on a GPU."""
    queue = DetectQueue(detector, 64, Metrics())
    queue.together, queue.gather_seconds = together, 0.5
    yield queue
    queue.close()


def detect_all(queue: DetectQueue, images: list[Image.Image], prompts: list[str]) -> list[Any]:
    async def run() -> list[Any]:
        queue._ahead = asyncio.Semaphore(64)
        compiled = {text: queue.detector.compile_prompt(text, OPTIONS) for text in prompts}
        calls = [
            queue.detect(lambda image=image: image, compiled[text], OPTIONS)  # type: ignore[misc]
            for image, text in zip(images, prompts, strict=True)
        ]
        return [found for found, _ in await asyncio.gather(*calls)]

    return asyncio.run(run())


OPTIONS = DetectOptions(threshold=0.05)
PROMPTS = ["circle . star", "red square", "circle . star", "heart"] * 2


def images() -> list[Image.Image]:
    return [scene_image(seed, 160 if seed % 4 else 320, 160) for seed in range(8)]


def test_batches_are_of_one_shape_and_answers_each_ones_own(detector: Detector) -> None:
    held = Held.of(detector)
    held.go.set()
    with queue_of(held, 8) as queue:
        found = detect_all(queue, images(), PROMPTS)
    assert sorted(held.batches) == [2, 6]
    for image, text, answer in zip(images(), PROMPTS, found, strict=True):
        alone = detector(image, text, threshold=0.05)
        assert answer.names == alone.names
        torch.testing.assert_close(torch.tensor(answer.boxes), torch.tensor(alone.boxes), rtol=0, atol=2e-2)


def test_a_small_model_detects_in_an_image_on_each_thread(detector: Detector) -> None:
    class Meeting(Detector):
        both = threading.Barrier(2, timeout=60)

        def encode_images(self, batch: Any) -> Any:
            self.both.wait()
            assert torch.get_num_threads() == 1
            return super().encode_images(batch)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with queue_of(Meeting(detector.model, detector.tokenizer, detector.name, "cpu"), 1) as queue:
            found = detect_all(queue, images()[:4], PROMPTS[:4])
    finally:
        torch.set_num_threads(threads)
    for image, text, answer in zip(images(), PROMPTS, found, strict=False):
        np.testing.assert_array_equal(answer.boxes, detector(image, text, threshold=0.05).boxes)


class Small(Held):
    """Its memory holds two images."""

    def encode_images(self, batch: Any) -> Any:
        if len(batch) > 2:
            raise OutOfMemoryError("no room")
        return super().encode_images(batch)


def test_a_batch_that_does_not_fit_is_halved(detector: Detector) -> None:
    small = Small.of(detector)
    small.go.set()
    with queue_of(small, 8) as queue:
        found = detect_all(queue, images(), PROMPTS)
    assert sorted(small.batches) == [1, 1, 2, 2, 2]
    assert [one.labels for one in found] == [tuple(text.split(" . ")) for text in PROMPTS]


class Stepping(Held):
    """Each batch takes one of `steps`."""

    steps: threading.Semaphore

    def encode_images(self, batch: Any) -> Any:
        self.begun.release()
        assert self.steps.acquire(timeout=60)
        return Detector.encode_images(self, batch)


def test_other_images_are_detected_between_the_crops_of_one(detector: Detector) -> None:
    stepping = Stepping.of(detector)
    stepping.steps = threading.Semaphore(0)
    image, compiled = scene_image(0), stepping.compile_prompt("star", OPTIONS)

    async def ask_both(queue: DetectQueue) -> None:
        in_crops = asyncio.ensure_future(queue.detect(lambda: image, compiled, replace(OPTIONS, tile=64)))
        assert await asyncio.to_thread(stepping.begun.acquire, True, 20)
        alone = asyncio.ensure_future(queue.detect(lambda: image, compiled, OPTIONS))
        async with asyncio.timeout(60):
            while not queue._jobs:
                await asyncio.sleep(0.01)
            stepping.steps.release(2)  # the first crop, and the other image
            await alone
            assert not in_crops.done()
            stepping.steps.release(100)
            assert (await in_crops)[0] == detector(image, "star", threshold=0.05, tile=64)

    with queue_of(stepping, 1) as queue:
        try:
            asyncio.run(ask_both(queue))
        finally:
            stepping.steps.release(100)
