"""weights.toml -> `Checkpoint`: every model that has a name."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from glip_cli.errors import UnknownModelError
from glip_cli.utils.json import JsonObject

PACKAGE = Path(__file__).resolve().parents[1]
ASSETS = PACKAGE / "assets"
BERT = ASSETS / "bert-base-uncased"  # the vocabulary of the released models
EMBEDDED = "glip-nano"  # the built-in model for photographs


@dataclass(frozen=True)
class Published:
    """A published result, in percent: "fixed AP" 26.7 on "LVIS minival", "zero-shot"."""

    dataset: str
    setting: str
    metric: str
    value: float
    source: str  # "mmdetection", "microsoft" or "paper": see the head of weights.toml


@dataclass(frozen=True)
class Checkpoint:
    """One entry of weights.toml."""

    name: str
    architecture: str  # a key of glip_cli.model.config.ARCHITECTURES
    dialect: str  # "native", "mmdet", "official" or "mmpretrain"
    licence: str
    kind: str = "detector"  # or "backbone"
    urls: tuple[str, ...] = ()  # mirrors, the preferred one first
    file: str | None = None  # inside glip_cli/assets, for the embedded models
    sha256: str | None = None
    sha256_prefix: str | None = None  # 8 hex digits, where the whole is not published
    bytes: int | None = None
    pretraining: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    unavailable: str | None = None  # why it cannot be fetched
    use_cls: bool = False  # a label with its definition is read by [CLS], else by the tokens of its name

    @property
    def hash(self) -> str | None:
        """As many leading hex digits of the sha256 as are known."""
        return self.sha256 or self.sha256_prefix

    @property
    def embedded(self) -> Path | None:
        """The file of an embedded model; None for any other."""
        return ASSETS / self.file if self.file else None


def all() -> tuple[Checkpoint, ...]:
    """Every known checkpoint, in the order of weights.toml."""
    return tuple(_checkpoints().values())


def names() -> tuple[str, ...]:
    return tuple(_checkpoints())


def find(name: str) -> Checkpoint:
    """The checkpoint called `name`. Raises UnknownModelError with the nearest names."""
    checkpoints = _checkpoints()
    if name in checkpoints:
        return checkpoints[name]
    near = get_close_matches(name.lower(), checkpoints, n=2, cutoff=0.5) or [EMBEDDED]
    raise UnknownModelError(
        f"no model is called {name!r}: did you mean {' or '.join(near)}? `glip weights list` shows all; "
        "a file goes to --weights"
    )


def uses_cls(name: str | None) -> bool:
    """Whether `name` is of a checkpoint that reads definitions by [CLS]."""
    return name in _checkpoints() and _checkpoints()[name].use_cls


@cache
def _checkpoints() -> dict[str, Checkpoint]:
    return {name: _checkpoint(name, row) for name, row in _toml()["checkpoints"].items()}


def _checkpoint(name: str, row: JsonObject) -> Checkpoint:
    published = tuple(Published(**number) for number in row.get("published", ()))
    lists = {key: tuple(row.get(key, ())) for key in ("urls", "pretraining")}
    return Checkpoint(name=name, **{**row, **lists, "published": published})


@cache
def _toml() -> JsonObject:
    """In a wheel the file lies in the package, in a checkout one folder up."""
    inside, beside = PACKAGE / "weights.toml", PACKAGE.parent / "weights.toml"
    return tomllib.loads((inside if inside.is_file() else beside).read_text("utf-8"))
