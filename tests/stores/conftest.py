"""An S3 server that is started once, and a bucket for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from glip_cli.data import stores
from glip_cli.runs import read_image
from tests.stores.s3 import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    for package in ("s3fs", "moto", "flask_cors"):
        pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[dev]'")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def fresh() -> Iterator[None]:
    """For another environment: what asks a store is made once in a process."""
    stores._opened.cache_clear()
    yield
    stores._opened.cache_clear()


@pytest.fixture
def s3(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """With an empty bucket, and found by what this process and those of its own make of the environment."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for module in (stores, read_image):
        monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    server.put({})
    yield server
    server.proxy.hold = None
    assert not server.proxy.cuts, "a connection was to be cut that no one made"
    assert not server.proxy.put_cuts
    assert not server.proxy.busy
