"""Options of prompts, detection and features.

Needs neither numpy nor torch: `glip --help` makes flags of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TypedDict

from glip_cli.errors import OptionError, UsageError
from glip_cli.utils.option import (
    KEEP,
    MODEL,
    SHARE,
    WHAT,
    Constraint,
    as_typed,
    at_least,
    check_options,
    one_of,
    option,
)
from glip_cli.utils.text_format import whole_number

OVERLAP = 0.2
SMALLEST_TILE = 64  # the side of the smallest anchor
PRE_NMS_SCORE_THRESHOLD = 0.05
"""As published: a label's score at a location must exceed it, before centerness."""


Size = tuple[int, int] | float
"""How large an image is read: (shorter, longer) side in pixels, or a share of the model's own sides."""


def parse_size(text: str) -> Size:
    """'800,1333' -> (800, 1333); one number is both sides' limit; '75%' -> 0.75. Raises UsageError."""
    share = text.strip().removesuffix("%")
    if share != text.strip() and share.replace(".", "", 1).isdecimal():
        if not _SIZE.allows(float(share) / 100):
            raise UsageError(f"--size {text}: {_SIZE.advice}")
        return float(share) / 100
    parts = text.replace("x", ",").split(",")
    sides = [side for part in parts if (side := whole_number(part.strip())) is not None]
    if len(sides) != len(parts) or len(sides) > 2:
        raise UsageError(f"--size {text}: write the shorter and the longer side, as in --size 800,1333, or a share of "
                         "the model's sides, as in --size 75%")  # fmt: skip
    if not _SIZE.allows((sides[0], sides[-1])):
        raise UsageError(f"--size {text}: {_SIZE.advice}")
    return sides[0], sides[-1]


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


_SIZE = Constraint(
    lambda size: 32 <= size[0] <= size[1] <= 10_000 if isinstance(size, tuple | list) else 0.2 <= size <= 4,
    "give the shorter side, then the longer, 32 .. 10000 px, or a share of the model's sides, 20% .. 400%",
)
_TILE = Constraint(lambda side: side >= SMALLEST_TILE, f"give a side of at least {SMALLEST_TILE} pixels, such as 800")
_OVERLAP = Constraint(lambda share: 0 <= share <= 0.9, "give a share of the tile from 0 to 0.9")


@dataclass(frozen=True)
class PromptRequest:
    """Labels, or a sentence and which parts of it; see the flags of the same names.

    Attributes:
        texts: labels as typed; one value may hold several, or be a sentence.
        custom_entities: `texts` are labels even if they look like a sentence.
        caption: a sentence.
        phrases: words of the caption that are a label each.
        tokens_positive: for each label its character spans in the caption, as text.
    """

    texts: Sequence[str] | None = None
    custom_entities: bool = False
    caption: str | None = None
    phrases: Sequence[str] | None = None
    tokens_positive: str | None = None

    @property
    def given(self) -> bool:
        return bool(self.texts or self.caption is not None or self.phrases or self.tokens_positive)


@dataclass(frozen=True)
class DetectOptions:
    """Raises OptionError for a value that is not allowed.

    Attributes:
        threshold: a detection's score must exceed it.
        class_thresholds: label as typed -> its own threshold.
        negatives: labels that compete for boxes but are not reported.
        chunked_size: labels per text; None: as many as fit.
        top_k: detections per image; None: all that its texts give.
        per_text: detections per image and text, 100 as published; LVIS takes 300.
        nms_iou: of two boxes that overlap more, the better stays; None: the model's own.
        agnostic_nms: boxes of different labels suppress each other too.
        size: (shorter, longer) side in pixels, or a share of the model's own sides, as 0.75; None: the model's own.
        batch_size: images at once.
        tta: detect at several scales, mirrored too, and merge.
        tile: side in pixels of the tiles besides the whole image; None: no tiles.
        overlap: of neighbouring tiles, as a share of `tile`; 0.2 where there are tiles.
        knowledge: definitions of labels, for models without fusion.
    """

    threshold: float = option(
        0.3, "Keep detections that score higher.", KEEP, "SCORE", show_default=True, allowed=SHARE
    )
    class_thresholds: Mapping[str, float] = option(
        {}, "Threshold of one label; repeatable.", KEEP, "LABEL=SCORE",
        flags=("--class-threshold",), typed=list[str], parse=parse_class_thresholds,
    )  # fmt: skip
    negatives: str | Sequence[str] = option(
        (), "Labels that compete for boxes but are not reported.", WHAT, "LABELS",
        flags=("--negative",), typed=list[str],
    )  # fmt: skip
    chunked_size: int | None = option(
        None,
        "Labels per text (default: as many as fit).",
        WHAT,
        "N",
        flags=("--chunked-size", "-s"),
        allowed=at_least(1),
    )
    top_k: int | None = option(None, "Keep the best N of each image.", KEEP, "N", allowed=at_least(1))
    per_text: int = 100
    nms_iou: float | None = option(
        None, "IoU above which only the best box stays: 0.6; glip-nano 0.45.", KEEP, "IOU", allowed=SHARE
    )
    agnostic_nms: bool = option(False, "Suppress boxes of different labels too.", KEEP)
    size: tuple[int, int] | float | None = option(
        None,
        "Resize to these sides, or to a share of the model's: 75%.",
        MODEL,
        "SHORT,LONG",
        typed=str,
        parse=parse_size,
        allowed=_SIZE,
    )
    batch_size: int = option(
        1, "Images at once.", MODEL, "N", flags=("--batch-size", "-b"), show_default=True, allowed=at_least(1)
    )
    tta: bool = option(False, "Detect at 12 scales (glip-nano: 3), also mirrored: slow.", MODEL)
    tile: int | None = option(None, "Also detect in tiles of N x N pixels.", MODEL, "N", allowed=_TILE)
    overlap: float | None = option(
        None, "Overlap of neighbouring tiles (default 0.2).", MODEL, "SHARE", allowed=_OVERLAP
    )
    knowledge: Mapping[str, str] | None = option(
        None, "Definitions of labels, json or toml: for glip-t-a.", WHAT, "FILE", typed=Path
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "negatives", as_tuple(self.negatives, "negatives"))
        check_options(self)
        if not isinstance(self.class_thresholds, Mapping):
            raise OptionError("class_thresholds", self.class_thresholds, "give scores by label, as in {'cat': 0.5}")
        for label, threshold in self.class_thresholds.items():
            if not SHARE.holds(threshold):
                raise OptionError("class_threshold", f"{label}={as_typed(threshold)}", SHARE.advice)
        if not isinstance(self.per_text, Integral) or self.per_text < 1:
            raise OptionError("per_text", self.per_text, "give a number of at least 1")
        if self.tile is None and self.overlap is not None:
            raise OptionError("overlap", f"{self.overlap:g}", "it is of tiles; give a tile size too")
        if self.tile is not None and self.overlap is None:
            object.__setattr__(self, "overlap", OVERLAP)

    @property
    def has_crops(self) -> bool:
        """Each image is detected in several crops or sizes."""
        return self.tta or self.tile is not None

    def for_labels(self, labels: Sequence[str]) -> DetectOptions:
        """These options with the thresholds of these labels only, for prompts that differ between images."""
        kept = {label: value for label, value in self.class_thresholds.items() if label in labels}
        return self if len(kept) == len(self.class_thresholds) else replace(self, class_thresholds=kept)


