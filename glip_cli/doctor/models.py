"""Which models are here, and whether the one that is used without --model can be had."""

from __future__ import annotations

from glip_cli.checkpoints import registry
from glip_cli.checkpoints.fetch import cached_path
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.doctor.finding import Finding, Section

DEFAULT = "glip-t"


def look(reachable: bool) -> Section:
    """Every model of weights.toml.

    Args:
        reachable: whether anything could be fetched now; then what is not here is no problem.
    """
    return Section("models", tuple(_model(checkpoint, reachable) for checkpoint in registry.all()))


def _model(checkpoint: Checkpoint, reachable: bool) -> Finding:
    found = cached_path(checkpoint)
    if checkpoint.embedded:
        if found is None:
            remedy = "pip install --force-reinstall glip-cli"
            return Finding(checkpoint.name, "missing", "is not where it was installed", remedy)
        return Finding(checkpoint.name, f"built in: {', '.join(checkpoint.pretraining)}")
    if found is not None:
        return Finding(checkpoint.name, f"here: {found}")
    if checkpoint.unavailable:
        return Finding(checkpoint.name, "no longer published")
    if checkpoint.name == DEFAULT and not reachable:
        problem = "is what is used without --model; it is not here, and nothing can be fetched"
        remedy = f"glip weights fetch {DEFAULT} with a network; or --weights FILE; or -m {registry.EMBEDDED}"
        return Finding(checkpoint.name, "not here", problem, remedy)
    return Finding(checkpoint.name, "not here")
