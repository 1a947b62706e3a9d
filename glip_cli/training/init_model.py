"""The network that a training begins with: a published one, a file, or random weights but for an image side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glip_cli.checkpoints import finetuned, registry
from glip_cli.checkpoints.cache import expanded
from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.checkpoints.finetuned import RunConfig
from glip_cli.checkpoints.formats import BACKBONE, BACKBONES
from glip_cli.checkpoints.load import info, load, load_backbone
from glip_cli.checkpoints.parts import load_source, load_tokenizer_folder, prompt_tuned_for, tokenizer_folder, tuned_for
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.checkpoints.resolve import DEFAULT
from glip_cli.errors import UsageError
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip
from glip_cli.model.head import Head
from glip_cli.training.pretrained import load_pretrained
from glip_cli.training.tuning import check_mode

PYRAMID = "fpn."
RANDOM, PRETRAINED = "random", "pretrained"  # what --init may be besides a model or a file
LOG_SCALE = -1.5  # of new networks: logits then differ between words from the first step on (docs/log.md)


@dataclass(frozen=True)
class Start:
    """
    Attributes:
        model: on the CPU, float32.
        tokenizer: the folder of its tokenizer.
        name: what records call it, "glip-t@c24ce662"; "random" or "pretrained" for new networks.
        sha256: of its file; "" for random weights.
        source: where it is found again: a name of weights.toml, or an absolute path.
        words: what it reads for classes that it was tuned for in other words.
        prompt_tuned_labels: as `DetectorParts` has them.
    """

    model: Glip
    architecture: str
    tokenizer: Path
    name: str
    sha256: str = ""
    source: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    prompt_tuned_labels: tuple[str, ...] = ()

    def card(
        self,
        mode: str,
        name: str,
        labels: tuple[str, ...],
        training: Mapping[str, object],
        words: Mapping[str, str] | None = None,
    ) -> RunConfig:
        """Of what a training makes of it."""
        base = self.name if self.sha256 else ""
        return RunConfig(mode, name, self.architecture, base, self.sha256, self.source, labels, training, words or {})


@dataclass(frozen=True)
class InitSource:
    """What a training is asked to begin with, as the flags of these names say it."""

    model: str | None = None
    weights: str | None = None
    init: str | None = None
    bert: str | None = None

    def load(self, mode: str, seed: int, *, offline: bool = False, report: ProgressCallback | None = None) -> Start:
        """Raises WeightsError or UsageError."""
        if self.init is None:
            start = load_start(self.model, weights=self.weights, bert=self.bert, offline=offline, report=report)
            check_mode(start.model, mode)
            return start
        if self.weights or mode != "full":
            raise UsageError(f"--init {self.init} trains a new network: it goes with --mode full and without --weights")
        side = None if self.init == RANDOM else self.init
        return random_start(self.model, seed=seed, image_side=side, bert=self.bert, offline=offline, report=report)


def load_start(
    model: str | None = None,
    *,
    weights: str | None = None,
    bert: str | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> Start:
    """As `Detector.load` takes these. Raises WeightsError or UsageError."""
    loaded = load_source(model, weights, offline=offline, report=report)
    named = weights is None and (model or DEFAULT) in registry.names()
    source = (model or DEFAULT) if named else str(expanded(Path(weights or model or "")).resolve())
    tokenizer, (_, words) = tokenizer_folder(loaded, bert), tuned_for(loaded)
    return Start(
        loaded.model, loaded.architecture, tokenizer, loaded.id, loaded.sha256, source, words, prompt_tuned_for(loaded)
    )


def random_start(
    model: str | None = None, *, seed: int, image_side: str | None = None, bert: str | None = None,
    offline: bool = False, report: ProgressCallback | None = None,
) -> Start:  # fmt: skip
    """An untrained network of a named one's architecture.

    `image_side` names a model or a file whose backbone, and pyramid where it has one, are taken; or it is PRETRAINED:
    the backbone of ImageNet and bert-base-uncased. Raises WeightsError or UsageError.
    """
    if model is not None and model not in registry.names():
        raise UsageError(f"--init needs a --model by its name, not {model}; it gives the architecture")
    architecture = registry.find(model or DEFAULT).architecture
    tokenizer = load_tokenizer_folder(model, bert=bert)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = Glip(ARCHITECTURES[architecture])
        if isinstance(network.head, Head):
            network.head.log_scale.fill_(LOG_SCALE)
    if image_side is None:
        return Start(network.eval(), architecture, tokenizer, "random")
    if image_side == PRETRAINED:
        given, name = load_pretrained(architecture, offline), PRETRAINED
    else:
        given = load_image_side(image_side, architecture, offline, report)
        name = f"random, image side of {image_side}"
    network.load_state_dict(network.state_dict() | given)
    return Start(network.eval(), architecture, tokenizer, name)


def load_image_side(
    source: str, architecture: str, offline: bool = False, report: ProgressCallback | None = None
) -> dict[str, Tensor]:
    """Name -> tensor of the backbone, and of the pyramid where `source` has one. Raises WeightsError or UsageError."""
    path = expanded(Path(source))
    if source not in registry.names() and not path.exists():
        raise UsageError(
            f"--init {source}: say random or pretrained, or give the name or file of a model whose image side is taken"
        )
    found = registry.find(source) if source in registry.names() else finetuned.best_of(path)
    if isinstance(found, Path) and finetuned.is_adapter(found):
        loaded = load_source(source, offline=offline, report=report)
        if loaded.architecture != architecture:
            raise UsageError(f"--init {source} is of architecture {loaded.architecture}, not {architecture}")
        return _image_side(loaded.model)
    alone = found.kind == "backbone" if isinstance(found, Checkpoint) else info(found).dialect in BACKBONES
    given: dict[str, Any] = {"architecture": architecture, "offline": offline, "report": report}
    if alone:
        return {BACKBONE + name: tensor for name, tensor in load_backbone(found, **given).state_dict().items()}
    return _image_side(load(found, **given).model)


def _image_side(model: Glip) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith((BACKBONE, PYRAMID))}
