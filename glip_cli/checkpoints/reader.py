"""What makes prompts ready for a model, without its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.checkpoints.parts import load_reader_parts
from glip_cli.prompts.compile import PromptCompiler
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import words_for


def load_reader(load: Mapping[str, Any], report: ProgressCallback | None) -> PromptCompiler:
    """For the model that `load` names, the arguments of `Detector.load`. Raises WeightsError."""
    named = {key: load[key] for key in ("model", "weights", "bert", "adapter", "offline")}
    parts = load_reader_parts(**named, report=report)
    about = (parts.name, parts.prompt_tuned_labels, parts.use_cls, words_for(parts.labels, parts.words))
    return PromptCompiler.of(Tokenizer.from_dir(parts.tokenizer), parts.config, *about)
