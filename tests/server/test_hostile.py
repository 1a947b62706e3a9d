"""Requests that no client should send: each gets a 4xx with one line, and the server goes on answering."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from glip_cli.detector import Detector
from glip_cli.server.options import MAX_CHARACTERS, MAX_LABELS, ServeOptions
from tests.server.serving import serving
from tests.server.test_detect import CODE, SCENE

LIMITS = ServeOptions(port=0, max_upload=2, max_pixels=1, max_images=3, time_limit=2)
BOUNDARY = "x1"
JSON = "application/json"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def small(detector: Detector) -> Iterator[str]:
    """A server that takes little."""
    with serving(detector, LIMITS) as url:
        yield url


def send(url: str, data: bytes, wait: float = 10) -> int:
    """Bytes as they are; the status of the answer, 0 where the connection was closed without one."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), wait) as sock:
        with contextlib.suppress(OSError):  # the server may answer and leave before it has all
            sock.sendall(data)
        answer = b""
        try:
            while b"\r\n" not in answer and (more := sock.recv(4096)):
                answer += more
        except OSError:
            return 0
    return int(answer.split()[1]) if answer else 0


def post(body: bytes, kind: str, path: str = "/detect", length: int | str | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n{more}"
        "Connection: close\r\n\r\n"
    ).encode() + body


def asked(**fields: Any) -> bytes:
    return post(json.dumps({"image": CODE, "texts": "star", **fields}).encode(), JSON)


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A file that says how large it is, whatever its data hold."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
FILE = part("image", SCENE, "a.png")


def wrong_types() -> Iterator[bytes]:
    """Each field with values of types that it cannot have."""
    odd: list[Any] = [None, -1, 1e400, "x", [], {}, [[]], [None], {"a": None}, True]
    allowed = {
        "threshold": [True], "top_k": [], "agnostic_nms": [True], "texts": ["x"], "labels": [], "negatives": ["x", []],
        "class_thresholds": [{}], "size": [None], "tile": [None], "tta": [True], "knowledge": [None, {}], "name": ["x"],
        "caption": ["x"], "prompt": [None],
    }  # fmt: skip
    for name, right in allowed.items():
        for value in odd:
            if value not in right and not (value is None and name not in ("image", "name", "threshold", "tta")):
                yield asked(**{name: value, **({"texts": None} if name in ("labels", "caption", "prompt") else {})})


def values() -> Iterator[bytes]:
    """Of the right types, and out of range."""
    for fields in (
        {"threshold": 2}, {"threshold": -0.1}, {"top_k": 0}, {"size": [1, 2]}, {"size": [900, 800]}, {"tile": 3},
        {"size": [9999, 9999]},
        {"size": [800, 10**9]}, {"overlap": 0.2}, {"chunked_size": 0}, {"nms_iou": 1.5}, {"per_text": 0},
        {"class_thresholds": {"dog": 0.5}}, {"class_thresholds": {"star": 7}}, {"unknown": 1}, {"batch_size": 4},
        {"texts": "@/etc/passwd"}, {"texts": ["@labels.txt"]}, {"texts": "$: nothing"}, {"texts": ""}, {"texts": " "},
        {"texts": None}, {"texts": "star", "caption": "a star"}, {"texts": "star", "labels": ["star"]},
        {"texts": None, "labels": []}, {"texts": None, "labels": [" "]}, {"texts": None, "caption": " "},
        {"texts": None, "caption": "a star", "phrases": ["dog"]}, {"texts": None, "caption": "a [star"},
        {"texts": None, "caption": "a star", "tokens_positive": [[[0, 99]]]},
        {"texts": None, "caption": "a star", "tokens_positive": "[[[0,"},
        {"texts": None, "prompt": {"text": "star", "labels": ["star"], "spans": [[[0, 9]]]}},
        {"texts": None, "prompt": {"text": "star", "labels": ["star"], "spans": [[[-1, 2]]]}},
        {"texts": None, "prompt": {"text": "star", "labels": [], "spans": []}},
        {"texts": None, "prompt": {"text": "star", "labels": ["star"], "spans": [[[0, 4]]], "notes": ["x" * 100_001]}},
        {"texts": None, "prompt": {"text": "star", "labels": ["a", "b"], "spans": [[[0, 1]]]}},
        {"knowledge": {"star": "a shape"}}, {"name": "x" * 2000}, {"phrases": ["star"]},
        {"texts": None, "labels": ["x"] * (MAX_LABELS + 1)}, {"texts": "x" * (MAX_CHARACTERS + 1)},
        {"image": "http://127.0.0.1/a.png"}, {"image": "HTTPS://example.org/a.png"}, {"image": "file:///etc/passwd"},
        {"image": "/etc/passwd"}, {"image": "%%%"}, {"image": ""}, {"image": "\u00e4"}, {"image": None}, {"image": 5},
    ):  # fmt: skip
        yield asked(**fields)


