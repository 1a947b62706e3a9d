"""A real server in this process: uvicorn in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from glip_cli.detector import Detector
from glip_cli.server.app import create_app
from glip_cli.server.options import ServeOptions
from glip_cli.server.run import bind, server_of, url_of


@contextmanager
def serving(detector: Detector, options: ServeOptions | None = None) -> Iterator[str]:
    """The URL of a server of `detector`, which runs while the block does."""
    options = options or ServeOptions(port=0)
    with running(create_app(detector, options), options) as url:
        yield url


@contextmanager
def running(app: FastAPI, options: ServeOptions) -> Iterator[str]:
    bound, ready = bind(options), threading.Event()
    server: uvicorn.Server = server_of(app, options, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        assert ready.wait(60)
        yield url_of(bound)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
