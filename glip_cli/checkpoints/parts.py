"""What `Detector.load` needs: the network, the folder of its tokenizer, its name for records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from glip_cli.checkpoints import cache, finetuned, safetensors_io
from glip_cli.checkpoints.adapters import Adapter, load_adapter
from glip_cli.checkpoints.fetch import ProgressCallback, cached_path, fetch
from glip_cli.checkpoints.files import locate
from glip_cli.checkpoints.load import Loaded, Origin, load, load_backbone, load_if_backbone
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.checkpoints.resolve import AnyOrigin, holds_adapter, resolve, tokenizer_folder
from glip_cli.errors import CheckpointError
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip
from glip_cli.model.swin import Backbone
from glip_cli.outputs.files import writing
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.words import Words, words_for
from glip_cli.types import Prompt

# in the metadata of a file: what was read for an offset's labels; labels of any tuning; what was read for some of them
TUNED_FOR, LABELS, WORDS = "tuned_for", "labels", "words"


@dataclass(frozen=True)
class DetectorParts:
    """
    Attributes:
        model: on the CPU, float32, in evaluation mode.
        tokenizer: folder with tokenizer.json or vocab.txt.
        name: "glip-t@c24ce662", or "glip-t@c24ce662+blood@1f0c88a2" with an adapter.
        prompt_tuned_labels: what is read for the labels of a prompt's tuned offset; empty where there is none.
        labels: that the model was tuned for in any mode; empty where it was not, or on captions.
        use_cls: a label with its definition is read by [CLS], else by the tokens of its name.
        words: what is read for those of `labels` that are asked for in other words.
    """

    model: Glip
    tokenizer: Path
    name: str
    prompt_tuned_labels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    use_cls: bool = False
    words: Words = field(default_factory=dict)


@dataclass(frozen=True)
class BackboneParts:
    """
    Attributes:
        backbone: on the CPU, float32, in evaluation mode.
        image_size: shorter side and limit of the longer one in pixels, as its model takes them.
        name: "glip-t-backbone@d85813b5".
    """

    backbone: Backbone
    image_size: tuple[int, int]
    name: str


def load_detector_parts(
    model: str | None = None,
    *,
    weights: str | Path | None = None,
    bert: str | Path | None = None,
    adapter: str | Path | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> DetectorParts:
    """Load what is named by --model, --weights, --bert and --adapter; without any of them, GLIP-T.

    Args:
        model: a name in weights.toml, or a file or folder. With `weights`, whose architecture the file must have.
        weights: a checkpoint file, or a folder that `finetune` left.
        bert: the folder of a tokenizer, in place of the model's own.
        adapter: a folder that `finetune` left, for the model that it was made for; alone it brings that model. So does
            such a folder as `model` or `weights`.
        cache_dir: `cache.default_dir()` if not given.
        offline: never use the network.
        report: called during downloads.

    Raises WeightsError or UsageError.
    """
    loaded = load_source(model, weights, adapter, cache_dir=cache_dir, offline=offline, report=report)
    (labels, words), use_cls = tuned_for(loaded), loaded.metadata.get("use_cls") == "true"
    tokenizer = tokenizer_folder(loaded, bert)
    return DetectorParts(loaded.model, tokenizer, loaded.id, prompt_tuned_for(loaded), labels, use_cls, words)


def tuned_prompt(
    model: str | None = None, *, weights: str | Path | None = None, adapter: str | Path | None = None
) -> Prompt | None:
    """The prompt of `DetectorParts.labels`, if there are any, without loading the weights.

    Raises WeightsError or UsageError.
    """
    found = resolve(model, weights, adapter)
    if found.adapters:
        card = found.adapters[-1].card
        labels, words = card.labels, card.words
    elif isinstance(found.source, Checkpoint):
        return None
    else:
        path = locate(cache.expanded(found.source))
        metadata = safetensors_io.read_metadata(path) if path.suffix == safetensors_io.SUFFIX else {}
        labels, words = _labels(metadata, path), _words(metadata, path)
    return label_prompt(labels, words) if labels else None


def load_backbone_parts(
    model: str | None = None,
    *,
    weights: str | Path | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> BackboneParts | None:
    """What --model and --weights name, where it is an image backbone alone; None where it is a whole model.

    Raises WeightsError or UsageError.
    """
    if holds_adapter(weights if weights is not None else model):
        return None
    source, architecture, *_ = resolve(model, weights, None)
    if isinstance(source, Checkpoint) and source.kind != "backbone":
        return None
    loaded = load_if_backbone(source, architecture=architecture, cache_dir=cache_dir, offline=offline, report=report)
    if loaded is None:
        return None
    return BackboneParts(loaded.backbone, ARCHITECTURES[loaded.architecture].image_size, loaded.id)


def save_model(
    out: Path,
    model: str | None = None,
    weights: str | Path | None = None,
    adapter: str | Path | None = None,
    *,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> Path:
    """Write a network, with the adapters that stand for it or beside it in its weights, as one native file.

    It says the labels that the network was tuned for, and the words that are read for them. Raises as
    `load_detector_parts`, and OutputError.
    """
    loaded = load_source(model, weights, adapter, offline=offline, report=report)
    metadata, (labels, words) = loaded.metadata, tuned_for(loaded)
    if resolve(model, weights, adapter).adapters:  # no hash of a source: this network is a new one
        metadata = {key: metadata[key] for key in (TUNED_FOR, "use_cls", "base") if key in metadata}
    else:  # it stays the one that adapters were made for
        metadata = {**metadata, "source_sha256": loaded.sha256}
    if labels:
        metadata = {**metadata, LABELS: json.dumps(labels), WORDS: json.dumps(words)}
    metadata = {**metadata, "architecture": loaded.architecture, "name": re.sub(r"@[0-9a-f]{8}\b", "", loaded.name)}
    with writing(out, "choose another file"):
        return safetensors_io.write(out, loaded.model.state_dict(), metadata)


def fetch_parts(checkpoint: Checkpoint, *, offline: bool = False, report: ProgressCallback | None = None) -> Path:
    """Get a checkpoint, so that it works offline from now on; return the file that will be mapped.

    Raises WeightsError.
    """
    if checkpoint.kind == "backbone":
        load_backbone(checkpoint, offline=offline, report=report)
        return cached_path(checkpoint) or fetch(checkpoint, offline=offline, report=report)
    return load(checkpoint, offline=offline, report=report).path


def _labels(metadata: Mapping[str, str], path: Path) -> tuple[str, ...]:
    """What a network was tuned for, as its file says, or the card beside it."""
    for key in (LABELS, TUNED_FOR):
        if key in metadata:
            return _list(metadata, key)
    card = _card_beside(path)
    return card.labels if card else ()


def tuned_for(loaded: Origin) -> tuple[tuple[str, ...], dict[str, str]]:
    """The labels that a network was tuned for, and what is read for those that are asked for in other words."""
    return _labels(loaded.metadata, loaded.path), _words(loaded.metadata, loaded.path)


def prompt_tuned_for(loaded: Origin) -> tuple[str, ...]:
    """What is read for the labels of a prompt's tuned offset; empty where there is none."""
    return _list(loaded.metadata, TUNED_FOR)


