"""Redirect the signals that end a program for a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_to(handler: Callable[..., object] | None, numbers: Sequence[int] = ENDING) -> Iterator[None]:
    """Here these signals go to a handler, or with None to whatever takes them; afterwards to where they went before."""
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        if handler:
            for number in numbers:
                signal.signal(number, handler)
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, earlier in before.items():
                signal.signal(number, earlier)
