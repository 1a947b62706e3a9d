"""Calls in other threads: a result or an error as a future, and a limit for what may never return."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sized
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from glip_cli.errors import GlipError, without_frames

T = TypeVar("T")
READ_SECONDS = 120.0  # for a file to come from its disk or network
PAUSES = (0.5, 2.0)  # seconds before each further try at what may pass within seconds


def fulfil(result: Future[T], function: Callable[..., T], *args: object) -> None:
    """Put what a call returns or raises into `result`."""
    try:
        result.set_result(function(*args))
    except GlipError as error:  # may wait long for its turn
        result.set_exception(without_frames(error))
    except BaseException as error:
        result.set_exception(error)


def within(seconds: float, function: Callable[..., T], *args: object, filled: Sized = ()) -> T:
    """`function(*args)`, called in a thread that stands by for this one.

    Args:
        filled: what the function fills, where it does many things in one call: each of them has `seconds`.

    Raises:
        TimeoutError: it has not returned after `seconds`. It goes on for itself: no thread can be ended from outside.
    """
    helper: _Helper | None = getattr(_own, "helper", None)
    if helper is None or not helper.thread.is_alive():  # a fork has no threads but one
        helper = _own.helper = _Helper()
    result: Future[T] = Future()
    helper.tasks.put(partial(fulfil, result, function, *args))
    try:
        while True:
            before = len(filled)
            try:
                return result.result(seconds)
            except TimeoutError:
                if result.done() or len(filled) == before:
                    raise
    finally:
        if not result.done():
            del _own.helper  # the next call gets another


class _Helper:
    """A thread that does one thing after the other, until this object is released. A daemon: no exit waits for it."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=_serve, args=(self.tasks,), name="glip-io", daemon=True)
        self.thread.start()

    def __del__(self) -> None:
        self.tasks.put(None)


_own = threading.local()


def _serve(tasks: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while task := tasks.get():
        task()
        del task  # it holds what was returned
