"""Which features, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glip_cli.errors import OptionError
from glip_cli.types import DetectOptions, as_tuple

KINDS = ("backbone", "fpn", "fused", "similarity", "logits", "text")
"""All there is, in the order in which the network makes it."""

USUAL = ("backbone", "fpn", "fused", "similarity")
OF_A_TEXT = KINDS[2:]
POOLS = ("none", "mean")


@dataclass(frozen=True)
class FeatureOptions:
    """What to take out of the network. Raises OptionError for a value that cannot be meant."""

    which: str | Sequence[str] | None = None  # of KINDS; None: the first four, as far as there is a head and a text
    pool: str = "none"  # "mean": each map averaged over its cells
    size: tuple[int, int] | None = None  # shorter and longer side in pixels; None: the model's own
    batch_size: int = 1  # images at once

    def __post_init__(self) -> None:
        if self.which is not None:
            object.__setattr__(self, "which", as_tuple(self.which))
        for kind in self.which or ():
            if kind not in KINDS:
                raise OptionError("which", kind, f"there are {', '.join(KINDS)}")
        if self.which == ():
            raise OptionError("which", "()", f"it names nothing: there are {', '.join(KINDS)}")
        if self.pool not in POOLS:
            raise OptionError("pool", self.pool, f"there are {', '.join(POOLS)}")
        DetectOptions(size=self.size, batch_size=self.batch_size)  # checks both


def choose(options: FeatureOptions, has_head: bool, has_text: bool) -> tuple[str, ...]:
    """The kinds to make, in the order of KINDS. Raises OptionError for one that is not available."""
    there: Sequence[str] = KINDS[: 1 if not has_head else len(KINDS) if has_text else 2]
    if options.which is None:
        return tuple(kind for kind in USUAL if kind in there)
    for kind in options.which:
        if kind in there:
            continue
        if not has_head:
            raise OptionError(
                "which", kind, "the model is an image backbone alone and gives backbone; name a whole one"
            )
        raise OptionError("which", kind, "it depends on a text: say what to look for")
    return tuple(kind for kind in KINDS if kind in options.which)
