"""A check: name, value, and a problem with its remedy; of variables and of models."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from glip_cli.checkpoints import registry
from glip_cli.checkpoints.fetch import cached_path
from glip_cli.checkpoints.registry import Checkpoint


@dataclass(frozen=True)
class Check:
    """One line.

    Attributes:
        name: what was checked.
        value: what is there, in words.
        problem: what is wrong with it; None where nothing is.
        remedy: the fix, as typed or done; given for every problem.
    """

    name: str
    value: str
    problem: str | None = None
    remedy: str | None = None

    def __post_init__(self) -> None:
        if (self.problem is None) != (self.remedy is None):
            raise ValueError(f"{self.name}: a problem and its remedy go together")


@dataclass(frozen=True)
class CheckGroup:
    """The findings about one topic."""

    title: str
    findings: tuple[Check, ...]


DEFAULT = "glip-t"


def check_models(reachable: bool) -> Iterator[Check]:
    """Every model of weights.toml.

    Args:
        reachable: whether anything could be fetched now; then what is not here is no problem.
    """
    return (_model(checkpoint, reachable) for checkpoint in registry.all())


def _model(checkpoint: Checkpoint, reachable: bool) -> Check:
    found = cached_path(checkpoint)
    if checkpoint.embedded:
        if found is None:
            remedy = "pip install --force-reinstall glip-cli"
            return Check(checkpoint.name, "missing", "is not where it was installed", remedy)
        return Check(checkpoint.name, f"built in: {', '.join(checkpoint.pretraining)}")
    if found is not None:
        return Check(checkpoint.name, f"here: {found}")
    if checkpoint.unavailable:
        return Check(checkpoint.name, "no longer published")
    if checkpoint.name == DEFAULT and not reachable:
        problem = "is what is used without --model; it is not here, and nothing can be fetched"
        remedy = f"glip weights fetch {DEFAULT} with a network; or --weights FILE; or -m {registry.EMBEDDED}"
        return Check(checkpoint.name, "not here", problem, remedy)
    return Check(checkpoint.name, "not here")


PREFIX = "GLIP_"
FOREIGN = ("HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
           "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")  # fmt: skip


def check_environment(known: Collection[str], environment: Mapping[str, str] | None = None) -> Iterator[Check]:
    """Every variable that is set and read; a GLIP_... that no flag has is a misspelling.

    Args:
        known: all that are read, "GLIP_TOP_K".
        environment: by default the process's own.
    """
    environment = os.environ if environment is None else environment
    yield _encoding()
    for name, value in sorted(environment.items()):
        if name in FOREIGN or name in known:
            yield Check(name, _without_password(value))
        elif name.startswith(PREFIX):
            near = get_close_matches(name, known, n=1) or ["GLIP_FLAG for a flag --flag"]
            yield Check(name, value, "is read by nothing", f"unset it; or did you mean {near[0]}?")


def _without_password(value: str) -> str:
    """A proxy's address may hold one; what is shown here gets pasted into reports."""
    scheme, separator, rest = value.partition("://")
    return f"{scheme}://...@{rest.rpartition('@')[2]}" if separator and "@" in rest else value


def _encoding() -> Check:
    encoding = sys.stdout.encoding or "unknown"
    if encoding.lower().replace("-", "") != "utf8":
        problem = "is not UTF-8: letters beyond it are written as escapes"
        return Check("text", encoding, problem, "set PYTHONUTF8=1, and unset PYTHONIOENCODING")
    return Check("text", encoding)
