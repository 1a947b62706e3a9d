"""Requests to a server over HTTP: connections stay open, one for each thread, and what may pass is tried again.

The standard library does it, as urllib opens a connection for each request. Proxies of the environment are not used.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from glip_cli.errors import GlipError, UsageError
from glip_cli.utils.http import USER_AGENT, why_unreachable
from glip_cli.utils.json import JsonObject, parsed_object
from glip_cli.utils.text_format import one_line, quoted, shown_url, whole_number

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 600.0  # without a byte; the server's own limit is the one to be met
PAUSES = (0.0, 2.0)  # seconds before each further try; a connection that stayed open may be closed by now
MOST_WAIT = 30.0  # seconds before a server that is busy is asked again, whatever it says
BUSY_SECONDS = 600.0  # in all, for one request
BUSY = {429, 503}  # of a proxy that counts requests, of the server
ABOUT_THE_IMAGE = {408, 413, 422, 504}  # came too slowly; too large; cannot be read; takes too long
_AGAIN = "then run the same command again"


class _LostError(Exception):
    """The connection could not be made, or broke; `str(error)` says why. Where nothing came, `slow`, none will soon."""

    def __init__(self, error: Exception) -> None:
        self.slow = isinstance(error, TimeoutError)
        super().__init__("no answer in time" if self.slow else why_unreachable(error))


@dataclass(frozen=True)
class Answer:
    """`value` is the JSON of the body."""

    status: int
    headers: Message
    value: JsonObject


@dataclass
class Server:
    """The address of a server, and its connections; threads may share it.

    Attributes:
        url: of the server, with a path where it is behind one.
        token: what its --token asks for; "" without one. No message shows it.
        say: for remarks.
        stop: once set, nothing is waited for.
    """

    url: str
    token: str = field(default="", repr=False)
    say: Callable[[str], None] = lambda text: None
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Raises UsageError for what is no address, or no token."""
        if not (self.token.isascii() and self.token.isprintable()) or self.token != self.token.strip():
            raise UsageError("--token: it has outer blanks or letters beyond ASCII, which no header carries")
        self._scheme, self._host, self._port, self._path = _parts_of(self.url)
        self._connections: dict[int, HTTPConnection] = {}  # by thread
        self._reached = self._waited = False

    def close(self) -> None:
        """Close the connections of all threads; a new request opens one."""
        for connection in list(self._connections.values()):
            connection.close()

    def get(self, path: str) -> JsonObject:
        """The JSON object of a GET. Raises UsageError, GlipError."""
        return self._answer("GET", path, None).value

    def post(self, path: str, body: Mapping[str, object]) -> Answer:
        """The answer, be it 200 or one `ABOUT_THE_IMAGE`. Raises UsageError, GlipError."""
        return self._answer("POST", path, json.dumps(body).encode())

    def _answer(self, method: str, path: str, body: bytes | None) -> Answer:
        until = time.monotonic() + BUSY_SECONDS
        while True:
            status, headers, content = self._patiently(method, path, body)
            if status not in BUSY:
                break
            if self.stop.is_set() or time.monotonic() > until:
                raise GlipError(f"{self}: busy for {BUSY_SECONDS:.0f} s{_reason_in(content)}; wait, {_AGAIN}")
            self._wait(headers.get("Retry-After", ""))
        if status != 200 and status not in ABOUT_THE_IMAGE:
            raise self._refusal(status, headers, content)
        other = {} if status == 200 else {"error": f"the server answers {status}"}  # in words of a proxy
        return Answer(status, headers, parsed_object(content) or other)

    def _wait(self, seconds: str) -> None:
        if not self._waited:
            self._waited = True
            self.say(f"{self} is busy; waiting for it")
        asked = whole_number(seconds)
        self.stop.wait(1.0 if asked is None else min(asked, MOST_WAIT))

    def _patiently(self, method: str, path: str, body: bytes | None) -> tuple[int, Message, bytes]:
        pauses = list(PAUSES)
        while True:
            try:
                return self._once(method, path, body)
            except _LostError as lost:
                if not self._reached:
                    raise GlipError(f"{self}: no server answers there ({lost}); start one with `glip serve`, or "
                                    "correct --server") from None  # fmt: skip
                if not pauses or lost.slow or self.stop.is_set():
                    raise GlipError(f"{self}: the server is gone ({lost}); start it again, {_AGAIN}") from None
                self.stop.wait(pauses.pop(0))

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, Message, bytes]:
        """Status, headers and body. Raises _LostError; GlipError for a server that cannot be trusted."""
        try:
            connection = self._connection()
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered that it is too much
                connection.request(method, self._path + path, body, self._headers(body))
            response = connection.getresponse()
            content = response.read()
            if response.status == 502:  # of a proxy before it
                raise HTTPException(f"502 {response.reason}")
        except (OSError, HTTPException) as error:
            self._drop()
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                reason = getattr(error, "verify_message", "") or "it is not trusted"
                raise GlipError(f"{self}: its certificate is refused ({reason}); name the certificate's file in "
                                "SSL_CERT_FILE") from None  # fmt: skip
            raise _LostError(error) from None
        except BaseException:
            self._drop()  # half of an answer may be on its way
            raise
        self._reached = True
        return response.status, response.headers, content

    def _connection(self) -> HTTPConnection:
        """The open connection of this thread."""
        kept = self._connections.get(threading.get_ident())
        if kept is None or kept.sock is None:  # it closes after an answer that says so
            kind = HTTPSConnection if self._scheme == "https" else HTTPConnection
            kept = kind(self._host, self._port, timeout=CONNECT_SECONDS)
            self._connections[threading.get_ident()] = kept
            kept.connect()
            kept.sock.settimeout(ANSWER_SECONDS)
        return kept

    def _drop(self) -> None:
        """Close the connection of this thread."""
        if kept := self._connections.pop(threading.get_ident(), None):
            kept.close()

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def _refusal(self, status: int, headers: Message, content: bytes) -> GlipError:
        reason = _reason_in(content)
        if status == 401:
            return UsageError(f"{self}: {'refuses this --token' if self.token else 'asks for a --token (GLIP_TOKEN)'}")
        if 300 <= status < 400:
            place = shown_url(headers.get("Location", "")) or "another address"
            return UsageError(f"{self}: leads to {place}; give that as --server")
        if status in (404, 405, 501):
            return UsageError(f"{self}: answers {status}, as no `glip serve` does; correct --server")
        if status < 500:
            return UsageError(reason[2:-1] if reason and status == 400 else f"{self}: answers {status}{reason}")
        return GlipError(f"{self}: answers {status}{reason}; see what it says there, {_AGAIN}")

    @contextmanager
    def understood(self) -> Iterator[None]:
        """While an answer is read. Raises UsageError where it has not what it must have."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            raise UsageError(f"{self}: does not answer as `glip serve` does; correct --server") from None

    def __str__(self) -> str:
        return shown_url(self.url)


def _parts_of(url: str) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and the path without a slash at its end. Raises UsageError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its words are parts of the URL
        host = port = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or not url.isprintable():
        raise UsageError(f"--server {quoted(shown_url(url))}: write an address such as http://127.0.0.1:8000")
    if parts.username is not None:
        raise UsageError(f"--server {shown_url(url)}: leave out what stands before the @, and give it as --token")
    path = parts.path.rstrip("/")
    if not re.fullmatch("[!-~]+", host + path):
        raise UsageError(f"--server {quoted(shown_url(url))}: write other letters than ASCII as %XX, or as xn--")
    return parts.scheme, host, port, path


def _reason_in(content: bytes) -> str:
    """The server's error message, in brackets; "" without one."""
    error = (parsed_object(content) or {}).get("error")
    return f" ({one_line(str(error))})" if error else ""


def error_in(value: JsonObject) -> str:
    """The one line of an answer that is an error. Raises LookupError for another."""
    return one_line(str(value["error"]))
