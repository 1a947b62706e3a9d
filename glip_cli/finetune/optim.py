"""What moves the weights: AdamW all of them, or Muon the matrices between features and AdamW the rest.

Muon (Keller Jordan, 2024) is torch's, its steps scaled to the size of AdamW's (arXiv 2502.16982), so that rates are of
the same kind. It is what let glip-mini learn shapes from random weights (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

MOMENTUM = 0.95  # of Muon, as published


class Optimizers:
    """One or two of torch's, used as one.

    Attributes:
        adamw, muon: muon is None where no group asks for it.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]]):
        """From groups as `modes.Tuning` has them; each rate is kept as "peak"."""
        own = [{**group, "peak": group["lr"]} for group in groups]
        self.adamw = torch.optim.AdamW([group for group in own if not group["muon"]])
        matrices = [group for group in own if group["muon"]]
        self.muon = torch.optim.Muon(matrices, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw") if matrices else None

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """AdamW's first."""
        return self.adamw.param_groups + (self.muon.param_groups if self.muon else [])

    def zero_grad(self) -> None:
        self.adamw.zero_grad(set_to_none=True)
        if self.muon:
            self.muon.zero_grad(set_to_none=True)

    def step(self) -> None:
        self.adamw.step()
        if self.muon:
            self.muon.step()

    def state_dict(self) -> dict[str, Any]:
        """Of each by its name."""
        return {"adamw": self.adamw.state_dict()} | ({"muon": self.muon.state_dict()} if self.muon else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.adamw.load_state_dict(state["adamw"])
        if self.muon:
            self.muon.load_state_dict(state["muon"])
