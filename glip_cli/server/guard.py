"""Who may ask, and how much a request may bring: around the whole application, before a body is read."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glip_cli.server.errors import RequestError
from glip_cli.server.metrics import Metrics
from glip_cli.server.options import ServeOptions

OPEN = frozenset({"/", "/docs", "/health", "/openapi.json"})
"""Paths that need no token."""
MAX_HEADER_BYTES = 32_768
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
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, self._limited(scope, receive), sending)
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
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise RequestError(400, "Content-Length is no number")
        if int(length) > self.limits.max_bytes:
            raise self._too_large()

    def _check_host(self, headers: Headers) -> None:
        name = urlsplit(f"//{headers.get('host', '')}").hostname
        if self.limits.is_loopback and name not in LOCAL_NAMES | {self.limits.host.strip("[]")}:
            raise RequestError(403, "this server answers to localhost only; ask it by that name")

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self.limits.allow_origin or "*" in self.limits.allow_origin:
            return
        if urlsplit(origin).netloc != headers.get("host"):
            raise RequestError(403, "a page of another origin asks; the server allows one by --allow-origin")

    def _check_token(self, headers: Headers, token: str) -> None:
        if not hmac.compare_digest(_sent_token(headers), token.encode()):
            raise RequestError(
                401, "the token is missing or wrong; send it as Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="glip"'},
            )  # fmt: skip

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Counts what comes, and how long it takes. Raises RequestError."""
        got = 0
        end = time.monotonic() + self.limits.time_limit
        complete = False

        async def limited() -> Message:
            nonlocal got, complete
            if complete:  # what comes then is that the client has gone, whenever that is
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise RequestError(408, f"the body was not here within {self.limits.time_limit:g} s") from None
            got += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if got > self.limits.max_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> RequestError:
        return RequestError(413, f"a request may have {self.limits.max_upload:g} MB", {"Connection": "close"})


def _sent_token(headers: Headers) -> bytes:
    """Of `Authorization: Bearer TOKEN`, or the password of Basic."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return value.strip().encode() if scheme.lower() == "bearer" else b""
