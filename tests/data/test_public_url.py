"""URLs that others choose lead to the public internet and nowhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from glip_cli.data import download
from glip_cli.data.download import fetch, is_public
from glip_cli.errors import ImageError

PRIVATE = """
127.0.0.1 127.8.9.10 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1 192.0.2.1
198.18.0.1 203.0.113.7 224.0.0.1 239.1.2.3 240.0.0.1 255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12::1
ff02::1 2001:db8::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 2002:7f00:1:: 2002:c0a8:101:: 64:ff9b::7f00:1 64:ff9b::a00:1
""".split()
PUBLIC = "8.8.8.8 1.1.1.1 93.184.216.34 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808".split()


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))  # type: ignore[attr-defined]
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
        else:
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(b"\x89PNG")

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    yield server
    server.shutdown()
    server.server_close()


class Names:
    """A name server: each lookup of a name takes the next of its answers, and keeps giving the last.

    The machine has no way into the public internet. So 127.0.0.1 stands for a public address here, where the server of
    these tests listens; 127.0.0.2 stays what it is.
    """

    def __init__(self, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch):
        self.names, self.real = names, socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)
        monkeypatch.setattr(download, "is_public", lambda address: address == "127.0.0.1" or is_public(address))

    def look_up(self, host: str, port: int, *arguments: Any, **keywords: Any) -> Any:
        answers = self.names.get(host, [host])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [row for one in answer.split() for row in self.real(one, port, *arguments, **keywords)]


def url(server: ThreadingHTTPServer, host: str, path: str = "/a.png") -> str:
    return f"http://{host}:{server.server_port}{path}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "0"])
def test_a_loopback_address_is_refused_however_it_is_written(server: ThreadingHTTPServer, host: str) -> None:
    with pytest.raises(ImageError, match=r"not of the public internet|cannot be fetched"):
        fetch(url(server, host), public=True)
    assert server.asked == []  # type: ignore[attr-defined]
    if host == "127.0.0.1":
        assert fetch(url(server, host)) == b"\x89PNG"  # for a person who typed it


def test_a_public_one_is_fetched(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Names({"good.example": ["127.0.0.1"]}, monkeypatch)
    assert fetch(url(server, "good.example"), public=True) == b"\x89PNG"


def test_a_host_with_letters_beyond_ascii(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Names({"xn--bcher-kva.example": ["127.0.0.1"]}, monkeypatch)
    assert fetch(url(server, "bücher.example"), public=True) == b"\x89PNG"
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetch("http://ü..example/a.png", public=True)


def test_a_name_with_a_private_address_too_is_refused(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names({"both.example": ["127.0.0.1 10.0.0.1"]}, monkeypatch)
    with pytest.raises(ImageError, match="not of the public internet"):
        fetch(url(server, "both.example"), public=True)
    assert server.asked == []  # type: ignore[attr-defined]


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that gives a public address first, for the check, and a private one next, for the connection."""
    names = {"changing.example": ["127.0.0.1", "10.0.0.1"]}
    Names(names, monkeypatch)
    assert fetch(url(server, "changing.example"), public=True) == b"\x89PNG"
    with pytest.raises(ImageError, match="not of the public internet"):
        fetch(url(server, "changing.example"), public=True)


@pytest.mark.parametrize("there", ["127.0.0.2", "inside.example", "[::1]", "169.254.169.254"])
def test_redirects_are_checked(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    Names({"good.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]}, monkeypatch)
    with pytest.raises(ImageError, match="not of the public internet"):
        fetch(url(server, "good.example", f"/to/{url(server, there)}"), public=True)
    with pytest.raises(ImageError, match=r"cannot be fetched|answers 302"):
        fetch(url(server, "good.example", "/to/file:///etc/passwd"), public=True)


def test_no_proxy_is_asked(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look up names by itself."""
    monkeypatch.setenv("http_proxy", url(server, "127.0.0.1", ""))
    Names({"good.example": ["127.0.0.1"]}, monkeypatch)
    assert fetch(url(server, "good.example"), public=True) == b"\x89PNG"
    assert server.asked == [(f"good.example:{server.server_port}", "/a.png")]  # type: ignore[attr-defined]


def test_tls_is_spoken_with_public_addresses_alone(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server here has none, and what the client says is no HTTP to it."""
    Names({"good.example": ["127.0.0.1"], "inside.example": ["10.0.0.1"]}, monkeypatch)
    for host, why in (("inside.example", "not of the public internet"), ("good.example", "SSL|record|EOF|reset")):
        with pytest.raises(ImageError, match=rf"cannot be fetched \(.*({why})"):
            fetch(url(server, host).replace("http:", "https:"), public=True)
    assert server.asked == []  # type: ignore[attr-defined]
