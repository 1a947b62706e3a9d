"""Against real servers on this machine that misbehave as real ones do."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glip_cli.checkpoints import cache, fetch, hub, registry
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.errors import FetchError
from tests.checkpoints.support import serving

CONTENT = bytes(range(256)) * 12_000  # 3 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Heard:
    def __init__(self):
        self.starts, self.count, self.finished = [], 0, 0

    def started(self, name, url, total):
        self.starts.append((name, url, total))

    def advanced(self, count):
        self.count += count

    def done(self):
        self.finished += 1


@pytest.fixture
def server():
    with serving() as server:
        server.files["x.pth"] = CONTENT
        yield server


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("glip_cli.checkpoints.http.PAUSE", 0.01)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def checkpoint(*urls, **more):
    return Checkpoint("small", "glip-t", "mmdet", "MIT", urls=urls, **{"sha256": SHA256, "bytes": len(CONTENT), **more})


def leftovers(tmp_path):
    return sorted(p.name for p in (tmp_path / "downloads").iterdir() if not p.name.endswith(".lock"))


def test_fetch_says_what_how_big_from_where_and_only_once(server, tmp_path):
    heard = Heard()
    path = fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path, report=heard)
    assert path == tmp_path / "downloads" / "x.pth"
    assert path.read_bytes() == CONTENT
    assert heard.starts == [("small", server.url("x.pth"), len(CONTENT))]
    assert (heard.count, heard.finished) == (len(CONTENT), 1)
    assert fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path, offline=True) == path
    assert len(server.asked) == 1
    assert leftovers(tmp_path) == ["x.pth"]


def test_a_cut_is_resumed(server, tmp_path):
    server.cuts = [1_000_000, 500_000]
    heard = Heard()
    path = fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path, report=heard)
    assert path.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000000-", "bytes=1500000-"]
    assert heard.count == len(CONTENT)


def test_another_run_goes_on(server, tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "x.pth.part").write_bytes(CONTENT[:12345])
    heard = Heard()
    fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path, report=heard)
    assert server.asked == [("/x.pth"[1:], "bytes=12345-")]
    assert heard.count == len(CONTENT)


VERSIONS = [
    {"ETag": '"one"'},
    {"Last-Modified": "Sat, 28 Nov 2026 09:00:00 GMT"},
    {"ETag": 'W/"one"', "Last-Modified": "Sat, 28 Nov 2026 09:00:00 GMT"},
]


def unpublished(server):
    """A checkpoint without a hash, so that nothing but the transfer itself keeps two versions apart."""
    return checkpoint(server.url("x.pth"), sha256=None)


@pytest.mark.parametrize("validators", VERSIONS)
def test_the_rest_of_the_same_version_is_asked_for(server, tmp_path, validators):
    server.validators, server.cuts = validators, [1_000_000]
    assert fetch.fetch(unpublished(server), cache_dir=tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000000-"]
    assert leftovers(tmp_path) == ["x.pth"]


@pytest.mark.parametrize("heeds", [True, False], ids=["If-Range", "without If-Range"])
@pytest.mark.parametrize("later", [{"ETag": '"two"'}, {"Last-Modified": "Sat, 28 Nov 2026 09:00:01 GMT"}])
def test_two_versions_are_never_mixed(server, tmp_path, later, heeds):
    server.validators, server.heeds, server.cuts = VERSIONS[0], heeds, [1_000_000, 0, 0, 0]
    with pytest.raises(FetchError, match="was cut off"):
        fetch.fetch(unpublished(server), cache_dir=tmp_path)
    server.files["x.pth"], server.validators, server.cuts = b"new" * 900_000, later, []
    heard = Heard()
    assert fetch.fetch(unpublished(server), cache_dir=tmp_path, report=heard).read_bytes() == b"new" * 900_000
    assert heard.count == 2_700_000


def test_without_a_version_and_a_hash_nothing_is_resumed(server, tmp_path):
    server.cuts = [1_000_000, 500_000]
    assert fetch.fetch(unpublished(server), cache_dir=tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, None, None]
    (tmp_path / "downloads" / "x.pth").rename(tmp_path / "downloads" / "x.pth.part")
    server.files["x.pth"] = CONTENT + b"more"
    assert fetch.fetch(unpublished(server), cache_dir=tmp_path).read_bytes() == CONTENT + b"more"


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.ranges, server.cuts = False, [1_000_000]
    heard = Heard()
    path = fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path, report=heard)
    assert path.read_bytes() == CONTENT
    assert heard.count == len(CONTENT)


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more", b"z" * 1000, b"z" * len(CONTENT)])
def test_whatever_an_earlier_run_left(server, tmp_path, part):
    """Whole but not renamed, too long, or of another file."""
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "x.pth.part").write_bytes(part)
    assert fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path).read_bytes() == CONTENT


def test_a_wrong_file_is_deleted_and_the_next_mirror_asked(server, tmp_path):
    server.files["other/x.pth"] = b"<html>captive portal</html>"
    urls = server.url("other/x.pth"), server.url("x.pth")
    heard = Heard()
    assert fetch.fetch(checkpoint(*urls), cache_dir=tmp_path, report=heard).read_bytes() == CONTENT
    assert [url for _, url, _ in heard.starts] == list(urls)
    with pytest.raises(FetchError, match=r"sha256 [0-9a-f]{8}\.\.\. instead of 00000000") as caught:
        fetch.fetch(checkpoint(server.url("x.pth"), sha256="0" * 64), cache_dir=tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path / "new") == []


def test_eight_digits_are_enough(server, tmp_path):
    known = checkpoint(server.url("x.pth"), sha256=None, sha256_prefix=SHA256[:8])
    assert fetch.fetch(known, cache_dir=tmp_path).exists()
    with pytest.raises(FetchError, match="instead of 12345678"):
        fetch.fetch(checkpoint(server.url("x.pth"), sha256=None, sha256_prefix="12345678"), cache_dir=tmp_path / "new")


def test_the_error_names_every_mirror_with_its_reason_and_the_ways_out(server, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}/x.pth"
        with pytest.raises(FetchError) as caught:
            fetch.fetch(checkpoint(server.url("gone.pth"), dead), cache_dir=tmp_path)
    told = str(caught.value)
    assert f"{server.url('gone.pth')}: answered 404" in told
    assert f"{dead}: Connection refused" in told
    assert "-m glip-nano works now" in told
    assert "\n" not in told


def test_a_server_that_always_cuts_is_given_up(server, tmp_path):
    server.cuts = [0] * 10
    with pytest.raises(FetchError, match="was cut off after 0 of 3072000 bytes"):
        fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path)
    assert len(server.asked) == 3


def test_silence_is_a_cut(server, tmp_path, monkeypatch):
    monkeypatch.setattr("glip_cli.checkpoints.http.TIMEOUT", 0.2)
    server.gate = threading.Event()
    with pytest.raises(FetchError, match="no answer for"):
        fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path)
    server.gate.set()


@pytest.mark.parametrize("variable", [False, True])
def test_offline_asks_nobody(server, tmp_path, monkeypatch, variable):
    if variable:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FetchError, match="not in the cache and the network is not to be used"):
        fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path, offline=not variable)
    assert server.asked == []


def test_many_at_once_fetch_once(server, tmp_path):
    server.gate = threading.Event()
    threading.Timer(0.3, server.gate.set).start()
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(fetch.fetch, checkpoint(server.url("x.pth")), cache_dir=tmp_path) for _ in range(6)]
        assert {job.result().read_bytes() == CONTENT for job in jobs} == {True}
    assert len(server.asked) == 1


def test_a_killed_process_leaves_no_lock_behind(server, tmp_path):
    server.gate = threading.Event()
    code = (
        "import sys; from pathlib import Path; from glip_cli.checkpoints import fetch, registry\n"
        f"c = registry.Checkpoint('small', 'glip-t', 'mmdet', 'MIT', urls=({server.url('x.pth')!r},))\n"
        f"fetch.fetch(c, cache_dir=Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not server.asked and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    server.gate.set()
    assert fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path).read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk(server, tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "x.pth.part").symlink_to("/dev/full")
    with pytest.raises(FetchError, match=r"No space left on device; set GLIP_CACHE"):
        fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path)


def test_an_unwritable_cache(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match="set GLIP_CACHE"):
        fetch.fetch(checkpoint(server.url("x.pth")), cache_dir=tmp_path / "file")


def test_unavailable_and_embedded():
    with pytest.raises(FetchError, match=r"glip-l-lvisbest cannot be fetched: .*Azure.*--weights FILE"):
        fetch.fetch(registry.find("glip-l-lvisbest"))
    missing = Checkpoint("m", "glip-mini", "native", "Apache-2.0", file="no-such-file.safetensors")
    with pytest.raises(FetchError, match="install glip again"):
        fetch.fetch(missing)


def test_where_the_cache_is(monkeypatch, tmp_path):
    for variable in ("GLIP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform != "win32":
        assert cache.default_dir() == tmp_path / ".cache" / "glip"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.default_dir() == tmp_path / "xdg" / "glip"
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / "mine"))
    assert cache.default_dir() == tmp_path / "mine"


def test_addresses_of_the_hub():
    assert hub.serves("https://huggingface.co/GLIPModel/GLIP/resolve/main/glip_large_model.pth")
    assert hub.serves("https://huggingface.co/model/resolve/main/model.safetensors")
    assert not hub.serves("https://huggingface.co/GLIPModel/GLIP/blob/main/glip_large_model.pth")
    assert not hub.serves("https://download.openmmlab.com/x.pth")
    huggingface = [url for c in registry.all() for url in c.urls if "huggingface.co" in url]
    assert all(hub.serves(url) for url in huggingface)


HUB_CODE = """
import sys
from pathlib import Path
from glip_cli.checkpoints import fetch
from glip_cli.checkpoints.registry import Checkpoint