def _words(metadata: Mapping[str, str], path: Path) -> dict[str, str]:
    """What was read for some of these labels."""
    if LABELS not in metadata and TUNED_FOR not in metadata:
        card = _card_beside(path)
        return dict(card.words) if card else {}
    try:
        words = json.loads(metadata.get(WORDS, "{}"))
    except ValueError:
        words = {}
    return {label: str(one) for label, one in words.items()} if isinstance(words, dict) else {}


def _card_beside(path: Path) -> finetuned.RunConfig | None:
    """Of a network's file that a training left."""
    if path.name == finetuned.MODEL and (path.parent / finetuned.CARD).is_file():
        with suppress(CheckpointError):  # of another program: many call a file config.json
            return finetuned.read_run_config(path.parent)
    return None


def _list(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """A list of texts in a file's metadata; empty where there is none."""
    try:
        texts = json.loads(metadata.get(key, "[]"))
    except ValueError:
        texts = []
    return tuple(map(str, texts)) if isinstance(texts, list) else ()


def load_source(
    model: str | None = None,
    weights: str | Path | None = None,
    adapter: str | Path | None = None,
    *,
    cache_dir: Path | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> Loaded:
    """A network with the adapters that stand for it or beside it in its weights; as `load_detector_parts`.

    An adapter may have been made for a network that has one itself: the run that it was trained from.
    """
    found = resolve(model, weights, adapter)
    loaded = load(found.source, architecture=found.architecture, cache_dir=cache_dir, offline=offline, report=report)
    loaded = found.marked(loaded)
    for one in found.adapters:
        loaded = with_adapter(load_adapter(loaded, one.folder), loaded)
    return loaded


def with_adapter(adapter: Adapter, base: AnyOrigin) -> AnyOrigin:
    """What `base` is called now that the adapter is part of it."""
    metadata = {**base.metadata, "base": base.id, "source_sha256": adapter.sha256}
    labels, words = adapter.card.labels, dict(adapter.card.words)
    metadata |= {LABELS: json.dumps(labels), WORDS: json.dumps(words)}
    if adapter.card.mode == "prompt":
        metadata[TUNED_FOR] = json.dumps(words_for(labels, words))
    return replace(base, name=f"{base.id}+{adapter.card.name}", metadata=metadata)
