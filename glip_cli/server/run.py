"""From an address to a server that answers, and to its end."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from glip_cli.errors import UsageError
from glip_cli.server.options import ServeOptions
from glip_cli.utils.json import JsonObject
from glip_cli.utils.signals import signals_to

BACKLOG = 2048
HEADER_SECONDS = 30.0
BUSY = object()
_WAYS = {errno.EADDRINUSE: "take another port, 0 for a free one", errno.EACCES: "take a port above 1023"}
GRACE = 5  # seconds beyond the time limit of a request, for its answer


def bind(options: ServeOptions) -> socket.socket:
    """The address, taken before the model is loaded; nothing is answered yet. Raises UsageError."""
    host = options.host.strip("[]")
    with _address_errors(options):
        family, kind, protocol, _, address = socket.getaddrinfo(host, options.port, type=socket.SOCK_STREAM,
                                                                flags=socket.AI_PASSIVE)[0]  # fmt: skip
        # asyncio sends without delay where the protocol is named; else an answer's second packet waits 40 ms
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    return bound


@contextmanager
def _address_errors(options: ServeOptions) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        way = _WAYS.get(error.errno or 0, "give an address of this machine")
        raise UsageError(f"--host {options.host} --port {options.port}: {error.strerror or error}; {way}") from None


def url_of(bound: socket.socket) -> str:
    """'http://127.0.0.1:8000'."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, bound: socket.socket, options: ServeOptions, ready: Callable[[], None]) -> None:
    """Answer until Ctrl-C or SIGTERM; what is in work then is finished. A second Ctrl-C ends it at once.

    Raises UsageError where another server took the address while this one loaded its model.
    """
    with _address_errors(options):
        bound.listen(BACKLOG)
    with signals_to(lambda *_: None):
        server_of(app, options, ready).run(sockets=[bound])  # raises the signal again that ended it


def server_of(app: FastAPI, options: ServeOptions, ready: Callable[[], None]) -> AnnouncedServer:
    """Calls `ready` when it answers."""
    config = uvicorn.Config(
        app, http=Protocol, ws="none", lifespan="on", log_level="error", access_log=False, server_header=False,
        timeout_keep_alive=15, timeout_graceful_shutdown=int(options.time_limit) + GRACE, backlog=BACKLOG,
    )  # fmt: skip
    return AnnouncedServer(config, ready)


class AnnouncedServer(uvicorn.Server):
    """Prints a line when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready, self._is_full = ready, False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._log_error)
        await super().startup(sockets)
        self._ready()

    def _log_error(self, loop: asyncio.AbstractEventLoop, context: JsonObject) -> None:
        """As asyncio does, but once where no file is left for a connection: it does so thousands of times a second."""
        if "out of system resource" not in context.get("message", ""):
            loop.default_exception_handler(context)
        elif not self._is_full:
            self._is_full = True
            logging.getLogger("uvicorn.error").error("too many connections are open; more wait until others close")


class Protocol(H11Protocol):
    """Closes a connection on which no whole request comes for HEADER_SECONDS, or up to twice as long.

    Each open one costs a file, of which a process may have 1,024. uvicorn closes those alone that had a request before.
    """

    _idle_since: object = BUSY  # the request that was the last one, if it was answered by then

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._check()

    def _check(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._idle_since is self.cycle:
            self.transport.close()
            return
        self._idle_since = self.cycle if idle else BUSY
        self._next_check = self.loop.call_later(HEADER_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_check.cancel()
        super().connection_lost(exc)
