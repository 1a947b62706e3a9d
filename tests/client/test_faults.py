"""Servers that are gone, busy, of another kind or of another model: one line, and nothing lost or doubled."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from glip_cli.cli.app import run
from glip_cli.client import connection
from glip_cli.client.connection import Server
from glip_cli.client.model import RemoteModel
from glip_cli.detector import Detector
from glip_cli.errors import ImageError
from glip_cli.server.options import ServeOptions
from tests.client import front as fronts
from tests.client.asking import LOCAL, Ended, both, glip
from tests.client.front import Fault, front
from tests.server.serving import serving
from tests.server.test_queue import Held

ASKED = ("-t", "circle . red square . star .", "--threshold", "0.05")
DETECT = ("detect", "photos", *ASKED)
BATCH = ("batch", "photos", *ASKED)


@pytest.fixture(scope="module")
def here(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Ended]:
    """How each command ends without a server."""
    ends = {}
    for words in (DETECT, BATCH, (*BATCH, "--save-vis")):
        with contextlib.chdir(tmp_path_factory.mktemp("here")):
            Path("photos").symlink_to(images / "photos")
            ends[words] = glip(*words, *LOCAL)
    return ends


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSES", (0.0, 0.0))


def last(ended: Ended) -> str:
    return ended.stderr.splitlines()[-1].removeprefix("glip: error: ")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# --- the way to the server


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_behind_a_path_and_by_ipv6(url: str, folder: Path, here: dict[tuple[str, ...], Ended], host: str) -> None:
    with front(url, host) as (passed, address):
        assert glip(*DETECT, "--server", f"{address}/") == here[DETECT]
    paths = {path for _, path in passed.seen}
    assert paths == {f"{fronts.PREFIX}{path}" for path in ("/model", "/explain", "/detect")}


def test_connections_stay_open(url: str, folder: Path) -> None:
    """Two questions before the first image, and then one connection for each of four threads."""
    with front(url) as (passed, address):
        glip("detect", *["photos/0.png"] * 12, *ASKED, "--server", address, "--no-save-vis")
        assert len(passed.seen) == 14
        assert len({client for client, _ in passed.seen}) <= 5


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_certificates_are_checked(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "both.pem", "-out", "cert.pem"]
    more = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *words, *more], check=True, capture_output=True)
    Path("both.pem").write_bytes(Path("both.pem").read_bytes() + Path("cert.pem").read_bytes())
    with front(url, certificate=Path("both.pem")) as (_, address):
        refused = glip(*DETECT, "--server", address)
        assert last(refused) == (f"{address}: its certificate is refused (self-signed certificate); "
                                 "name the certificate's file in SSL_CERT_FILE")  # fmt: skip
        monkeypatch.setenv("SSL_CERT_FILE", "cert.pem")
        assert glip(*DETECT, "--server", address).code == 3


def test_nothing_is_there(folder: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    for command in (DETECT, BATCH):
        ended = glip(*command, "--server", address)
        assert (ended.code, ended.files) == (1, {})
        assert last(ended) == (f"{address}: no server answers there (Connection refused); start one with `glip serve`, "
                               "or correct --server")  # fmt: skip


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:8000", "write an address such as http://127.0.0.1:8000"),
        ("ftp://127.0.0.1", "write an address such as"),
        ("http://", "write an address such as"),
        ("http://[::1", "write an address such as"),
        ("http://a:99999", "write an address such as"),
        ("http://a/?token=abc", "write an address such as"),
        ("http://a b/", "write other letters"),
        ("http://müller", "write other letters"),
        ("http://me:secret@host", "give it as --token"),
    ],
)
def test_no_address(folder: Path, address: str, said: str) -> None:
    ended = glip(*DETECT, "--server", address)
    assert ended.code == 2
    assert said in last(ended)
    assert "secret" not in ended.stderr
    assert "abc" not in ended.stderr


# --- who may ask


def test_the_token(detector: Detector, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(detector, ServeOptions(port=0, token="open sesame")) as address:
        assert last(glip(*DETECT, "--server", address)) == f"{address}: asks for a --token (GLIP_TOKEN)"
        wrong = glip(*BATCH, "--server", address, "--token", "wrong")
        assert (wrong.code, last(wrong)) == (2, f"{address}: refuses this --token")
        assert glip(*DETECT, "--server", address, "--token", "open sesame").code == 3
        monkeypatch.setenv("GLIP_SERVER", address)
        monkeypatch.setenv("GLIP_TOKEN", "open sesame")
        ended = run([*BATCH, "-o", "kept"])  # as the console script, which reads variables
        assert ended == 3
        assert not any(b"sesame" in path.read_bytes() for path in Path("kept").rglob("*") if path.is_file())


@pytest.mark.parametrize("token", ["two\nlines", "ключ", " outer"])
def test_no_token(folder: Path, token: str) -> None:
    ended = glip(*DETECT, "--server", "http://127.0.0.1:1", "--token", token)
    assert last(ended) == "--token: it has outer blanks or letters beyond ASCII, which no header carries"


@pytest.mark.parametrize(
    "more",
    [("-m", "glip-t"), ("--weights", "a.pth"), ("--adapter", "a"), ("--bert", "a"), ("--device", "cuda"),
     ("--dtype", "bfloat16"), ("--onnx", "a.onnx"), ("--compile",), ("-b", "8")],
    ids=lambda more: more[0],
)  # fmt: skip
@pytest.mark.parametrize("command", [DETECT, BATCH], ids=["detect", "batch"])
def test_what_is_for_a_model_of_ones_own(folder: Path, command: tuple[str, ...], more: tuple[str, ...]) -> None:
    ended = glip(*command, "--server", "http://127.0.0.1:1", *more)
    flag = {"-m": "--model", "-b": "--batch-size"}.get(more[0], more[0])
    assert (ended.code, last(ended)) == (2, f"--server does not go with {flag}: leave one of them out")


def test_what_spreads_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = glip(*BATCH, "--server", "http://127.0.0.1:1", "--ray", "auto")
    assert last(ended) == "--server does not go with --ray: leave one of them out"
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    ended = glip(*BATCH, "--server", "http://127.0.0.1:1")
    assert last(ended) == "--server and torchrun each spread the work; take one of them"


# --- faults of a moment


@pytest.mark.parametrize(
    "fault",
    [fronts.drop, fronts.cut, fronts.busy, fronts.limited, fronts.late, fronts.gateway],
    ids=lambda fault: fault.__name__,
)
def test_what_passes_is_tried_again(url: str, folder: Path, here: dict[tuple[str, ...], Ended], fault: Fault) -> None:
    with front(url) as (passed, address):
        # one that was late is asked for once more, and four workers may meet the faults in any order
        passed.faults.extend([fault] if fault is fronts.late else [fault, None, fault])
        there = glip(*DETECT, "--server", address)
    if fault in (fronts.busy, fronts.limited):
        note = f"note: {address} is busy; waiting for it\n"
        assert there.stderr.count(note) == 1
        there = there._replace(stderr=there.stderr.replace(note, ""))
    assert there == here[DETECT]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (fronts.drop, "the server is gone (Remote end closed connection without response); start it again, then run"),
        (fronts.gateway, "the server is gone (502 Bad Gateway); start it again, then run the same command again"),
        (fronts.moved, "leads to http://example.org/detect; give that as --server"),
        (fronts.text, "does not answer as `glip serve` does; correct --server"),
        (fronts.other, "does not answer as `glip serve` does; correct --server"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_lasts_ends_a_run_that_goes_on(
    url: str, folder: Path, here: dict[tuple[str, ...], Ended], fault: Fault, said: str
) -> None:
    whole = here[(*BATCH, "--save-vis")].files
    words = (*BATCH, "--save-vis", "--workers", "1", "--server")
    with front(url) as (passed, address):
        passed.faults.extend([None, None, fault, fault, fault])
        ended = glip(*words, address)
        assert ended.code in (1, 2)
        assert f"{address}: {said}" in last(ended)
        assert ended.files["results.jsonl"] == b"".join(whole["results.jsonl"].splitlines(keepends=True)[:2])
        passed.faults.clear()
        again = glip(*words, address)
        assert "going on after 2 images" in again.stderr
        assert again.files == whole
        passed.faults.extend([fault] * 3)
        alone = glip("detect", "photos/0.png", *ASKED, "--server", address, "-o", "alone")
        assert f"{address}: {said}" in last(alone)


def test_a_server_that_stays_busy(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.0)
    with front(url) as (passed, address):
        passed.faults.extend([fronts.busy] * 20)
        ended = glip(*BATCH, "--server", address)
    assert last(ended) == f"{address}: busy for 0 s (64 images are waiting); wait, then run the same command again"


def test_another_model_in_the_midst(
    url: str, detector: Detector, folder: Path, here: dict[tuple[str, ...], Ended]
) -> None:
    second = copy.copy(detector)
    second.name = "other@0"
    with serving(second) as elsewhere, front(url) as (passed, address):

        def turn(passing: fronts.Passing) -> None:
            passed.target = elsewhere
            passing.answer(*passing.passed_on()[::2])

        passed.faults.extend([None, None, turn])
        ended = glip(*BATCH, "--workers", "1", "--server", address)
        said = f"{address}: the model is other@0 now and was {detector.name}; start that one again, then run"
        assert (ended.code, said in last(ended)) == (1, True)
        assert ended.files["results.jsonl"].count(b"\n") == 2
        refused = glip(*BATCH, "--server", address)
        assert f'holds a run with model "{detector.name}", not "other@0"' in last(refused)
        passed.target = url
        assert glip(*BATCH, "--server", address).files == here[BATCH].files


# --- limits of the server


@contextmanager
def limited(detector: Detector, **limits: float) -> Iterator[str]:
    with serving(detector, ServeOptions(port=0, **limits)) as address:  # type: ignore[arg-type]
        yield address


def records(ended: Ended) -> list[dict[str, object]]:
    return [json.loads(line) for line in ended.files["results.jsonl"].splitlines()]


def test_an_image_that_is_too_large_fails_alone(detector: Detector, folder: Path) -> None:
    Image.effect_noise((300, 300), 90).save("large.png")
    words = ("batch", "photos/0.png", "large.png", "photos/1.png", *ASKED)
    with limited(detector, max_upload=0.1) as address:
        ended = glip(*words, "--server", address)
    assert (ended.code, ["error" in record for record in records(ended)]) == (3, [False, True, False])
    error = str(records(ended)[1]["error"])
    assert error.startswith("large.png: 0.1 MB as it is sent, and the server takes 0.1; shrink it, or raise")
    with limited(detector, max_pixels=0.05) as address:
        ended = glip(*words, "--server", address, "--overwrite")
    assert records(ended)[1]["error"] == "large.png: 300 x 300 pixels; at most 0.05 million are taken here"


def test_the_server_says_that_it_is_too_large(detector: Detector) -> None:
    """Where the limit is not known before: of a proxy, for example."""
    with limited(detector, max_upload=0.1) as address:
        remote = RemoteModel(Server(address))
        remote.about = {"name": detector.name, "limits": {}}
        with pytest.raises(ImageError, match=r"a.png: a request may have 0\.1 MB"):
            remote.detect(bytes(90_000), "a.png", {"labels": ["cat"]})
        remote.server.close()


def test_an_image_that_takes_too_long_may_be_tried_again(detector: Detector, folder: Path) -> None:
    held = Held.of(detector)
    with limited(held, time_limit=1) as address:
        ended = glip("batch", "photos/0.png", *ASKED, "--server", address)
        held.go.set()
    assert ended.code == 1
    assert "not done within 1 s" in str(records(ended)[0]["error"])
    assert "--retry-failed tries 1 again that may only have been out of reach" in ended.stderr


def test_what_the_server_will_not_read(url: str, detector: Detector, folder: Path) -> None:
    """Before the first image, in the words of a local run."""
    for words in (("-t", "circle", "--class-threshold", "star=0.5"), ("-t", "circle", "--knowledge", "known.json")):
        Path("known.json").write_text('{"circle": "round"}')
        here, there = both(url, "detect", "photos/0.png", *words)
        assert (here.code, here.files, last(here)) == (2, {}, last(there))
        assert there.code == 2
    many = glip("detect", "photos/0.png", *[word for i in range(2001) for word in ("-t", f"l{i}")], "--server", url)
    assert last(many) == "2001 labels; a prompt may have 2000"
