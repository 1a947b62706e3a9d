"""A process before its work begins, while all else is imported. Of the standard library alone."""

from __future__ import annotations

import gc
import os
import signal

INTERRUPTED = 130  # what shells give for Ctrl-C
_USUAL = gc.get_threshold()


def leave_on_interrupt() -> None:
    """Until the work begins, Ctrl-C ends the process at once: an exception in the midst of torch's import aborts it."""

    def leave(number: int, frame: object) -> None:
        os.write(2, b"glip: interrupted\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, leave)


def collect_rarely() -> None:
    """Look for garbage after 100,000 allocations: Python's usual 700 take a tenth of the time to import torch."""
    gc.set_threshold(100_000)


def share_busy_cores() -> None:
    """On a busy machine, let waiting threads sleep soon; call before torch is imported.

    Awake, which is OpenMP's default, they wait 6 % less where the machine is idle. Where it is busy, they take the
    cores from each other: with three more programs on two cores GLIP-T took 16 s an image, and so 7.
    """
    try:
        busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows has none
        return
    if busy and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def collect_as_usual() -> None:
    """The work begins, in which garbage may hold images."""
    gc.set_threshold(*_USUAL)
