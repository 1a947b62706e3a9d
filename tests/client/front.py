"""What stands before a server: another path, TLS, and faults on the way."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Fault = Callable[["Passing"], None]
PREFIX = "/some/where"


class Passing(BaseHTTPRequestHandler):
    """A question that is passed on, and the answer passed back."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Front

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.client_address, self.path))
        fault = self.server.fault(self.path)
        if fault:
            return fault(self)
        status, headers, content = self.passed_on()
        self.answer(status, content, **headers)

    def do_POST(self) -> None:
        self.do_GET()

    def passed_on(self) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self.server.target)
        connection = HTTPConnection(parts.netloc)
        sent = {name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers}
        connection.request(self.command, self.path.removeprefix(PREFIX), self.body, sent)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = ("Glip-Notes", "Content-Type")
        return answer.status, {name: answer.headers[name] for name in kept if name in answer.headers}, content

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


class Front(ThreadingHTTPServer):
    """Attributes: `target` is the server behind it, `faults` happen to the next questions of POST /detect."""

    daemon_threads = True

    def __init__(self, target: str, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Passing)
        self.target, self.seen = target, list[tuple[Any, str]]()
        self.faults: deque[Fault | None] = deque()

    def fault(self, path: str) -> Fault | None:
        return self.faults.popleft() if path.endswith("/detect") and self.faults else None

    def handle_error(self, *_: object) -> None: ...  # a client that has gone


@contextmanager
def front(target: str, host: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[tuple[Front, str]]:
    """One that runs while the block does, and its URL."""
    server = Front(target, (host, 0))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    name = f"[{host}]" if ":" in host else host
    try:
        yield server, f"http{'s' if certificate else ''}://{name}:{server.server_port}{PREFIX}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def drop(passing: Passing) -> None:
    """The connection breaks before the answer."""
    passing.close_connection = True


def cut(passing: Passing) -> None:
    """It breaks in the midst of the answer."""
    _, _, content = passing.passed_on()
    passing.send_response(200)
    passing.send_header("Content-Length", str(len(content)))
    passing.end_headers()
    passing.wfile.write(content[: len(content) // 2])
    passing.close_connection = True


def busy(passing: Passing) -> None:
    passing.answer(503, b'{"error": "64 images are waiting"}', Retry_After="0")


def limited(passing: Passing) -> None:
    """What a proxy says that lets so many requests through."""
    passing.answer(429, b"<html>Too Many Requests</html>", Retry_After="0")


def late(passing: Passing) -> None:
    passing.answer(504, b'{"error": "not done within 60 s"}')


def gateway(passing: Passing) -> None:
    """What a proxy says of a server that is gone."""
    passing.answer(502, b"<html>Bad Gateway</html>")


def moved(passing: Passing) -> None:
    passing.answer(301, b"", Location="http://example.org/detect")


def text(passing: Passing) -> None:
    passing.answer(200, b"<html>")


def other(passing: Passing) -> None:
    passing.answer(200, b'{"schema": "glip/1", "detections": {}}')
