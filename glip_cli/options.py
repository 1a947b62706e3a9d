"""What the flags of a command mean, checked once, where they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from glip_cli.errors import UsageError

OVERLAP = 0.2
PRE_NMS_SCORE_THRESHOLD = 0.05
"""As published: a label's score at a location must exceed it, before centerness."""
SMALLEST_TILE = 64  # the side of the smallest anchor


@dataclass(frozen=True)
class DetectOptions:
    """How to detect. Raises UsageError, naming the flag, for a value that cannot be meant."""

    threshold: float = 0.3  # a detection's score must exceed it
    # label as typed -> its own threshold
    class_thresholds: Mapping[str, float] = field(default_factory=dict, hash=False)
    negatives: str | Sequence[str] = ()  # labels that compete for boxes but are not reported
    chunked_size: int | None = None  # labels per text; None: as many as fit
    top_k: int | None = None  # detections per image; None: all that its texts give
    per_text: int = 100  # detections per image and text, as published; LVIS takes 300
    nms_iou: float | None = None  # of two boxes that overlap more, the better stays; None: the model's own, 0.6
    agnostic_nms: bool = False  # boxes of different labels suppress each other too
    size: tuple[int, int] | None = None  # shorter and longer side in pixels; None: the model's own
    batch_size: int = 1  # images at once
    tta: bool = False  # ask at several scales and mirrored too, and merge
    tile: int | None = None  # side in pixels of the tiles that are asked besides the whole image; None: no tiles
    overlap: float | None = None  # of neighbouring tiles, as a share of `tile`; 0.2 where there are tiles
    # definitions of labels, for models without fusion; None: none
    knowledge: Mapping[str, str] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "negatives", as_tuple(self.negatives))
        _share("--threshold", self.threshold)
        if self.nms_iou is not None:
            _share("--nms-iou", self.nms_iou)
        for label, threshold in self.class_thresholds.items():
            _share(f"--class-threshold {label}", threshold)
        _positive("--chunked-size", self.chunked_size)
        _positive("--top-k", self.top_k)
        _positive("per_text", self.per_text)
        _positive("--batch-size", self.batch_size)
        if self.size is not None:
            shorter, longer = self.size
            if not 32 <= shorter <= longer <= 10_000:
                raise UsageError(f"--size {shorter},{longer}: give the shorter side, then the longer, 32 .. 10000 px")
        self._check_tiles()

    @property
    def has_crops(self) -> bool:
        """Each image is asked in several views."""
        return self.tta or self.tile is not None

    def _check_tiles(self) -> None:
        if self.tile is None:
            if self.overlap is not None:
                raise UsageError(f"--overlap {self.overlap:g} is of tiles; give --tile N too")
            return
        if self.tile < SMALLEST_TILE:
            raise UsageError(f"--tile {self.tile}: give a side of at least {SMALLEST_TILE} pixels, such as --tile 800")
        if self.overlap is None:
            object.__setattr__(self, "overlap", OVERLAP)
        elif not 0 <= self.overlap <= 0.9:
            raise UsageError(f"--overlap {self.overlap:g}: give a share of the tile from 0 to 0.9")


def as_tuple(texts: str | Sequence[str]) -> tuple[str, ...]:
    """Several texts; a single str is one of them, not its letters."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _share(flag: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(f"{flag} {value:g}: give a number from 0 to 1")


def _positive(flag: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise UsageError(f"{flag} {value}: give a number of at least 1")


def parse_size(text: str) -> tuple[int, int]:
    """'800,1333' -> (800, 1333); one number is both sides' limit. Raises UsageError."""
    parts = text.replace("x", ",").split(",")
    if not 1 <= len(parts) <= 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--size {text}: write the shorter and the longer side, as in --size 800,1333")
    return int(parts[0]), int(parts[-1])


def parse_class_thresholds(items: list[str]) -> dict[str, float]:
    """['cat=0.5'] -> {'cat': 0.5}; the last '=' counts, so a label may hold one. Raises UsageError."""
    thresholds = {}
    for item in items:
        label, equals, value = item.rpartition("=")
        try:
            thresholds[label] = float(value)
        except ValueError:
            equals = ""
        if not equals or not label:
            raise UsageError(f"--class-threshold {item}: write LABEL=SCORE, as in --class-threshold cat=0.5")
    return thresholds