class Heard(fetch.SilentDownload):
    count = 0
    def advanced(self, count):
        self.count += count

url, sha256, folder, offline = sys.argv[1:]
heard = Heard()
path = fetch.fetch(Checkpoint("small", "glip-t", "official", "MIT", urls=(url,), sha256=sha256),
                   cache_dir=Path(folder), offline=offline == "offline", report=heard)
print(path.stat().st_size, heard.count, "HUB" if "hub" in str(path) else "OWN")
"""


def run_hub(server, tmp_path, *, sha256=SHA256, mode="online"):
    environment = {**os.environ, "HF_ENDPOINT": server.url("")[:-1], "HF_HOME": str(tmp_path / "hub")}
    url = "https://huggingface.co/GLIPModel/GLIP/resolve/main/x.pth"
    command = [sys.executable, "-c", HUB_CODE, url, sha256, str(tmp_path / "own"), mode]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_through_the_client_of_the_hub(server, tmp_path):
    """A mirror named by HF_ENDPOINT; the file lies in HF_HOME; the second time nobody is asked."""
    server.files["GLIPModel/GLIP/resolve/main/x.pth"] = CONTENT
    wrong = run_hub(server, tmp_path, sha256="0" * 64)
    assert "sent another file" in wrong.stderr
    first = run_hub(server, tmp_path)
    assert first.stdout.split() == [str(len(CONTENT)), str(len(CONTENT)), "HUB"], first.stderr
    assert first.stderr == ""
    asked = len(server.asked)
    assert run_hub(server, tmp_path, mode="offline").stdout.split() == [str(len(CONTENT)), "0", "HUB"]
    assert len(server.asked) == asked


def test_the_hub_does_not_have_it(server, tmp_path):
    told = run_hub(server, tmp_path).stderr.strip().splitlines()[-1]
    assert "FetchError" in told
    assert "huggingface.co/GLIPModel/GLIP/resolve/main/x.pth: " in told
    assert "404" in told
    assert "--weights FILE" in told
