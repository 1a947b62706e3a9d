"""Processes of glip that need not import torch: one parent has imported it, and forks for each.

    done = forked.run(["detect", "0.png", "-t", "cat", "-m", "glip-mini"], cwd=tmp_path)  # like subprocess.run
    assert done.returncode == 0, done.stderr

    process = forked.start(["batch", "photos", *more])  # to be signalled or killed
    assert forked.wait_until(lambda: lines(journal) >= 10, process)
    process.kill()
    process.wait()

The parent is Python's own fork server, started on first use. `program` is any function of a module, called with `words`
in sys.argv; by default it is what the console script calls. What Python, libc or torch read while they start
(PYTHONUTF8, MALLOC_..., OMP_NUM_THREADS) cannot be set by `env`: that takes a real process. Where neither a signal nor
another environment is needed, `glip_cli.cli.app.run` in the test's own process costs still less.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any
from unittest import mock

PATIENCE = 300.0  # seconds; only what hangs takes as long, on however busy a machine
PRELOADED = ["torch", "typer", "rich.progress", "pytest", "glip_cli.detector", "glip_cli.training.trainer"]
"""Not glip_cli.cli, which looks for a terminal when it is imported."""
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith("GLIP_")} | {"OMP_NUM_THREADS": "1"}
"""No setting from outside, and one thread, so that several processes share the cores."""


def glip() -> None:
    """What the console script calls."""
    from glip_cli.__main__ import main

    main()


@dataclass(frozen=True)
class Setting:
    """What a process is given besides its words."""

    cwd: Path = field(default_factory=Path.cwd)
    env: Mapping[str, str] = field(default_factory=lambda: CLEAN)
    ordinary: bool = False  # without root's right to read and write everything
    limits: Mapping[int, int] = field(default_factory=dict)  # keys: resource.RLIMIT_...


class Forked:
    """A process that runs. It prints into files, so it never waits for a reader."""

    def __init__(self, process: Any, stdin: IO[str] | None, out: IO[bytes], err: IO[bytes]) -> None:
        self.pid: int = process.pid
        self.stdin = stdin
        self._process, self._out, self._err = process, out, err

    def __del__(self) -> None:
        for stream in filter(None, (self.stdin, self._out, self._err)):
            stream.close()

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the signal that ended it."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit code."""
        self._process.join(timeout)
        assert self.returncode is not None, f"it still runs after {timeout} s, and has said: {self.stdout}{self.stderr}"
        return self.returncode

    @property
    def stdout(self) -> str:
        """All that it has printed so far, with stderr where the two are one."""
        return _content(self._out)

    @property
    def stderr(self) -> str:
        return _content(self._err)


def start(
    words: Sequence[str | Path],
    program: Callable[[], object] = glip,
    *,
    stdin: str | int = "",
    stdout: int | None = None,
    stderr: int | None = None,
    **setting: Any,
) -> Forked:
    """Fork it; returns when `program` is about to be called, so a signal sent then is the program's to handle.

    `stdin` is the text that it reads, a file descriptor, or subprocess.PIPE; `stdout` and `stderr` are file
    descriptors, by default files of which the result tells; stderr may be subprocess.STDOUT. The rest: see Setting.
    """
    context, out, err = _context(), tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    if stderr == subprocess.STDOUT:
        err.close()
        stderr, err = stdout, out
    given, writer = _input(stdin)
    streams = [given, *(Connection(os.dup(f.fileno() if n is None else n)) for n, f in ((stdout, out), (stderr, err)))]
    ready, begun = context.Pipe(duplex=False)
    arguments = (program, [str(word) for word in words], Setting(**setting), streams, begun)
    process = context.Process(target=_child, args=arguments)
    process.start()
    for connection in (*streams, begun):
        connection.close()
    with ready:
        assert ready.poll(PATIENCE), "the fork did not begin"
    return Forked(process, writer, out, err)


def run(words: Sequence[str | Path], *given: Any, **how: Any) -> subprocess.CompletedProcess[str]:
    """`start`, to the end."""
    process = start(words, *given, **how)
    return subprocess.CompletedProcess(words, process.wait(), process.stdout, process.stderr)


def wait_until(true: Callable[[], bool], process: Forked) -> bool:
    """False where the process ended first."""
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, f"nothing happened, but it said: {process.stdout}{process.stderr}"
        if process.returncode is not None:
            return true()
        time.sleep(0.005)
    return True


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with mock.patch.dict(os.environ, CLEAN, clear=True):
        forkserver.ensure_running()
    atexit.register(lambda: [process.kill() for process in multiprocessing.active_children()])
    return context


def _input(stdin: str | int) -> tuple[Connection, IO[str] | None]:
    """The end that is read; and, of a pipe, the one to write to."""
    if stdin == subprocess.PIPE:
        reader, writer = os.pipe()
        return Connection(reader), open(writer, "w")
    if isinstance(stdin, int):
        return Connection(os.dup(stdin)), None
    with tempfile.TemporaryFile() as file:
        file.write(stdin.encode())
        file.seek(0)
        return Connection(os.dup(file.fileno())), None


def _content(file: IO[bytes]) -> str:
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="surrogateescape")


def _child(
    program: Callable[[], object], words: list[str], setting: Setting, streams: list[Connection], begun: Connection
) -> None:
    os.setpgid(0, 0)
    os.chdir(setting.cwd)
    os.environ.clear()
    os.environ.update(setting.env)
    for number, given in enumerate(streams):
        os.dup2(given.fileno(), number)
        given.close()
    _open_streams(setting.env.get("PYTHONIOENCODING"))
    sys.argv = ["glip", *words]
    for kind, limit in setting.limits.items():
        import resource

        resource.setrlimit(kind, (limit, limit))
    if setting.ordinary:
        _give_up_rights()
    begun.close()
    program()


def _open_streams(encoding: str | None) -> None:
    """As Python does when it starts."""
    sys.stdin = open(0, encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _give_up_rights() -> None:
    """Root's capabilities: the user stays, and may do what any owner of its files may."""
    libc, version_3 = ctypes.CDLL(None, use_errno=True), 0x20080522
    if libc.capset(struct.pack("=Ii", version_3, 0), bytes(24)):
        raise OSError(ctypes.get_errno(), "capset")
