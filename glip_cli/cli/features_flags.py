"""The flags of `glip features` alone."""

from __future__ import annotations

from typing import Annotated

import typer

from glip_cli.cli.flags import HOW, OUTPUT, WHAT

Which = Annotated[
    list[str] | None,
    typer.Option(metavar="KINDS", rich_help_panel=WHAT, show_default=False,
                 help="backbone, fpn, and with a text fused, similarity, logits, text; else the first four."),
]  # fmt: skip
Pool = Annotated[
    str,
    typer.Option(metavar="HOW", rich_help_panel=WHAT, show_default=False, help="mean: one vector per map; else none."),
]
SaveDtype = Annotated[
    str,
    typer.Option(metavar="DTYPE", rich_help_panel=OUTPUT, show_default=False,
                 help="float16 halves the files; else float32."),
]  # fmt: skip
Overwrite = Annotated[bool, typer.Option("--overwrite", rich_help_panel=HOW, help="Write files anew that are there.")]
