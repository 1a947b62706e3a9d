"""`python -m glip_cli` is `glip`."""

from glip_cli.cli import main

main()
