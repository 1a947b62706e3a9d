"""Joins a Ray cluster, or starts one on this machine: within a limit, and never in silence."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stderr
from types import ModuleType

from glip_cli.errors import UsageError
from glip_cli.utils.signals import signals_to
from glip_cli.utils.text_format import words_of
from glip_cli.utils.threads import fulfil

KNOCK_SECONDS = 10.0
SAY_SECONDS = 10.0  # of waiting before it is said
JOIN_SECONDS = 60.0  # Ray alone would wait for many minutes at an address where something else listens
POLL = 0.2
WORDS = 200  # characters of an error of Ray's
MISMATCH = "Version mismatch:"
STORE_BYTES = 200_000_000  # of a cluster started here; only paths and records pass through its store


@contextmanager
def joined(address: str, stop: threading.Event, say: Callable[[str], None]) -> Iterator[ModuleType | None]:
    """The module ray, joined to a cluster until the end; None where `stop` is set before it is.

    Args:
        address: "auto": that of RAY_ADDRESS, or else one that runs on this machine, or else as "local", which starts
            one.
        say: for remarks.

    Raises UsageError where Ray is not installed, or the cluster not there.
    """
    try:
        import ray
        import ray._private.worker
        import ray.util.client
    except ImportError:
        raise UsageError("--ray needs Ray: pip install 'glip-cli[ray]'") from None
    ray._private.worker._worker_logs_enabled = False  # it prints every death, in colours, and has no other switch
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ended, result = threading.Event(), Future[None]()
    with _silent(), signals_to(None):  # Ray's C++ takes them
        watch = threading.Thread(
            target=_join_and_watch, args=(ray, address, result, ended, say), name="glip-ray", daemon=True
        )
        watch.start()
        try:
            is_joined = _wait(ray, address, result, stop, say)
        except BaseException:
            ended.set()
            raise
    try:
        yield ray if is_joined else None
    finally:
        if is_joined:
            ray.shutdown()
        ended.set()


def _join_and_watch(
    ray: ModuleType, address: str, result: Future[None], ended: threading.Event, say: Callable[[str], None]
) -> None:
    """In a thread, since Ray gives the one that waits for it no time for signals; watches until `ended`.

    The processes of a cluster that is started here end with the thread that started them.
    """
    fulfil(result, _join, ray, address)
    if result.exception() or ray.util.client.ray.is_connected():  # a ray://, which has its own errors
        ended.wait()
        return
    head = str(ray.get_runtime_context().gcs_address)
    while not ended.wait(SAY_SECONDS):
        try:
            _knock(head)
        except OSError as error:
            reason = error.strerror or error
            say(f"the head of the Ray cluster at {head} does not answer ({reason}), and after a minute Ray ends this "
                "process: start it, then run the same command to resume")  # fmt: skip
            ended.wait()


def _join(ray: ModuleType, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _running(ray) or "local"
    if address == "local":
        ray.init(address, include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
    else:
        _knock(address)
        ray.init(address, **quiet)


def _running(ray: ModuleType) -> str | None:
    """HOST:PORT of a cluster on this machine. Ray also knows those that were killed, and would wait for them."""
    try:
        address = ray._private.services.canonicalize_bootstrap_address("auto")
        _knock(address)
    except OSError:
        return None
    return str(address)


def _knock(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _wait(
    ray: ModuleType, address: str, result: Future[None], stop: threading.Event, say: Callable[[str], None]
) -> bool:
    """Whether it has joined, and not been stopped. Raises UsageError."""
    named = os.environ.get("RAY_ADDRESS") if address == "auto" else None
    where = f"RAY_ADDRESS={named}" if named else f"--ray={address}"
    begun, said = time.monotonic(), False
    while not stop.is_set():
        try:
            result.result(POLL)
            return True
        except TimeoutError:
            waited = time.monotonic() - begun
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise UsageError(f"{where}: {_why_not(error)}") from None
        if waited > SAY_SECONDS and not said:
            say(f"waiting for Ray ({where})")
            said = True
        if waited > JOIN_SECONDS and address != "local":
            raise UsageError(f"{where}: no answer within {JOIN_SECONDS:g} s; check that Ray {ray.__version__} runs "
                             "there, or take --ray=local, which starts it here")  # fmt: skip
    return False


def _why_not(error: BaseException) -> str:
    """The reason stands where Ray first met it, in a traceback that it turned into text."""
    chain = [error, error.__cause__, error.__context__]
    if any("AuthenticationError" in f"{type(one).__name__} {one}" for one in chain):
        return "the cluster asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or a file ~/.ray/auth_token"
    if (text := words_of(error)[:400]).startswith(MISMATCH):
        return f"the{text.removeprefix(f'{MISMATCH} The')}; take the same versions here"
    return f"no cluster there ({text[:WORDS]}); start one with `ray start --head`"


@contextmanager
def _silent() -> Iterator[None]:
    """Ray's C++ writes to file descriptor 2, past Python: a line for each second that it waits."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        is_real = sys.stderr is sys.__stderr__  # and no test's or notebook's
        with open(kept, "w", buffering=1, closefd=False) as stderr, redirect_stderr(stderr if is_real else sys.stderr):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def room_for(ray: ModuleType, kind: str) -> str:
    """How many "CPU"s or "GPU"s the cluster has, as text; each worker needs one."""
    there, free = (resources.get(kind, 0) for resources in (ray.cluster_resources(), ray.available_resources()))
    return f"each needs 1 {kind}; the cluster has {there:g}, {free:g} of them free"
