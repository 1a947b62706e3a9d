"""What the flags of a command mean, checked once, where they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from glip_cli.errors import UsageError


@dataclass(frozen=True)
class DetectOptions:
    """How to detect. Raises UsageError, naming the flag, for a value that cannot be meant."""

    threshold: float = 0.3  # a detection's score must exceed it
    class_thresholds: Mapping[str, float] = field(default_factory=dict)  # label as typed -> its own threshold
    negatives: tuple[str, ...] = ()  # labels that compete for boxes but are not reported
    chunked_size: int | None = None  # labels per text; None: as many as fit
    top_k: int | None = None  # detections per image; None: all that its texts give
    per_text: int = 100  # detections per image and text, as published; LVIS takes 300
    nms_iou: float = 0.6  # of two boxes that overlap more, the better stays
    agnostic_nms: bool = False  # boxes of different labels suppress each other too
    size: tuple[int, int] | None = None  # shorter and longer side in pixels; None: the model's own
    batch_size: int = 1  # images at once

    def __post_init__(self) -> None:
        _share("--threshold", self.threshold)
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
