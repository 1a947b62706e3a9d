"""The console script, and `python -m glip_cli`."""

from __future__ import annotations

from glip_cli.utils.interrupt import leave_on_interrupt


def main() -> None:
    """`glip_cli.cli.main`, whose imports alone take a moment in which somebody may press Ctrl-C."""
    leave_on_interrupt()
    from glip_cli.cli.app import main as glip

    glip()


if __name__ == "__main__":
    main()
