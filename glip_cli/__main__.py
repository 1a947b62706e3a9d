"""The console script, and `python -m glip_cli`."""

from __future__ import annotations

from glip_cli.utils.startup import collect_rarely, leave_on_interrupt, share_busy_cores


def main() -> None:
    """`glip_cli.cli.app.main`, whose imports alone take a moment in which somebody may press Ctrl-C."""
    leave_on_interrupt()
    collect_rarely()
    share_busy_cores()
    from glip_cli.cli.app import main as glip

    glip()


if __name__ == "__main__":
    main()
