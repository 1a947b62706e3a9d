"""Who may ask, and how much a request may bring: around the whole application, before a body is read."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import time
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glip_cli.server.errors import RequestError
from glip_cli.server.metrics import Metrics
from glip_cli.server.options import ServeOptions
from glip_cli.utils.text_format import whole_number

OPEN = frozenset({"/", "/docs", "/health", "/openapi.json"})
"""Paths that need no token."""
MAX_HEADER_BYTES = 32_768
DISCARD_SECONDS = 10.0
"""For the rest of a body after the answer."""
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """ASGI middleware.

    A page of another site may make a browser ask a server of this machine, by its address or by a name that leads to
    it. So a server on a loopback address answers to its own names only, and no server answers a page of another origin
    that is not allowed.
    """

    def __init__(self, app: ASGIApp, limits: ServeOptions, metrics: Metrics, paths: frozenset[str]):
        """`paths` are counted by name."""
        self.app, self.limits, self.metrics, self.paths = app, limits, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # uvicorn sends no body then
            scope = {**scope, "method": "GET"}
        started, status = time.perf_counter(), 500
        body = _Body(scope, receive, self.limits)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            elif not message.get("more_body") and body.is_on_its_way:
                await send({**message, "more_body": True})
                await body.discard()
                message = {"type": "http.response.body"}
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, body.receive, sending)
        except RequestError as error:
            await error.response(scope, receive, sending)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
            raise RequestError(431, f"the headers have more than {MAX_HEADER_BYTES} bytes")
        self._check_host(headers)
        self._check_origin(headers)
        if self.limits.token is not None and scope["path"] not in OPEN and scope["method"] != "OPTIONS":
            self._check_token(headers, self.limits.token)
        length = whole_number(headers.get("content-length", "0"))
        if length is None:
            raise RequestError(400, "Content-Length is no number")
        if length > self.limits.max_bytes:
            raise _too_large(self.limits)

    def _check_host(self, headers: Headers) -> None:
        name = _parts(f"//{headers.get('host', '')}").hostname
        if self.limits.is_loopback and name not in LOCAL_NAMES | {self.limits.host.strip("[]")}:
            raise RequestError(403, "this server answers to localhost only; ask it by that name")

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self.limits.allow_origin or "*" in self.limits.allow_origin:
            return
        if _parts(origin).netloc != headers.get("host"):
            raise RequestError(403, "a page of another origin asks; the server allows one by --allow-origin")

    def _check_token(self, headers: Headers, token: str) -> None:
        if not hmac.compare_digest(_sent_token(headers), token.encode()):
            raise RequestError(
                401, "the token is missing or wrong; send it as Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="glip"'},
            )  # fmt: skip


class _Body:
    """The body of a request as it arrives: its size, and how long it takes."""

    def __init__(self, scope: Scope, receive: Receive, limits: ServeOptions):
        headers = Headers(scope=scope)
        self._receive, self._limits = receive, limits
        self._end = time.monotonic() + limits.time_limit
        self._got, self._complete = 0, False
        self._is_sent = "expect" not in headers and (
            "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        )

    async def receive(self) -> Message:
        """Raises RequestError."""
        if self._complete:  # what comes then is that the client has gone, whenever that is
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._end - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            self._is_sent = False
            raise RequestError(408, f"the body was not here within {self._limits.time_limit:g} s") from None
        self._got += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._got > self._limits.max_bytes:
            raise _too_large(self._limits)
        return message

    @property
    def is_on_its_way(self) -> bool:
        """Whether more of the body is on its way."""
        return self._is_sent and not self._complete

    async def discard(self) -> None:
        """Take the rest: many clients see no answer before they have sent all, and lose it as the connection closes."""
        most = self._got + 2 * self._limits.max_bytes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while not self._complete and self._got < most:
                    message = await self._receive()
                    self._got += len(message.get("body", b""))
                    self._complete = not message.get("more_body", False)


def _too_large(limits: ServeOptions) -> RequestError:
    return RequestError(413, f"a request may have {limits.max_upload:g} MB", {"Connection": "close"})


def _parts(url: str) -> SplitResult:
    """Empty for what is no URL, such as one with half of an IPv6 address."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _sent_token(headers: Headers) -> bytes:
    """The token of `Authorization: Bearer TOKEN`, or the password of Basic."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return value.strip().encode() if scheme.lower() == "bearer" else b""
