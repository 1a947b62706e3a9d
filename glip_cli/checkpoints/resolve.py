"""What --model, --weights, --adapter and --bert mean: names of weights.toml, files, and folders that finetune left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from glip_cli.checkpoints import cache, finetuned, registry
from glip_cli.checkpoints.adapters import Adapter, find_adapter
from glip_cli.checkpoints.load import Origin, identify
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.errors import CheckpointError, UsageError
from glip_cli.prompts import lexicon

AnyOrigin = TypeVar("AnyOrigin", bound=Origin)

DEFAULT = "glip-t"
TOKENIZER_FILES = (lexicon.FILE, "tokenizer.json", "vocab.txt")


class Resolved(NamedTuple):
    """Where a network comes from.

    Attributes:
        architecture: that it must have.
        adapters: the first to add first.
        use_cls: it is said to be a model of weights.toml that reads definitions by [CLS], also where a file is given.
    """

    source: str | Path | Checkpoint
    architecture: str | None
    adapters: list[Adapter]
    use_cls: bool

    def marked(self, origin: AnyOrigin) -> AnyOrigin:
        return replace(origin, metadata={**origin.metadata, "use_cls": "true"}) if self.use_cls else origin


class _Asked(NamedTuple):
    """What --model, --weights and --adapter mean together."""

    model: str | None
    weights: str | Path | None
    adapter: Adapter | None


def resolve(model: str | None, weights: str | Path | None, adapter: str | Path | None) -> Resolved:
    """An adapter may have been made for a network that has one itself. Raises WeightsError or UsageError."""
    asked, adapters = _asked(model, weights, adapter), list[Adapter]()
    while asked.adapter is not None:
        if any(asked.adapter.folder == one.folder for one in adapters):
            raise CheckpointError(
                f"{asked.adapter.folder} says that it was made for itself: take it again from where it came"
            )
        adapters.append(asked.adapter)
        if asked.weights is not None or not holds_adapter(asked.model):
            break
        asked = _asked(asked.model, None, None)
    source, architecture = _network(asked.model, asked.weights)
    return Resolved(source, architecture, adapters[::-1], registry.uses_cls(asked.model))


def holds_adapter(place: str | Path | None) -> bool:
    """Whether a file or folder stands for a network and its adapter; names of weights.toml come first."""
    if place is None or place in registry.names():
        return False
    return finetuned.is_adapter(finetuned.best_of(cache.expanded(place)))


def _asked(model: str | None, weights: str | Path | None, adapter: str | Path | None) -> _Asked:
    """Folders of whole runs become their best; an adapter alone brings the network that it was made for."""
    weights = None if weights is None else finetuned.best_of(cache.expanded(weights))
    if model is not None and model not in registry.names():
        model = str(finetuned.best_of(cache.expanded(model)))
    place = weights if weights is not None else model
    held = holds_adapter(place)
    if adapter and held:
        raise UsageError(f"{place} holds an adapter already: give --adapter with the model that it was made for")
    if adapter is None and not held:
        return _Asked(model, weights, None)
    found = find_adapter(adapter or place or "")
    if not held and place is not None:
        return _Asked(model, weights, found)
    return _Asked(model if weights and model else _source(found), None, found)


def _source(adapter: Adapter) -> str:
    """The network that an adapter was made for. Raises CheckpointError where it is not there any more."""
    card = adapter.card
    if card.source not in registry.names() and not Path(card.source or "?").exists():
        raise CheckpointError(
            f"{adapter.folder} was made for {card.base}, which is not at {card.source or 'a known place'} any more: "
            "name it with --model, and this folder with --adapter"
        )
    return card.source


def _network(model: str | None, weights: str | Path | None) -> tuple[str | Path | Checkpoint, str | None]:
    """A file or a checkpoint, and the architecture that it must have."""
    if weights is not None:
        return weights, registry.find(model).architecture if model else None
    if model is not None and model not in registry.names() and cache.expanded(model).exists():
        return model, None
    return registry.find(model or DEFAULT), None


def load_tokenizer_folder(
    model: str | None = None,
    *,
    weights: str | Path | None = None,
    bert: str | Path | None = None,
    adapter: str | Path | None = None,
) -> Path:
    """The folder of a model's tokenizer, as `load_detector_parts` takes it; a named model need not be fetched for it.

    Raises WeightsError or UsageError.
    """
    found = resolve(model, weights, adapter)
    if isinstance(found.source, Checkpoint):
        architecture = found.source.architecture
        return _given_tokenizer(bert, architecture) if bert else _published_tokenizer(architecture)
    if bert:
        return cache.expanded(bert)
    return tokenizer_folder(identify(found.source, architecture=found.architecture))


def tokenizer_folder(origin: Origin, bert: str | Path | None = None) -> Path:
    """`bert`; else the folder of the weights, if it holds a tokenizer; else that of the architecture.

    Raises UsageError for a `bert` that the architecture cannot read text with.
    """
    if bert:
        return _given_tokenizer(bert, origin.architecture)
    beside = origin.path.parent
    return beside if _holds_tokenizer(beside) else _published_tokenizer(origin.architecture)


def _given_tokenizer(bert: str | Path, architecture: str) -> Path:
    folder = cache.expanded(bert)
    if (_published_tokenizer(architecture) / lexicon.FILE).is_file() and not (folder / lexicon.FILE).is_file():
        raise UsageError(f"--bert {bert}: {architecture} reads labels by a lexicon of its own; leave it out")
    return folder


def _published_tokenizer(architecture: str) -> Path:
    """In the package: an embedded model's own, where it has one; else BERT's, which all others read text with."""
    own = registry.ASSETS / architecture
    return own if _holds_tokenizer(own) else registry.BERT


def _holds_tokenizer(folder: Path) -> bool:
    return any((folder / file).is_file() for file in TOKENIZER_FILES)
