"""hf:// by huggingface_hub's own file system, which asks a server of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from glip_cli.data import stores
from glip_cli.data.sources import expand
from glip_cli.errors import UnavailableError, UsageError
from tests.stores.hub import Hub
from tests.stores.s3 import scene
from tests.stores.test_archives import ROWS, STRUCT, parquet_of

FILES = {
    "x/b.png": scene(1), "x/a.png": scene(2), "x/sub/c.png": scene(3), "x/.hidden.png": b"", "README.md": b"",
    "data/train-0.parquet": parquet_of(ROWS, STRUCT),
}  # fmt: skip


@pytest.fixture
def hub(fresh: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(FILES)
    for name, value in {"HF_TOKEN": "hf_s3cret", "no_proxy": "*"}.items():
        monkeypatch.setenv(name, value)
    library = stores._LIBRARIES["hf"]._replace(options={"endpoint": hub.url})  # HF_ENDPOINT is read once, on import
    monkeypatch.setitem(stores._LIBRARIES, "hf", library)
    yield hub
    hub.close()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x/", ["x/a.png", "x/b.png", "x/sub/c.png"]),
        ("x", ["x/a.png", "x/b.png", "x/sub/c.png"]),
        ("", ["x/a.png", "x/b.png", "x/sub/c.png"]),
        ("x/*.png", ["x/a.png", "x/b.png"]),
        ("x/b.png", ["x/b.png"]),
        ("data/*.parquet", [f"data/train-0.parquet/{row}" for row in range(5)]),
    ],
)
def test_what_a_url_names(path: str, expected: list[str]) -> None:
    found = list(expand([f"hf://datasets/me/set/{path}"]))
    assert [source.name for source in found] == [f"hf://datasets/me/set/{name}" for name in expected]
    for source, name in zip(found, expected, strict=True):
        assert source.open() == (FILES[name] if name in FILES else scene(int(name.rpartition("/")[2])))


def test_what_may_pass_is_tried_again(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    (source,) = expand(["hf://datasets/me/set/x/a.png"])
    hub.busy, hub.cut = 1, 99
    assert source.open() == scene(2)
    assert (hub.busy, hub.cut) == (0, None)
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("hub")
def test_what_is_not_there_or_not_open() -> None:
    for url in ("hf://datasets/me/none/", "hf://datasets/secret/set/", "hf://datasets/me/set/none/"):
        with pytest.raises(UsageError, match="no image below it; check the URL and the credentials"):
            expand([url])
    for url in ("hf://datasets/me/set/x/none.png", "hf://datasets/secret/set/a.png"):
        with pytest.raises(UnavailableError, match="no such object, or none that may be seen") as caught:
            next(expand([url])).open()
        assert "s3cret" not in str(caught.value)