def images() -> Iterator[bytes]:
    """Files that are none, or ask for more than there is."""
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + b"\0" * 6 + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;"
    for data in (
        b"x", b"\0" * 1000, SCENE[:50], SCENE[:-30], SCENE[100:], png(60000, 60000), png(2000, 2000), png(0, 0),
        png(1, 2**31 - 1), png(1001, 1000), png(10, 10, b"nothing"), png(10, 10, zlib.compress(b"\0" * 10)), gif,
        b"\xff\xd8\xff\xe0" + b"\0" * 100, b"%!PS-Adobe\n", b"\xd7\xcd\xc6\x9a" + b"\0" * 50, b"BM" + b"\xff" * 100,
        b"II*\0" + b"\xff" * 40, b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 40, b"<svg xmlns='a'/>", b"\x1f\x8b" * 50,
    ):  # fmt: skip
        yield asked(image=base64.b64encode(data).decode())


def bodies() -> Iterator[bytes]:
    """JSON that is none, and forms that are none."""
    deep = b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body in (
        b"", b"{", b"[", b"]", b"null", b"1", b'"x"', b"[]", b"{}", b"[1]", b"[[]]", b"[null]", b"\xff\xfe{}", b"\0",
        b"[" * 100_000, b"{" * 1000, b'{"a":' * 50_000, deep, b"[" + deep + b"]", b'{"image": "\\ud800"}',
        b'{"image": "AA==", "threshold": NaN}', b'{"image": "AA==", "threshold": 1e999}', b"[" + b"1," * 99 + b"1]",
        b"[" + b",".join([json.dumps({"image": CODE, "texts": "star"}).encode()] * 4) + b"]",
    ):  # fmt: skip
        yield post(body, JSON)
        if not body.startswith(b"[" * 9):
            yield post(body, JSON, "/explain")
    for body in (
        b"", b"x", END, END[:-4], FILE, FILE[:60], FILE[:-20], part("texts", b"star") + END, FILE * 4 + END,
        part("image", b"text") + END, part("other", SCENE, "a.png") + END, part("image", b"", "a.png") + END,
        FILE + part("threshold", b"high") + END, FILE + part("threshold", b"1") * 2 + END,
        FILE + part("size", b"one") + END, FILE + part("negatives", b"@/etc/passwd") + END,
        FILE + part("texts", b"@/etc/passwd") + END, FILE + part("class_thresholds", b"star") + END,
        FILE + part("knowledge", b"{") + END, FILE + part("prompt", b"[" * 100_000) + END,
        FILE + part("nothing", b"1") + END, part("a", b"1") * 2000 + END,
        b"--x1\r\n" + b"A: b\r\n" * 2000 + b"\r\n" + END, b"--x1\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
    ):  # fmt: skip
        yield post(body, FORM)
    yield post(FILE + END, "multipart/form-data")
    yield post(FILE + END, "multipart/form-data; boundary=" + "x" * 5000)


def requests_without_use() -> Iterator[bytes]:
    """Wrong types of content, lengths, methods, names, origins, headers."""
    one = json.dumps({"image": CODE, "texts": "star"}).encode()
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "image/png", "*/*"):
        yield post(one, kind)
    yield post(one, JSON, length="x")
    yield post(one, JSON, length=-1)
    yield post(one, JSON, length=10**12)
    yield post(b"x" * 2_100_000, JSON)
    yield post(one, JSON, more="Origin: https://evil.example\r\n")
    yield post(one, JSON, more="Origin: null\r\n")
    yield post(one, JSON, path="/nowhere")
    yield post(one, JSON, path="/../../etc/passwd")
    yield post(one, JSON, path="/health")
    yield post(one, JSON, more="X: " + "x" * 100_000 + "\r\n")
    yield post(one, JSON, more="X: y\r\n" * 20_000)
    yield b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"GET /model HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    yield b"GET /model HTTP/1.1\r\nHost: localhost.evil.example:8000\r\nConnection: close\r\n\r\n"
    yield b"GET /model HTTP/1.1\r\nConnection: close\r\n\r\n"
    yield b"GET /model HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n"  # half of an IPv6 address
    yield post(one, JSON, more="Origin: http://[\r\n")
    yield b"DELETE /detect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    yield b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 200
    yield b"nonsense\r\n\r\n"
    chunks = b"".join(b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(40)) + b"0\r\n\r\n"
    yield (
        b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n" + chunks
    )


