"""glibc's malloc, set to keep what is freed.

For a block of 128 kB to 32 MB or more malloc asks the kernel, and gives it back at once. A network frees such a block
after each step, so that an image of 800x1066 is 60,000 to 135,000 page faults for GLIP-T, 3 to 15 % of its time.
"""

from __future__ import annotations

import ctypes
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # parameters of mallopt(3)
KEPT = 1 << 30  # bytes of free memory that stay with the process, and a block that malloc serves by itself


@cache
def keep_freed_memory() -> None:
    """Blocks of up to `KEPT` bytes that are freed stay with the process for the next ones, whichever thread asks.

    More than that at the end of the heap goes back to the kernel. Other systems than Linux with glibc are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS and musl have no mallopt, Windows no such library
        return
    mallopt(TRIM_THRESHOLD, KEPT)
    mallopt(MMAP_THRESHOLD, KEPT) or mallopt(MMAP_THRESHOLD, 32 << 20)  # the most that older ones take
    mallopt(ARENA_MAX, 1)  # a thread's own arena gives back what it can, and cannot grow beyond 64 MB
