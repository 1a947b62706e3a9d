"""What `--train`, `--val` and `--keep-check` name, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glip_cli.data.issues import Findings
from glip_cli.errors import UsageError
from glip_cli.finetune.data.drawn import DrawnScenes, parse_scenes
from glip_cli.finetune.data.readers import read_train_set
from glip_cli.finetune.data.sets import TrainSet
from glip_cli.finetune.keep import Check, drawn_check, new_check, set_check
from glip_cli.weights.registry import EMBEDDED

AnySet = TrainSet | DrawnScenes
DRAWN = 100  # scenes of the keep-check, where none is given


@dataclass(frozen=True)
class Data:
    """What is trained and measured on.

    Attributes:
        train: files or folders, or scenes:N; `images` holds a folder for each, for all, or for none.
        shares: how often each is gone through in an epoch; all once if empty.
        val: what decides which state is the best; None: the last.
        shots: pictures per class; None: all.
        keep: COCO annotations on which forgetting is measured; None: drawn scenes, for glip-mini; "none": nothing.
    """

    train: tuple[Path, ...]
    images: tuple[Path, ...] = ()
    shares: tuple[float, ...] = ()
    val: Path | None = None
    val_images: Path | None = None
    shots: int | None = None
    shot_seed: int = 3
    keep: str | None = None
    keep_images: Path | None = None
    keep_limit: int | None = None

    def __post_init__(self) -> None:
        if not self.train:
            raise UsageError(
                "no --train: give a COCO or grounding json, a folder of YOLO or Pascal VOC, or scenes:N (drawn scenes)"
            )
        scenes = [path for path in self.train if parse_scenes(path)]
        if self.shots is not None and scenes:
            raise UsageError(f"--shots counts pictures per class; {scenes[0]} has no end of them")
        if len(self.images) not in (0, 1, len(self.train)):
            raise UsageError(f"{len(self.images)} --images for {len(self.train)} --train; give one, or one for each")
        if len(self.shares) not in (0, len(self.train)):
            raise UsageError(f"{len(self.shares)} --share for {len(self.train)} --train; give one for each")

    def folders(self) -> Sequence[Path | None]:
        """Of the images of each --train."""
        return self.images * len(self.train) if len(self.images) == 1 else self.images or [None] * len(self.train)

    def read(self, show: Callable[[Findings], None]) -> list[AnySet]:
        """The training sets, the few shots of them where such are asked for.

        `show` is given what was found in each. Raises UsageError.
        """
        sets: list[AnySet] = []
        for path, folder in zip(self.train, self.folders(), strict=True):
            if scenes := parse_scenes(path):
                sets.append(scenes)
                continue
            train_set, findings = read_train_set(path, folder)
            show(findings)
            if findings.stops:
                raise UsageError(f"{path} cannot be trained on as it is: mend what the table says")
            sets.append(train_set)
        return sets

    def validation(self, folder: Path, show: Callable[[Findings], None]) -> Check | None:
        """Raises UsageError."""
        if self.val is None:
            return None
        images = self.val_images or (self.images[0] if len(self.images) == 1 else None)
        if self.val.is_file() and self.val.suffix == ".json":
            return new_check(self.val, images)
        val_set, findings = read_train_set(self.val, images, "val")
        show(findings)
        if not val_set.labels:
            raise UsageError(f"--val {self.val} holds captions; AP needs boxes of classes")
        return set_check(val_set, folder / "val.json")

    def kept(self, folder: Path, architecture: str) -> Check | None:
        """Raises UsageError."""
        if self.keep == "none" or (self.keep is None and architecture != EMBEDDED):
            return None
        if self.keep is None:
            return drawn_check(folder / "keep-check", self.keep_limit or DRAWN)
        return new_check(Path(self.keep), self.keep_images, self.keep_limit, skip_missing=True)
