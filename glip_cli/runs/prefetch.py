"""Work done ahead by threads, handed out in order.

Pillow and torch release Python's lock while they decode, resize and convert, so threads are enough, and nothing has to
travel between processes. The threads are daemons, unlike those of an executor: a process that is asked to stop does not
wait for a server that does not answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from typing import TypeVar

from glip_cli.utils.threads import fulfil

In = TypeVar("In")
Out = TypeVar("Out")
POLL_SECONDS = 0.1  # how long it takes to notice `stop`, or that the consumer is gone
LEAVE_SECONDS = 2.0  # for work at hand when closed: a thread inside torch would bring the ending interpreter down


def in_order(
    function: Callable[[In], Out],
    items: Iterable[In],
    workers: int,
    ahead: int,
    stop: threading.Event | None = None,
) -> Generator[Out, None, None]:
    """`function` of each item, in the order of the items, computed by `workers` threads.

    At most `ahead` results wait to be fetched, and one item more than that is taken early. What `items` or `function`
    raises comes out at its place. The items are taken by a thread of their own: a slow source, such as a pipe, holds
    back no result that is ready. Once `stop` is set, the next fetch ends it, and nothing is waited for.
    """
    stop = stop or threading.Event()
    results: queue.Queue[Future[Out] | None] = queue.Queue(maxsize=ahead)
    tasks: queue.SimpleQueue[tuple[Future[Out], In] | None] = queue.SimpleQueue()
    closed = threading.Event()

    def put(result: Future[Out] | None) -> None:
        while not closed.is_set():
            try:
                return results.put(result, timeout=POLL_SECONDS)
            except queue.Full:
                continue

    def feed() -> None:
        try:
            for item in items:
                if closed.is_set():
                    return
                result: Future[Out] = Future()
                tasks.put((result, item))
                put(result)
        except BaseException as error:
            failed: Future[Out] = Future()
            failed.set_exception(error)
            put(failed)
        put(None)

    def work() -> None:
        while (task := tasks.get()) and not closed.is_set():
            fulfil(task[0], function, task[1])

    threading.Thread(target=feed, name="glip-feed", daemon=True).start()
    readers = [threading.Thread(target=work, name="glip-read", daemon=True) for _ in range(workers)]
    for thread in readers:
        thread.start()
    try:
        while result := _next(results, stop):
            yield result.result()
    finally:
        closed.set()
        for _ in readers:
            tasks.put(None)
        until = time.monotonic() + LEAVE_SECONDS
        for thread in readers:
            thread.join(max(until - time.monotonic(), 0))


def _next(results: queue.Queue[Future[Out] | None], stop: threading.Event) -> Future[Out] | None:
    """The next finished result; None after the last one or once a stop is requested."""
    result: Future[Out] | None = None
    while not stop.is_set():
        try:
            result = result or results.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if result is None or result.done() or wait([result], POLL_SECONDS).done:
            return result
    return None
