"""The console script, and `python -m glip_cli`."""

from __future__ import annotations

import gc

from glip_cli.utils.interrupt import leave_on_interrupt

ALLOCATIONS = 100_000  # between two collections of garbage; Python's 700 take a tenth of the time to import torch


def main() -> None:
    """`glip_cli.cli.main`, whose imports alone take a moment in which somebody may press Ctrl-C."""
    leave_on_interrupt()
    gc.set_threshold(ALLOCATIONS)
    from glip_cli.cli.app import main as glip

    glip()


if __name__ == "__main__":
    main()
