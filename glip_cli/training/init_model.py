"""The network that a training begins with: a published one, a file, or random weights but for an image side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from glip_cli.checkpoints import finetuned, registry
from glip_cli.checkpoints.cache import expanded
from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.checkpoints.formats import BACKBONE, BACKBONES
from glip_cli.checkpoints.load import OpenKeywords, info, load, open_checkpoint
from glip_cli.checkpoints.parts import load_source, prompt_tuned_for, tuned_for
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.checkpoints.resolve import DEFAULT, load_tokenizer_folder, tokenizer_folder
from glip_cli.errors import FetchError, UsageError
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip
from glip_cli.model.head import Head
from glip_cli.prompts.chunking import vocabulary_notes
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import Words, other_words, words_for
from glip_cli.training.dataset import TrainSet
from glip_cli.training.sampler import AnySet
from glip_cli.training.tuning import check_mode
from glip_cli.utils.text_format import first_line, listed

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


@dataclass(frozen=True)
class InitSource:
    """The model that a training starts from, by the flags of these names."""

    model: str | None = None
    weights: str | None = None
    init: str | None = None
    bert: str | None = None

    def load(self, mode: str, seed: int, *, offline: bool = False, report: ProgressCallback | None = None) -> Start:
        """Raises WeightsError or UsageError."""
        if self.init is None:
            start = self._published(offline, report)
            check_mode(start.model, mode)
            return start
        if self.weights or mode != "full":
            raise UsageError(f"--init {self.init} trains a new network: it goes with --mode full and without --weights")
        return self._untrained(self.init, seed, offline, report)

    def _published(self, offline: bool, report: ProgressCallback | None) -> Start:
        """As `Detector.load` takes these."""
        loaded = load_source(self.model, self.weights, offline=offline, report=report)
        source = self.model or DEFAULT
        if self.weights or source not in registry.names():
            source = str(expanded(Path(self.weights or source)).resolve())
        return Start(
            model=loaded.model,
            architecture=loaded.architecture,
            tokenizer=tokenizer_folder(loaded, self.bert),
            name=loaded.id,
            sha256=loaded.sha256,
            source=source,
            words=tuned_for(loaded)[1],
            prompt_tuned_labels=prompt_tuned_for(loaded),
        )

    def _untrained(self, init: str, seed: int, offline: bool, report: ProgressCallback | None) -> Start:
        """A network of a named one's architecture: random, but for ImageNet's backbone and BERT, or an image side."""
        if self.model is not None and self.model not in registry.names():
            raise UsageError(f"--init needs a --model by its name, not {self.model}; it gives the architecture")
        architecture = registry.find(self.model or DEFAULT).architecture
        tokenizer = load_tokenizer_folder(self.model, bert=self.bert)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            network = Glip(ARCHITECTURES[architecture])
            if isinstance(network.head, Head):
                network.head.log_scale.fill_(LOG_SCALE)
        if init == PRETRAINED:
            network.load_state_dict(network.state_dict() | load_pretrained(architecture, offline))
        elif init != RANDOM:
            network.load_state_dict(network.state_dict() | load_image_side(init, architecture, offline, report))
        name = init if init in (RANDOM, PRETRAINED) else f"random, image side of {init}"
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
    given: OpenKeywords = {"architecture": architecture, "offline": offline, "report": report}
    if alone:
        backbone = open_checkpoint(found, **given).load_backbone().backbone
        return {BACKBONE + name: tensor for name, tensor in backbone.state_dict().items()}
    return _image_side(load(found, **given).model)


def _image_side(model: Glip) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith((BACKBONE, PYRAMID))}


# ------------------------------------------------------------------------------------------------------ notes on labels
# What is worth saying of the labels of training sets, as the model reads them.


def label_notes(start: Start, sets: Sequence[AnySet], words: Words | None) -> Iterator[str]:
    """Words that the model remembers; class names that the vocabulary lacks, or that it cannot tell apart."""
    labels = tuple(dict.fromkeys(label for one in sets for label in one.labels))
    if words == start.words and (read := other_words(labels, start.words)):
        yield f"words of {start.name}: {listed(f'{text} = {label}' for label, text in read.items())}"
    tuned = start.prompt_tuned_labels
    if tuned and words_for(labels, words or {}) != tuned:
        yield (f"note: {start.name} was tuned for the prompt of {listed(tuned)}, in this order; what was "
               "added to its tokens stays, for other labels now")  # fmt: skip
    tokenizer = Tokenizer.from_dir(start.tokenizer)
    if tokenizer.learns_words:
        return
    for labels in dict.fromkeys(one.labels for one in sets if isinstance(one, TrainSet) and one.labels):
        for note in vocabulary_notes(label_prompt(labels, words or {}), tokenizer):
            yield f"note: {note}"


# ---------------------------------------------------------------------------------------------------- ImageNet and BERT
# ImageNet's Swin and bert-base-uncased, from which the published models began, as tensors of a `Glip`.
#
# timm and transformers fetch them, from huggingface.co.


SWINS = {
    "glip-t": "swin_tiny_patch4_window7_224.ms_in1k",
    "glip-t-a": "swin_tiny_patch4_window7_224.ms_in1k",
    "glip-l": "swin_large_patch4_window12_384.ms_in22k",
}
"""timm's names of the image backbones, by architecture."""
BERT = "google-bert/bert-base-uncased"
TEXT = "text.bert."


def load_pretrained(architecture: str, offline: bool = False) -> dict[str, Tensor]:
    """Name -> tensor of the backbone, but for its output norms, and of BERT. Raises UsageError or FetchError."""
    if architecture not in SWINS:
        raise UsageError(f"--init pretrained: there are weights for {', '.join(SWINS)}, and none for {architecture}")
    try:
        swin, bert = _fetch(SWINS[architecture], offline)
    except (OSError, RuntimeError, ValueError) as error:  # of two libraries and their client
        way = "once without --offline" if offline else "with --init random, or try again"
        raise FetchError(
            f"--init pretrained: {SWINS[architecture]} or {BERT} cannot be had ({first_line(error)}); {way}"
        ) from error
    return swin_state(swin) | bert_state(bert)


def _fetch(swin: str, offline: bool) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when timm imports the client
    import timm
    from transformers import BertModel

    network = timm.create_model(swin, pretrained=True)
    bert = BertModel.from_pretrained(BERT, add_pooling_layer=False, local_files_only=offline)
    return network.state_dict(), bert.state_dict()


def swin_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Timm's Swin -> tensors of a `Glip`. GLIP reads BGR where timm reads RGB; pixels are normalised alike."""
    kept = {key: tensor for key, tensor in state.items() if key.startswith(("patch_embed.", "layers."))}
    kept["patch_embed.proj.weight"] = kept["patch_embed.proj.weight"].flip(1)
    return {BACKBONE + key: tensor for key, tensor in kept.items() if "relative_position_index" not in key}


def bert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Transformers' BertModel -> tensors of a `Glip`; the layers between the fusion layers stay random."""
    return {TEXT + key: tensor for key, tensor in state.items() if key.startswith(("embeddings.", "encoder."))
            and not key.endswith(("position_ids", "token_type_ids"))}  # fmt: skip
