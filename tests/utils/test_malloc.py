"""Memory that is freed stays with the process, in every thread."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

FAULTS = """
import json, resource, threading
import torch
from glip_cli.utils.malloc import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(40 << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def measure(found):
    found.append([faults() for _ in range(16)][-4:])  # malloc leaves gaps at first, into which none of the next fits

found = []
measure(found)
keep_freed_memory()
measure(found)
thread = threading.Thread(target=measure, args=(found,))
thread.start()
thread.join()
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be set so")
def test_a_block_that_is_freed_is_not_fetched_from_the_kernel_again() -> None:
    """40 MB, 10,240 pages; or 20 where the kernel gives huge ones."""
    output = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True).stdout
    before, after, in_thread = json.loads(output)
    assert min(before) >= 20
    assert max(after) < 5
    assert max(in_thread) < 5
