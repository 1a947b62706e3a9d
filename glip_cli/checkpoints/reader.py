"""What makes prompts ready for a model, without its network."""

from __future__ import annotations

from glip_cli.checkpoints.adapters import check_base
from glip_cli.checkpoints.fetch import ProgressCallback
from glip_cli.checkpoints.load import identify
from glip_cli.checkpoints.parts import prompt_tuned_for, tuned_for, with_adapter
from glip_cli.checkpoints.resolve import resolve, tokenizer_folder
from glip_cli.model.config import ARCHITECTURES
from glip_cli.options import LoadKeywords
from glip_cli.prompts.compile import PromptCompiler
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import words_for


def load_reader(load: LoadKeywords, report: ProgressCallback | None = None) -> PromptCompiler:
    """For the model that `load` names, the arguments of `Detector.load`. Raises WeightsError or UsageError."""
    found = resolve(load.get("model"), load.get("weights"), load.get("adapter"))
    offline = load.get("offline", False)
    origin = found.marked(identify(found.source, architecture=found.architecture, offline=offline, report=report))
    for one in found.adapters:
        check_base(one, origin)
        origin = with_adapter(one, origin)
    tokenizer, config = (
        Tokenizer.from_dir(tokenizer_folder(origin, load.get("bert"))),
        ARCHITECTURES[origin.architecture],
    )
    use_cls, taught = origin.metadata.get("use_cls") == "true", words_for(*tuned_for(origin))
    return PromptCompiler.of(tokenizer, config, origin.id, prompt_tuned_for(origin), use_cls, taught)
