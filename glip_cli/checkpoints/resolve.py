"""Resolve --model, --weights, --adapter and --bert: names in weights.toml, files, folders of `glip finetune`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from glip_cli.checkpoints import cache, finetuned, registry
from glip_cli.checkpoints.adapters import Adapter, find_adapter
from glip_cli.checkpoints.load import Origin, open_checkpoint
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.errors import CheckpointError, UsageError
from glip_cli.prompts import lexicon

AnyOrigin = TypeVar("AnyOrigin", bound=Origin)

DEFAULT = "glip-t"
TOKENIZER_FILES = (lexicon.FILE, "tokenizer.json", "vocab.txt")


class Resolved(NamedTuple):
    """The source of a model.

    Attributes:
        architecture: the required one; None: any.
        adapters: in the order in which they are loaded.
        use_cls: `--model` names a model that reads definitions by [CLS], also where a file is given.
    """

    source: str | Path | Checkpoint
    architecture: str | None
    adapters: list[Adapter]
    use_cls: bool

    def with_use_cls(self, origin: AnyOrigin) -> AnyOrigin:
        """`origin` with `use_cls` in its metadata."""
        return replace(origin, metadata={**origin.metadata, "use_cls": "true"}) if self.use_cls else origin


class _ModelFlags(NamedTuple):
    """--model, --weights and --adapter, with folders of runs resolved."""

    model: str | None
    weights: str | Path | None
    adapter: Adapter | None


def resolve(model: str | None, weights: str | Path | None, adapter: str | Path | None) -> Resolved:
    """The model that the flags name. An adapter's base may have an adapter. Raises WeightsError or UsageError."""
    flags, adapters = _read_flags(model, weights, adapter), list[Adapter]()
    while flags.adapter is not None:
        if any(flags.adapter.folder == earlier.folder for earlier in adapters):
            raise CheckpointError(
                f"{flags.adapter.folder} says that it was made for itself: take it again from where it came"
            )
        adapters.append(flags.adapter)
        if flags.weights is not None or not holds_adapter(flags.model):
            break
        flags = _read_flags(flags.model, None, None)
    source, architecture = _network(flags.model, flags.weights)
    return Resolved(source, architecture, adapters[::-1], registry.uses_cls(flags.model))


def holds_adapter(source: str | Path | None) -> bool:
    """Whether a file or folder holds an adapter; False for names in weights.toml."""
    if source is None or source in registry.names():
        return False
    return finetuned.is_adapter(finetuned.best_of(cache.expanded(source)))


def _read_flags(model: str | None, weights: str | Path | None, adapter: str | Path | None) -> _ModelFlags:
    """A run folder is replaced by its best; an adapter alone by its base model and itself."""
    weights = None if weights is None else finetuned.best_of(cache.expanded(weights))
    if model is not None and model not in registry.names():
        model = str(finetuned.best_of(cache.expanded(model)))
    source = weights if weights is not None else model
    holds = holds_adapter(source)
    if adapter and holds:
        raise UsageError(f"{source} holds an adapter already: give --adapter with the model that it was made for")
    if adapter is None and not holds:
        return _ModelFlags(model, weights, None)
    found = find_adapter(adapter or source or "")
    if not holds and source is not None:
        return _ModelFlags(model, weights, found)
    return _ModelFlags(model if weights and model else _source(found), None, found)


def _source(adapter: Adapter) -> str:
    """The model that an adapter was made for. Raises CheckpointError where it no longer exists."""
    config = adapter.config
    if config.source not in registry.names() and not Path(config.source or "?").exists():
        raise CheckpointError(
            f"{adapter.folder} was made for {config.base}, which is no longer at {config.source or 'a known path'}: "
            "name it with --model, and this folder with --adapter"
        )
    return config.source


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
    resolved = resolve(model, weights, adapter)
    if isinstance(resolved.source, Checkpoint):
        architecture = resolved.source.architecture
        return _given_tokenizer(bert, architecture) if bert else _published_tokenizer(architecture)
    if bert:
        return cache.expanded(bert)
    file = open_checkpoint(resolved.source, architecture=resolved.architecture)
    return tokenizer_folder(file.check_has_head().origin)


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
    folder = registry.ASSETS / architecture
    return folder if _holds_tokenizer(folder) else registry.BERT


def _holds_tokenizer(folder: Path) -> bool:
    return any((folder / file).is_file() for file in TOKENIZER_FILES)
