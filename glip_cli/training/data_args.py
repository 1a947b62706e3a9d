"""What `--train`, `--val` and `--keep-check` name, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from glip_cli.data.issues import Findings
from glip_cli.errors import DataError, OptionError, UsageError
from glip_cli.prompts.words import Words, check_words
from glip_cli.training.dataset import TrainSet, read_train_set
from glip_cli.training.sampler import DrawnScenes, parse_scenes
from glip_cli.training.validation import ValidationCheck, drawn_check, new_check, with_loss
from glip_cli.utils.json import JsonObject
from glip_cli.utils.option import at_least
from glip_cli.utils.text_format import counted

AnySet = TrainSet | DrawnScenes
SCENES, NOTHING = "scenes", "none"  # what --keep-check may be besides a file
DRAWN = 100  # scenes of a keep-check
_PLAIN = ("shots", "shot_seed", "keep_limit", "words")
_LISTS, _PATHS = ("train", "images"), ("val", "val_images", "keep_images")


@dataclass(frozen=True)
class Data:
    """What is trained and measured on.

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
        if len(self.share) not in (0, len(self.train)):
            raise UsageError(f"{counted(len(self.share), 'share')} for {sets}; give one for each")

    @classmethod
    def of(cls, given: JsonObject) -> Data:
        """From flags by their names, as typed or as JSON has them. Raises UsageError."""
        lists = {name: tuple(map(Path, given[name])) for name in _LISTS if name in given}
        paths = {name: Path(given[name]) for name in _PATHS if given.get(name) is not None}
        plain = {name: given[name] for name in (*_PLAIN, "keep_check") if name in given}
        values: JsonObject = {**lists, **paths, **plain, "share": tuple(given.get("share", ()))}
        return cls(**values)

    def folders(self) -> Sequence[Path | None]:
        """Of the images of each --train."""
        return self.images * len(self.train) if len(self.images) == 1 else self.images or [None] * len(self.train)

    def read(self, show: Callable[[Findings], None], remembered: Words = MappingProxyType({})) -> list[AnySet]:
        """The training sets, the few shots of them where such are asked for.

        Args:
            show: is given what was found in each.
            remembered: words of the model that the training begins with, which may be of classes that no set has.

        Raises DataError.
        """
        sets: list[AnySet] = []
        for path, folder in zip(self.train, self.folders(), strict=True):
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
