"""What makes prompts ready for a model, without its network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glip_cli.checkpoints.adapters import check_base
from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.checkpoints.load import identify
from glip_cli.checkpoints.parts import prompt_tuned_for, tuned_for, with_adapter
from glip_cli.checkpoints.resolve import resolve, tokenizer_folder
from glip_cli.model.config import ARCHITECTURES, Config
from glip_cli.options import LoadKeywords
from glip_cli.prompts.compile import PromptCompiler
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import Words, words_for


@dataclass(frozen=True)
class ReaderParts:
    """As `DetectorParts`, with the network's configuration in its place."""

    config: Config
    tokenizer: Path
    name: str
    prompt_tuned_labels: tuple[str, ...]
    use_cls: bool
    labels: tuple[str, ...]
    words: Words


def load_reader(load: LoadKeywords, report: ProgressCallback | None) -> PromptCompiler:
    """For the model that `load` names, the arguments of `Detector.load`. Raises WeightsError."""
    parts = load_reader_parts(
        load["model"], weights=load["weights"], bert=load["bert"], adapter=load["adapter"], offline=load["offline"],
        report=report,
    )  # fmt: skip
    about = (parts.name, parts.prompt_tuned_labels, parts.use_cls, words_for(parts.labels, parts.words))
    return PromptCompiler.of(Tokenizer.from_dir(parts.tokenizer), parts.config, *about)


def load_reader_parts(
    model: str | None = None,
    *,
    weights: str | Path | None = None,
    bert: str | Path | None = None,
    adapter: str | Path | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> ReaderParts:
    """As `load_detector_parts`, for what only makes prompts ready: no network is made."""
    found = resolve(model, weights, adapter)
    origin = found.marked(identify(found.source, architecture=found.architecture, offline=offline, report=report))
    for one in found.adapters:
        check_base(one, origin)
        origin = with_adapter(one, origin)
    (labels, words), use_cls = tuned_for(origin), origin.metadata.get("use_cls") == "true"
    tokenizer, config = tokenizer_folder(origin, bert), ARCHITECTURES[origin.architecture]
    return ReaderParts(config, tokenizer, origin.id, prompt_tuned_for(origin), use_cls, labels, words)
