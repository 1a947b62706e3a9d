"""Load a model with its tokenizer, labels and name, or parts of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from glip_cli.checkpoints import cache, finetuned, registry, safetensors_io
from glip_cli.checkpoints.adapters import Adapter, check_base, load_adapter
from glip_cli.checkpoints.fetch import ProgressCallback, cached_path, fetch
from glip_cli.checkpoints.files import locate
from glip_cli.checkpoints.load import Loaded, Origin, load, open_checkpoint
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.checkpoints.resolve import AnyOrigin, holds_adapter, resolve, tokenizer_folder
from glip_cli.errors import CheckpointError
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip
from glip_cli.model.swin import Backbone
from glip_cli.options import LoadKeywords
from glip_cli.outputs.files import writing
from glip_cli.prompts.compile import PromptCompiler
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import Words, words_for
from glip_cli.types import Prompt

# keys in the metadata of a file: words of prompt-tuned labels; labels of any tuning; label -> words, where they differ
TUNED_FOR, LABELS, WORDS = "tuned_for", "labels", "words"


@dataclass(frozen=True)
class DetectorParts:
    """
    Attributes:
        model: on the CPU, float32, in evaluation mode.
        tokenizer: folder with tokenizer.json or vocab.txt.
        name: "glip-t@c24ce662", or "glip-t@c24ce662+blood@1f0c88a2" with an adapter.
        prompt_tuned_labels: the words of the labels that the prompt was tuned for; () without prompt tuning.
        labels: that the model was tuned for in any mode; () for other models, and after tuning on captions.
        use_cls: a label with its definition is read by [CLS], else by the tokens of its name.
        words: label -> the words that the model reads for it, where they differ.
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
    """Load the model that --model, --weights, --bert and --adapter name; GLIP-T without them.

    Args:
        model: a name in weights.toml, or a file or folder. With `weights`, whose architecture the file must have.
        weights: a checkpoint file, or a folder of `glip finetune`.
        bert: the folder of a tokenizer, in place of the model's own.
        adapter: a folder of `glip finetune`; without `model` and `weights`, its own base is loaded. Such a folder may
            also be given as `model` or `weights`.
        cache_dir: `cache.default_dir()` if not given.
        offline: never use the network.
        report: called during downloads.

    Raises WeightsError or UsageError.
    """
    loaded = load_source(model, weights, adapter, cache_dir=cache_dir, offline=offline, report=report)
    (labels, words), use_cls = tuned_for(loaded), loaded.metadata.get("use_cls") == "true"
    tokenizer = tokenizer_folder(loaded, bert)
    return DetectorParts(loaded.model, tokenizer, loaded.id, prompt_tuned_for(loaded), labels, use_cls, words)


def load_prompt_compiler(
    flags: LoadKeywords, report: ProgressCallback | None = None, *, fetch: bool = True
) -> PromptCompiler:
    """The prompt compiler of the model that `flags` name; no weights are loaded.

    Without `fetch` the file of a named model need not be there, and an adapter is not compared with it. Raises
    WeightsError or UsageError.
    """
    resolved = resolve(flags.get("model"), flags.get("weights"), flags.get("adapter"))
    source, offline = resolved.source, flags.get("offline", False)
    if isinstance(source, Checkpoint) and not (fetch or source.embedded):
        path = registry.ASSETS / source.architecture / "unfetched"  # beside its tokenizer, if it has one of its own
        origin = Origin(source.architecture, source.name, path, {"source_sha256": source.hash or "unknown"})
    else:
        file = open_checkpoint(source, architecture=resolved.architecture, offline=offline, report=report)
        origin = file.check_has_head().origin
    origin = resolved.with_use_cls(origin)
    for adapter in resolved.adapters:
        if fetch:
            check_base(adapter, origin)
        origin = with_adapter(adapter, origin)
    return PromptCompiler.of(
        Tokenizer.from_dir(tokenizer_folder(origin, flags.get("bert"))),
        ARCHITECTURES[origin.architecture],
        origin.id,
        prompt_tuned_for(origin),
        origin.metadata.get("use_cls") == "true",
        words_for(*tuned_for(origin)),
    )


