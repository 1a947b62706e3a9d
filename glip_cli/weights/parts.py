"""What `Detector.load` needs: the network, the folder of its tokenizer, its name for records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glip_cli.model import Glip
from glip_cli.weights import registry
from glip_cli.weights.fetch import Report, fetch, fetch_tokenizer, present
from glip_cli.weights.load import Loaded, load, load_backbone
from glip_cli.weights.registry import Checkpoint

DEFAULT = "glip-t"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")


@dataclass(frozen=True)
class DetectorParts:
    """
    Attributes:
        model: on the CPU, float32, in evaluation mode.
        tokenizer: folder with tokenizer.json or vocab.txt.
        name: "glip-t@c24ce662".
    """

    model: Glip
    tokenizer: Path
    name: str


def load_detector_parts(
    model: str | None = None,
    *,
    weights: str | Path | None = None,
    bert: str | Path | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
    report: Report | None = None,
) -> DetectorParts:
    """Load what a person named with --model, --weights and --bert; without any of them, GLIP-T.

    Args:
        model: a name in weights.toml, or a file or folder. With `weights`, whose architecture the file must have.
        weights: a checkpoint file, or a folder that `finetune` left.
        bert: the folder of a tokenizer, where it cannot be fetched.
        cache_dir: `cache.default_dir()` if not given.
        offline: never use the network.
        report: is told about downloads.

    Raises WeightsError or UsageError.
    """
    loaded = _load(model, weights, cache_dir, offline, report)
    tokenizer = Path(bert).expanduser() if bert else _tokenizer(loaded, cache_dir, offline, report)
    return DetectorParts(loaded.model, tokenizer, loaded.id)


def fetch_parts(checkpoint: Checkpoint, *, offline: bool = False, report: Report | None = None) -> Path:
    """Get a checkpoint and its tokenizer, so that it works offline from now on; return the file that will be mapped.

    Raises WeightsError.
    """
    if checkpoint.kind == "backbone":
        load_backbone(checkpoint, offline=offline, report=report)
        return present(checkpoint) or fetch(checkpoint, offline=offline, report=report)
    loaded = load(checkpoint, offline=offline, report=report)
    _tokenizer(loaded, None, offline, report)
    return loaded.path


def load_tokenizer_folder(
    model: str | None = None, *, bert: str | Path | None = None, offline: bool = False, report: Report | None = None
) -> Path:
    """The folder of a named model's tokenizer, without its weights. Raises WeightsError."""
    if bert:
        return Path(bert).expanduser()
    embedded = registry.find(model or DEFAULT).embedded
    return embedded.parent if embedded else fetch_tokenizer(offline=offline, report=report)


def _load(model: str | None, weights: str | Path | None, cache_dir: Path | None, offline: bool,
          report: Report | None) -> Loaded:  # fmt: skip
    if weights is not None:
        architecture = registry.find(model).architecture if model else None
        return load(weights, architecture=architecture, cache_dir=cache_dir)
    if model is not None and model not in registry.names() and Path(model).expanduser().exists():
        return load(model, cache_dir=cache_dir)
    return load(registry.find(model or DEFAULT), cache_dir=cache_dir, offline=offline, report=report)


def _tokenizer(loaded: Loaded, cache_dir: Path | None, offline: bool, report: Report | None) -> Path:
    """The one beside the weights; else the embedded model's own, or BERT's."""
    if any((loaded.path.parent / file).is_file() for file in TOKENIZER_FILES):
        return loaded.path.parent
    if loaded.architecture == registry.EMBEDDED:
        return registry.PACKAGE / "assets" / registry.EMBEDDED
    return fetch_tokenizer(cache_dir=cache_dir, offline=offline, report=report)
