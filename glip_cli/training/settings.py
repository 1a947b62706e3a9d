"""The settings of a training by the names of the flags: typed, or read from the run folder that is resumed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

from glip_cli.checkpoints import registry
from glip_cli.checkpoints.cache import expanded
from glip_cli.data.issues import Findings
from glip_cli.errors import DataError, OptionError, UsageError
from glip_cli.prompts.words import Words, check_words
from glip_cli.training.checkpoint import TrainingFolder
from glip_cli.training.config import FIELDS, TrainConfig
from glip_cli.training.dataset import read_train_set
from glip_cli.training.init_model import PRETRAINED, RANDOM, InitSource
from glip_cli.training.sampler import AnySet, parse_scenes
from glip_cli.training.validation import ValidationCheck, drawn_check, new_check, with_loss
from glip_cli.utils.json import JsonObject
from glip_cli.utils.option import POSITIVE, as_typed, at_least
from glip_cli.utils.text_format import counted

SCENES, NOTHING = "scenes", "none"  # what --keep-check may be besides a file
DRAWN = 100  # scenes of a keep-check
_LISTS, _PATHS = ("train", "images"), ("val", "val_images", "keep_images")
_MODELS = ("model", "weights", "init", "bert")
_WORDS = {"keep_check": (SCENES,), "init": (RANDOM, PRETRAINED)}  # which name no file


class FinetuneKeywords(TypedDict, total=False):
    """Keyword arguments of `finetune`: the fields of `InitSource`, `Data` and `TrainConfig`, for type checkers."""

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
        paths = portable(vars(self.origin)).values()
        return any(place and Path(place).is_relative_to(os.path.abspath(folder)) for place in paths)

    def recipe(self, architecture: str = "") -> TrainConfig:
        """As an architecture wants it. Raises UsageError for what cannot be meant."""
        return TrainConfig.of(watched=self.data.val is not None, architecture=architecture, **self.tuning)

    def to_dict(self) -> JsonObject:
        """All but the recipe, as JSON has it; none that was left out is missing."""
        return portable({**vars(self.origin), **vars(self.data)})


@dataclass(frozen=True)
class Data:
    """The data to train and to validate on.

    Attributes:
        train: files or folders, or scenes:N; `images` holds a folder for each, for all, or for none.
        share: how often each is gone through in an epoch; all once if empty.
        val: what decides which state is the best; None: the last.
        shots: images per class; None: all.
        words: class -> what the model reads for it, in all of the data; None: the names themselves.
        keep_check: COCO annotations on which forgetting is measured, or "scenes" (drawn ones); None or "none": nothing.
    """

    train: tuple[Path, ...] = ()
    images: tuple[Path, ...] = ()
    share: tuple[float, ...] = ()
    val: Path | None = None
    val_images: Path | None = None
    shots: int | None = None
    shot_seed: int = 3
    keep_check: str | None = None
    keep_images: Path | None = None
    keep_limit: int | None = None
    words: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.train:
            advice = "give a COCO or grounding json, a folder of YOLO, VOC or labelme, or scenes:N (drawn scenes)"
            raise OptionError("train", "is missing", advice)
        if self.words is not None and not isinstance(self.words, Mapping):
            raise OptionError("words", self.words, "give class -> words, as in {'container': 'shipping container'}")
        for name in ("shots", "keep_limit"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise OptionError(name, number, at_least(1).advice)
        sets = counted(len(self.train), "training set")
        scenes = [path for path in self.train if parse_scenes(path)]
        if self.shots is not None and scenes:
            raise OptionError("shots", self.shots, f"counts images per class; {scenes[0]} has no end of them")
        if len(self.images) not in (0, 1, len(self.train)):
            raise UsageError(f"{len(self.images)} folders of images for {sets}; give one, or one for each")
        for share in self.share:
            if not 0 < share < math.inf:
                raise OptionError("share", as_typed(share), POSITIVE.advice)
        if len(self.share) not in (0, len(self.train)):
            raise UsageError(f"{counted(len(self.share), 'share')} for {sets}; give one for each")

    @classmethod
    def of(cls, given: JsonObject) -> Data:
        """From flags by their names, as typed or as JSON has them. Raises UsageError."""
        values = {one.name: given[one.name] for one in fields(cls) if given.get(one.name) is not None}
        values |= {name: tuple(map(Path, values[name])) for name in _LISTS if name in values}
        values |= {name: Path(values[name]) for name in _PATHS if name in values}
        return cls(**{**values, "share": tuple(values.get("share", ()))})

    def read(self, show: Callable[[Findings], None], remembered: Words = MappingProxyType({})) -> list[AnySet]:
        """The training sets; with --shots a few images of each class.

        Args:
            show: is given what was found in each.
            remembered: words of the model that the training begins with, which may be of classes that no set has.

        Raises DataError.
        """
        sets: list[AnySet] = []
        images = self.images or (None,)
        folders = images * len(self.train) if len(images) == 1 else images
        for path, folder in zip(self.train, folders, strict=True):
            if scenes := parse_scenes(path):
                sets.append(scenes)
                continue
            train_set, findings = read_train_set(path, folder)
            show(findings)
            if findings.stops:
                raise DataError(f"{path} cannot be trained on: correct what the table says")
            sets.append(replace(train_set, words=self.words or {}))
        if self.words and self.words != remembered:
            check_words(self.words, [label for one in sets for label in one.labels])
        return sets

    def validation(self) -> ValidationCheck | None:
        """Raises DataError, OptionError."""
        if self.val is None:
            return None
        images = self.val_images or (self.images[0] if len(self.images) == 1 else None)
        check = new_check(self.val, images, skip_missing=self.val.suffix.lower() != ".json", words=self.words)
        return with_loss(_with_boxes(check, "val", self.val))

    def kept(self, scenes: Path) -> ValidationCheck | None:
        """Scenes are drawn into the folder `scenes`. Raises DataError, OptionError."""
        if self.keep_check in (None, NOTHING):
            return None
        if self.keep_check == SCENES:
            return drawn_check(scenes, self.keep_limit or DRAWN)
        check = new_check(Path(self.keep_check), self.keep_images, self.keep_limit, skip_missing=True, words=self.words)
        return _with_boxes(check, "keep_check", self.keep_check)


def _with_boxes(check: ValidationCheck, option: str, value: object) -> ValidationCheck:
    """The same. Raises OptionError where no AP is defined on it."""
    truth = check.task.truth
    if truth.spans is not None:
        raise OptionError(option, value, "holds captions; AP needs boxes of classes")
    if all(row["iscrowd"] for row in truth.annotations):
        empty = f"no box in its {counted(len(truth.images), 'image')}, and AP needs some"
        raise OptionError(option, value, f"{empty}: give annotations with boxes, or leave it out")
    return check


def going_on(folder: TrainingFolder, given: JsonObject) -> JsonObject:
    """The settings of the training in a folder, with new epochs where they are given; `given` for an empty folder.

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
    if name in (*_LISTS, *_PATHS, "keep_check") and not parse_scenes(Path(value)):
        return os.path.abspath(value)
    return str(value)