HOSTILE = {f.__name__: list(f()) for f in (wrong_types, values, images, bodies, requests_without_use)}


# of a form that is cut short Starlette leaves the files to the garbage collector
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", HOSTILE)
def test_each_is_refused_and_the_next_is_answered(small: str, kind: str) -> None:
    wrong = []
    for number, request in enumerate(HOSTILE[kind]):
        status = send(small, request)
        if not 400 <= status < 500:
            wrong.append((number, status, request[:200], request[-200:]))
        assert requests.get(f"{small}/health", timeout=10).status_code == 200, request[:300]
    assert wrong == []
    assert requests.post(f"{small}/detect", json={"image": CODE, "texts": "star"}, timeout=30).status_code == 200


def test_there_are_two_hundred_of_them() -> None:
    assert sum(map(len, HOSTILE.values())) >= 200


def test_a_slow_body_is_given_up(small: str) -> None:
    whole = asked()
    assert send(small, whole[:-1000]) == 408
    assert send(small, post(b"", JSON, length=100)) == 408


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"threshold": "high"}, "threshold: Input should be a valid number"),
        ({"threshold": 2}, "threshold 2: give a number from 0 to 1"),
        ({"texts": "@labels.txt"}, "'@labels.txt': files of labels are not read here; give the labels themselves"),
        ({"image": "http://example.org/a.png"},
         "image: it is a URL, which this server does not fetch; send the file in base64"),
    ],
)  # fmt: skip
def test_errors_are_one_line_that_helps(small: str, body: dict[str, Any], line: str) -> None:
    answer = requests.post(f"{small}/detect", json={"image": CODE, "texts": "star", **body}, timeout=30)
    assert answer.json() == {"error": line}


def test_limits_are_said(small: str) -> None:
    stream = io.BytesIO(png(1001, 1000))
    answer = requests.post(f"{small}/detect", data={"texts": "star"}, files={"image": ("a.png", stream)}, timeout=30)
    assert answer.status_code == 422
    assert answer.json()["error"] == "a.png: 1001 x 1000 pixels; at most 1 million are taken here"
    answer = requests.post(f"{small}/detect", data=b"x" * 2_000_001, headers={"Content-Type": JSON}, timeout=30)
    assert (answer.status_code, answer.json()) == (413, {"error": "a request may have 2 MB"})


@pytest.mark.parametrize(
    ("method", "path", "status", "line"),
    [
        ("POST", "/detect/", 404, "there is no '/detect/'; GET /docs lists what there is"),
        ("GET", "//detect", 404, "there is no '//detect'; GET /docs lists what there is"),
        ("GET", "/detect", 405, "'/detect' is asked by POST"),
        ("POST", "/health", 405, "'/health' is asked by GET"),
    ],
)
def test_a_path_that_is_not_there(small: str, method: str, path: str, status: int, line: str) -> None:
    answer = requests.request(method, small + path, allow_redirects=False, timeout=30)
    assert (answer.status_code, answer.json()) == (status, {"error": line})


@pytest.mark.parametrize(("path", "size", "status"), [("/nowhere", 20_000_000, 404), ("/detect", 70_000_000, 413)])
def test_a_client_that_is_still_sending_gets_the_answer(url: str, path: str, size: int, status: int) -> None:
    """urllib, and many others, read nothing before they have sent all."""
    request = urllib.request.Request(url + path, bytes(size), {"Content-Type": JSON})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    caught.value.close()
    assert caught.value.code == status


def test_a_file_of_the_server_is_not_found_out(small: str, tmp_path: Any) -> None:
    """The command line says of a label that is a file too that @ would read it."""
    (tmp_path / "star").write_text("x")
    answer = requests.post(f"{small}/detect", json={"image": CODE, "texts": str(tmp_path / "star")}, timeout=30)
    assert "file" not in answer.headers.get("Glip-Notes", "") + answer.text.replace(str(tmp_path), "")