def tuned_prompt(
    model: str | None = None, *, weights: str | Path | None = None, adapter: str | Path | None = None
) -> Prompt | None:
    """The prompt of `DetectorParts.labels`, if there are any, without loading the weights.

    Raises WeightsError or UsageError.
    """
    resolved = resolve(model, weights, adapter)
    if resolved.adapters:
        config = resolved.adapters[-1].config
        labels, words = config.labels, config.words
    elif isinstance(resolved.source, Checkpoint):
        return None
    else:
        path = locate(cache.expanded(resolved.source))
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
    """The image backbone that --model and --weights name; None for a whole model.

    Raises WeightsError or UsageError.
    """
    if holds_adapter(weights if weights is not None else model):
        return None
    source, architecture, *_ = resolve(model, weights, None)
    if isinstance(source, Checkpoint) and source.kind != "backbone":
        return None
    file = open_checkpoint(source, architecture=architecture, cache_dir=cache_dir, offline=offline, report=report)
    if not file.is_backbone:
        return None
    loaded = file.load_backbone()
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
    """Write a model, its adapters merged, as one native file with the labels that it was tuned for, and their words.

    Raises as `load_detector_parts`, and OutputError.
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
    """Fetch and convert a checkpoint, so that it works offline; return the file that will be mapped.

    Raises WeightsError.
    """
    if checkpoint.kind == "backbone":
        open_checkpoint(checkpoint, offline=offline, report=report)
        return cached_path(checkpoint) or fetch(checkpoint, offline=offline, report=report)
    return load(checkpoint, offline=offline, report=report).path


def _labels(metadata: Mapping[str, str], path: Path) -> tuple[str, ...]:
    """The labels that a model was tuned for: in its metadata, or in the config.json beside it."""
    for key in (LABELS, TUNED_FOR):
        if key in metadata:
            return _list(metadata, key)
    config = _config_beside(path)
    return config.labels if config else ()


def tuned_for(loaded: Origin) -> tuple[tuple[str, ...], dict[str, str]]:
    """The labels that a model was tuned for, and label -> words, where they differ."""
    return _labels(loaded.metadata, loaded.path), _words(loaded.metadata, loaded.path)


def prompt_tuned_for(loaded: Origin) -> tuple[str, ...]:
    """The words of the labels that a prompt was tuned for; () without prompt tuning."""
    return _list(loaded.metadata, TUNED_FOR)


def _words(metadata: Mapping[str, str], path: Path) -> dict[str, str]:
    """Label -> words, where they differ."""
    if LABELS not in metadata and TUNED_FOR not in metadata:
        config = _config_beside(path)
        return dict(config.words) if config else {}
    try:
        words = json.loads(metadata.get(WORDS, "{}"))
    except ValueError:
        words = {}
    return {label: str(wording) for label, wording in words.items()} if isinstance(words, dict) else {}


def _config_beside(path: Path) -> finetuned.RunConfig | None:
    """The config.json beside a model's file that `glip finetune` wrote."""
    if path.name == finetuned.MODEL and (path.parent / finetuned.CONFIG_FILE).is_file():
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
    """A model, its adapters merged; as `load_detector_parts`.

    The base of an adapter may have one itself: the run that it was trained from.
    """
    resolved = resolve(model, weights, adapter)
    loaded = load(
        resolved.source, architecture=resolved.architecture, cache_dir=cache_dir, offline=offline, report=report
    )
    loaded = resolved.with_use_cls(loaded)
    for found in resolved.adapters:
        loaded = with_adapter(load_adapter(loaded, found.folder), loaded)
    return loaded


def with_adapter(adapter: Adapter, base: AnyOrigin) -> AnyOrigin:
    """`base` with the name and metadata that it has with the adapter merged."""
    metadata = {**base.metadata, "base": base.id, "source_sha256": adapter.sha256}
    labels, words = adapter.config.labels, dict(adapter.config.words)
    metadata |= {LABELS: json.dumps(labels), WORDS: json.dumps(words)}
    if adapter.config.mode == "prompt":
        metadata[TUNED_FOR] = json.dumps(words_for(labels, words))
    return replace(base, name=f"{base.id}+{adapter.config.name}", metadata=metadata)
