"""A subject in a process of its own, which stays and runs when it is told to.

So no subject works in the memory that another has left behind, as none does on a user's machine.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch


class Resident:
    """`build(*arguments)`, called in a new process, gives what each call of this object runs there."""

    def __init__(self, build: Callable[..., Callable[[], object]], *arguments: object):
        here, there = multiprocessing.Pipe()
        self._line = here
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, build, arguments))
        self._process.start()
        there.close()
        self.peak_mb: int = self._line.recv()
        """What the first run needed on top of the model; on a CPU, under Linux."""
        self.cpu_seconds: list[float] = []
        """Processor time of each run, of all threads: other programs on the machine change it less."""

    def __call__(self) -> float:
        """Run once; the seconds it took there."""
        self._line.send(True)
        seconds: float
        seconds, cpu_seconds = self._line.recv()
        self.cpu_seconds.append(cpu_seconds)
        return seconds

    def close(self) -> None:
        self._line.send(False)
        self._process.join()


def _serve(line: Connection, build: Callable[..., Callable[[], object]], arguments: tuple[object, ...]) -> None:
    run = build(*arguments)
    line.send(peak(run))
    while line.recv():
        started = time.perf_counter(), time.process_time()
        run()
        line.send((time.perf_counter() - started[0], time.process_time() - started[1]))


def peak(run: Callable[[], object]) -> int:
    """MB that a first run needs on top of what is there."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) >> 20
    if not Path("/proc/self/clear_refs").exists():
        run()
        return 0
    with suppress(OSError, AttributeError):  # what loading has freed and glibc has kept would hide what is needed
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    run()
    return (_status("VmHWM") - before) >> 10


def _status(field: str) -> int:
    """kB, as Linux tells them of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
