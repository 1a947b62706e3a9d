"""Ctrl-C before the work begins. Of the standard library alone, so that it is heard while all else is imported."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130  # what shells give for Ctrl-C


def leave_on_interrupt() -> None:
    """Until the work begins, Ctrl-C ends the process at once: an exception in the midst of torch's import aborts it."""

    def leave(number: int, frame: object) -> None:
        os.write(2, b"glip: interrupted\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, leave)
