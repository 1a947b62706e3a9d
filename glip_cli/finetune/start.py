"""The network that a training begins with: a published one, a file, or random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glip_cli.errors import UsageError
from glip_cli.model import ARCHITECTURES, Glip
from glip_cli.weights import registry
from glip_cli.weights.fetch import Report
from glip_cli.weights.parts import DEFAULT, load_source, load_tokenizer_folder, tokenizer_folder
from glip_cli.weights.tuned import Card


@dataclass(frozen=True)
class Start:
    """
    Attributes:
        model: on the CPU, float32.
        tokenizer: the folder of its tokenizer.
        name: what records call it, "glip-t@c24ce662"; "random" for random weights.
        sha256: of its file; "" for random weights.
        source: where it is found again: a name of weights.toml, or an absolute path.
    """

    model: Glip
    architecture: str
    tokenizer: Path
    name: str
    sha256: str = ""
    source: str = ""

    def card(self, mode: str, name: str, labels: tuple[str, ...], training: Mapping[str, Any]) -> Card:
        """Of what a training makes of it."""
        base = self.name if self.sha256 else ""
        return Card(mode, name, self.architecture, base, self.sha256, self.source, labels, training)


def load_start(
    model: str | None = None,
    *,
    weights: Path | None = None,
    bert: Path | None = None,
    offline: bool = False,
    report: Report | None = None,
) -> Start:
    """As `Detector.load` takes these. Raises WeightsError or UsageError."""
    loaded = load_source(model, weights, None, offline, report)
    tokenizer = bert.expanduser() if bert else tokenizer_folder(loaded, None, offline, report)
    named = weights is None and (model or DEFAULT) in registry.names()
    source = (model or DEFAULT) if named else str(Path(weights or model or "").expanduser().resolve())
    return Start(loaded.model, loaded.architecture, tokenizer, loaded.id, loaded.sha256, source)


def random_start(
    model: str | None = None, *, seed: int, bert: Path | None = None, offline: bool = False,
    report: Report | None = None,
) -> Start:  # fmt: skip
    """An untrained network of a named one's architecture. Raises WeightsError or UsageError."""
    if model is not None and model not in registry.names():
        raise UsageError(f"--init random needs a --model by its name, not {model}; it gives the architecture")
    architecture = registry.find(model or DEFAULT).architecture
    tokenizer = load_tokenizer_folder(model, bert=bert, offline=offline, report=report)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Glip(ARCHITECTURES[architecture])
    return Start(network.eval(), architecture, tokenizer, "random")
