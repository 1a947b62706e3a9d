"""Images by URL, where `--allow-urls` allows them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from glip_cli.data import download
from glip_cli.detector import Detector
from glip_cli.server.options import ServeOptions
from tests.server.serving import serving
from tests.server.test_detect import CODE, SCENE


class Site(ThreadingHTTPServer):
    """Gives the scene; below /slow only when it may."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.go = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            assert self.server.go.wait(60)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(SCENE if self.path.endswith(".png") else b"<html>")

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    threading.Thread(target=site.serve_forever, args=(0.05,)).start()
    yield site
    site.go.set()
    site.shutdown()
    site.server_close()


@pytest.fixture
def url(detector: Detector) -> Iterator[str]:
    with serving(detector, ServeOptions(port=0, allow_urls=True)) as address:
        yield address


def ask(url: str, image: str) -> requests.Response:
    return requests.post(f"{url}/detect", json={"image": image, "texts": "star", "threshold": 0.01}, timeout=60)


def test_a_private_address_is_refused(url: str, site: Site) -> None:
    answer = ask(url, f"{site.url}/a.png")
    assert answer.status_code == 422
    assert "its address is not of the public internet" in answer.json()["error"]


def test_a_public_one_is_detected_in(url: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "is_public", lambda address: True)  # this machine has no way to a public one
    answer = ask(url, f"{site.url}/a.png")
    assert answer.status_code == 200, answer.text
    assert answer.json()["detections"] == ask(url, CODE).json()["detections"] != []
    assert ask(url, f"{site.url}/page").status_code == 422


def test_a_slow_site_keeps_no_other_request_waiting(url: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "is_public", lambda address: True)
    with ThreadPoolExecutor(12) as clients:
        slow = [clients.submit(ask, url, f"{site.url}/slow/{i}.png") for i in range(12)]
        assert ask(url, CODE).status_code == 200
        assert not any(answer.done() for answer in slow)
        site.go.set()
        assert [answer.result().status_code for answer in slow] == [200] * 12
