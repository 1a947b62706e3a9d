"""What a training was asked for, under the names of the flags: typed, or read from the folder of one that resumes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from glip_cli.checkpoints import registry
from glip_cli.checkpoints.cache import expanded
from glip_cli.errors import UnavailableError, UsageError
from glip_cli.training.checkpoint import TrainingFolder
from glip_cli.training.config import FIELDS, TrainConfig
from glip_cli.training.data_args import NOTHING, SCENES, Data
from glip_cli.training.dataset import DetectionItem, Item, TrainSet
from glip_cli.training.init_model import PRETRAINED, RANDOM, InitSource
from glip_cli.training.sampler import parse_scenes
from glip_cli.training.validation import ValidationCheck
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import why_unreadable

_LISTS, _PATHS = ("train", "images"), ("val", "val_images", "keep_check", "keep_images")
_MODELS = ("model", "weights", "init", "bert")
_WORDS = {"keep_check": (SCENES,), "init": (RANDOM, PRETRAINED)}  # which name no file


class FinetuneKeywords(TypedDict, total=False):
    """What `finetune` takes besides what it names: `InitSource`, `Data` and `TrainConfig`, for type checkers."""

    model: str | None
    weights: str | None
    init: str | None
    bert: str | None
    images: str | Path | Sequence[str | Path]
    share: float | Sequence[float]
    val: str | Path
    val_images: str | Path
    shots: int
    shot_seed: int
    keep_check: str
    keep_images: str | Path
    keep_limit: int
    words: str | Path | Mapping[str, str]
    mode: str
    optimizer: str
    lr: float
    language_lr: float
    muon_lr: float | None
    level_factor: float
    weight_decay: float
    freeze_backbone_at: int
    lora_rank: int | None
    lora_alpha: float | None
    epochs: int
    size: tuple[int, ...]
    max_size: int | None
    batch_size: int
    accumulation: int
    warmup: int
    schedule: str
    steps: tuple[float, ...]
    step_patience: int
    patience: int
    clip: float
    bf16: bool
    ema: float
    checkpointing: bool
    seed: int
    save_every: int


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        tuning: fields of `TrainConfig`, those that were chosen.
    """

    origin: InitSource
    data: Data
    tuning: JsonObject

    @classmethod
    def of(cls, given: JsonObject) -> Settings:
        """From flags by their names, as typed or as `portable` gives them. Raises UsageError."""
        origin = InitSource(**{name: given[name] for name in _MODELS if name in given})
        tuning = {name: given[name] for name in FIELDS if given.get(name) is not None}
        tuning |= {name: tuple(tuning[name]) for name in ("size", "steps") if name in tuning}
        if origin.init:
            tuning = {"freeze_backbone_at": -1, **tuning}
        settings = cls(origin, Data.of(given), tuning)
        settings.recipe()
        return settings

    def begins_in(self, folder: Path) -> bool:
        """Whether what it begins with lies in a folder."""
        places = portable(vars(self.origin)).values()
        return any(place and Path(place).is_relative_to(os.path.abspath(folder)) for place in places)

    def recipe(self, architecture: str = "") -> TrainConfig:
        """As an architecture wants it. Raises UsageError for what cannot be meant."""
        return TrainConfig.of(watched=self.data.val is not None, architecture=architecture, **self.tuning)

    def to_dict(self) -> JsonObject:
        """All but the recipe, as JSON has it; none that was left out is missing."""
        return portable({**vars(self.origin), **vars(self.data)})


def going_on(folder: TrainingFolder, given: JsonObject) -> JsonObject:
    """What the training in a folder was asked for, with other epochs where they are given; `given` where it has none.

    Raises UsageError for flags that say something else.
    """
    before = folder.settings() if folder.begun else None
    if before is None and "train" not in given:
        raise UsageError(f"{folder.path} holds no training to go on with: check --out-dir, or begin one with --train")
    if before is None:
        return given
    if "base" not in before:
        raise UsageError(
            f"{folder.run} is of another version of glip: go on with that one, or --overwrite to start over"
        )
    folder.compare({name: value for name, value in portable(given).items() if name != "epochs"})
    return before | {name: value for name, value in given.items() if name == "epochs"}


def portable(given: Mapping[str, object]) -> JsonObject:
    """As JSON has it, with paths that hold in every folder."""
    return {name: _portable(name, value) for name, value in given.items()}


def _portable(name: str, value: object) -> object:
    if isinstance(value, list | tuple):
        return [_portable(name, one) for one in value]
    if (name, value) == ("keep_check", NOTHING):
        return None
    if not isinstance(value, str | Path) or value in _WORDS.get(name, ()):
        return value
    if name in _MODELS:
        return value if value in registry.names() else os.path.abspath(expanded(value))
    if name in (*_LISTS, *_PATHS) and not parse_scenes(Path(value)):
        return os.path.abspath(value)
    return str(value)


# -------------------------------------------------------------------------------------------------------------- digests
# What a training's data was: short hashes, by which a resumed training knows the data that it began with.


Digest = dict[str, str]
"""Of the classes, the images (names and sizes of the files) and the boxes of a data set."""


def digest_of_set(one: TrainSet) -> Digest:
    return {
        "classes": _hash(one.labels),
        "images": _hash(_file(item.image.name, item.image) for item in one.items),
        "boxes": _hash(_boxes(item) for item in one.items),
    }


def digest_of_check(check: ValidationCheck) -> Digest:
    task, truth = check.task, check.task.truth
    return {
        "classes": _hash((row.id, row.name) for row in truth.categories),
        "images": _hash(_file(row.file_name or str(row.id), task.images[row.id]) for row in truth.images),
        "boxes": _hash(sorted(row.items()) for row in truth.annotations),
    }


def digest_of_data(sets: Iterable[TrainSet], checks: Iterable[ValidationCheck]) -> dict[str, Digest]:
    """By the names of the data sets, and their numbers where a name occurs twice."""
    digests: dict[str, Digest] = {}
    pairs = [(one.name, digest_of_set(one)) for one in sets] + [(one.task.name, digest_of_check(one)) for one in checks]
    for name, digest in pairs:
        digests[f"{name} ({len(digests) + 1})" if name in digests else name] = digest
    return digests


def changes(before: Mapping[str, Digest], now: Mapping[str, Digest]) -> Iterator[str]:
    """ "the classes of train.json", ..."""
    for name in {**before, **now}:
        was, is_ = before.get(name, {}), now.get(name, {})
        yield from (f"the {part} of {name}" for part in {**was, **is_} if was.get(part) != is_.get(part))


def _boxes(item: Item) -> tuple[object, ...]:
    what = item.labels.tolist() if isinstance(item, DetectionItem) else (item.caption, item.spans)
    return item.boxes.tolist(), what


def _file(name: str, path: Path) -> tuple[str, int]:
    """Raises UnavailableError."""
    try:
        return name, path.stat().st_size
    except OSError as error:
        raise UnavailableError(f"{path}: it was there, and now: {why_unreadable(error)}; put it back") from None


def _hash(values: Iterable[object]) -> str:
    total = hashlib.sha256()
    for value in values:
        total.update(repr(value).encode("utf-8", "surrogateescape") + b"\n")
    return total.hexdigest()[:16]
