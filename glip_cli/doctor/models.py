"""Which models are here, and whether the one that is used without --model can be had."""

from __future__ import annotations

from glip_cli.doctor.finding import Finding, Section
from glip_cli.weights import cache, hub, registry
from glip_cli.weights.fetch import present
from glip_cli.weights.registry import Checkpoint

DEFAULT = "glip-t"
TOKENIZER = "bert-base-uncased"


def look(reachable: bool) -> Section:
    """Every model of weights.toml, and the tokenizer.

    Args:
        reachable: whether anything could be fetched now; then what is not here is no problem.
    """
    findings = [_model(checkpoint, reachable) for checkpoint in registry.all()]
    return Section("models", (*findings, _tokenizer(reachable)))


def _model(checkpoint: Checkpoint, reachable: bool) -> Finding:
    found = present(checkpoint)
    if checkpoint.embedded:
        if found is None:
            told = "pip install --force-reinstall glip-cli"
            return Finding(checkpoint.name, "missing", "is not where it was installed", told)
        return Finding(checkpoint.name, "built in: coloured shapes")
    if found is not None:
        return Finding(checkpoint.name, f"here: {found}")
    if checkpoint.unavailable:
        return Finding(checkpoint.name, "no longer published")
    if checkpoint.name == DEFAULT and not reachable:
        problem = "is what is used without --model; it is not here, and nothing can be fetched"
        remedy = f"glip weights fetch {DEFAULT} with a network; or --weights FILE; or -m {registry.EMBEDDED}"
        return Finding(checkpoint.name, "not here", problem, remedy)
    return Finding(checkpoint.name, "not here")


def _tokenizer(reachable: bool) -> Finding:
    """Of all models but the embedded one, which has its own."""
    folder = cache.default_dir() / "tokenizers" / TOKENIZER
    for part in registry.tokenizer(TOKENIZER):
        kept = (folder / part.file).is_file() or any(hub.cached(url) for url in part.urls if hub.serves(url))
        if not kept and not reachable:
            problem = "all models but glip-mini read text with it; it is not here, and nothing can be fetched"
            return Finding(TOKENIZER, "not here", problem, "glip weights fetch glip-t with a network; or --bert DIR")
        if not kept:
            return Finding(TOKENIZER, "not here")
    return Finding(TOKENIZER, f"here: {folder}")