class DetectKeywords(TypedDict, total=False):
    """The fields of `DetectOptions` as keyword arguments, for type checkers."""

    threshold: float
    class_thresholds: Mapping[str, float]
    negatives: str | Sequence[str]
    chunked_size: int | None
    top_k: int | None
    per_text: int
    nms_iou: float | None
    agnostic_nms: bool
    size: tuple[int, int] | float | None
    batch_size: int
    tta: bool
    tile: int | None
    overlap: float | None
    knowledge: Mapping[str, str] | None


class LoadKeywords(TypedDict, total=False):
    """The arguments of `Detector.load` but for `report`, for type checkers."""

    model: str | None
    weights: str | Path | None
    bert: str | Path | None
    adapter: str | Path | None
    device: str
    dtype: str
    compile: bool
    offline: bool


KINDS = ("backbone", "fpn", "fused", "similarity", "logits", "text")
"""Of features, in the order in which the network makes them."""

USUAL = ("backbone", "fpn", "fused", "similarity")
OF_A_TEXT = KINDS[2:]


def split_values(values: Sequence[str]) -> tuple[str, ...]:
    """The values of a flag that is repeated or has commas between them."""
    return tuple(value.strip() for text in values for value in text.split(",") if value.strip())


@dataclass(frozen=True)
class FeatureOptions:
    """Which features to extract. Raises OptionError for a value that is not allowed.

    Attributes:
        which: of KINDS; None: the first four, as far as there is a head and a text.
        pool: "mean": each map averaged over its cells.
        size: (shorter, longer) side in pixels, or a share of the model's own sides, as 0.75; None: the model's own.
        batch_size: images at once.
    """

    which: str | Sequence[str] | None = option(
        None, "backbone, fpn, and with a text fused, similarity, logits, text; else the first four.", WHAT, "KINDS",
        typed=list[str], parse=split_values,
    )  # fmt: skip
    pool: str = option("none", "mean: one vector per map; else none.", WHAT, "HOW", allowed=one_of(("none", "mean")))
    size: tuple[int, int] | float | None = None
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.which is not None:
            object.__setattr__(self, "which", as_tuple(self.which, "which"))
        for kind in self.which or ():
            if kind not in KINDS:
                raise OptionError("which", kind, f"there are {', '.join(KINDS)}")
        if self.which == ():
            raise OptionError("which", "()", f"it names nothing: there are {', '.join(KINDS)}")
        check_options(self)
        DetectOptions(size=self.size, batch_size=self.batch_size)  # checks both


class FeatureKeywords(TypedDict, total=False):
    """The fields of `FeatureOptions` as keyword arguments, for type checkers."""

    which: str | Sequence[str] | None
    pool: str
    size: tuple[int, int] | float | None
    batch_size: int


def choose_features(options: FeatureOptions, has_head: bool, has_text: bool) -> tuple[str, ...]:
    """The kinds to make, in the order of KINDS. Raises OptionError for one that is not available."""
    there: Sequence[str] = KINDS[: 1 if not has_head else len(KINDS) if has_text else 2]
    if options.which is None:
        return tuple(kind for kind in USUAL if kind in there)
    for kind in options.which:
        if kind in there:
            continue
        if not has_head:
            raise OptionError(
                "which", kind, "the model is an image backbone alone and gives backbone; name a whole one"
            )
        raise OptionError("which", kind, "it depends on a text: say what to look for")
    return tuple(kind for kind in KINDS if kind in options.which)


def as_tuple(texts: str | Iterable[str], name: str) -> tuple[str, ...]:
    """Several texts; a single str is one of them, not its letters. Raises OptionError, with the option's name."""
    several = tuple(texts) if isinstance(texts, Iterable) and not isinstance(texts, str) else (texts,)
    if not all(isinstance(text, str) for text in several):
        raise OptionError(name, texts, "give a text, or a list of texts")
    return tuple(map(str, several))  # without the kinds of text of other packages
