"""The two things that travel the whole road: what was asked (`Prompt`) and what was found (`Detections`).

Both check themselves at birth, so nothing downstream has to. Neither knows torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Span = tuple[int, int]
"""Characters [begin, end) of a text."""


@dataclass(frozen=True)
class Prompt:
    """Labels, the exact text that the model reads, and where each label stands in it.

    Attributes:
        text: what the tokenizer gets, character for character.
        labels: the labels exactly as the person typed them; a label's id is its place here.
        spans: for each label its spans in `text`, in reading order; never empty.
        is_caption: True when `text` is a sentence of the person's own, of which the labels are parts.
        notes: remarks for the person (a label given twice, a character the vocabulary lacks ...).
    """

    text: str
    labels: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]
    is_caption: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("a prompt needs at least one label")
        if len(self.labels) != len(self.spans):
            raise ValueError(f"{len(self.labels)} labels but {len(self.spans)} lists of spans")
        for label, spans in zip(self.labels, self.spans, strict=True):
            if not spans or any(not 0 <= begin < end <= len(self.text) for begin, end in spans):
                raise ValueError(f"label {label!r} has no span inside the text: {spans}")


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one image, best first.

    Compared and hashed by value. The arrays are copies that cannot be written to: `found.boxes.copy()` can.

    Attributes:
        boxes: float32 [n, 4], (x1, y1, x2, y2) in absolute pixels of the upright original image.
        scores: float32 [n] in [0, 1], descending.
        label_ids: int64 [n], indices into `labels`.
        labels: every label of the prompt, as typed, found or not.
        spans: for each label its first span in `text`.
        text: the prompt as it is shown to a person ("cat . remote ."), or the caption.
        size: (width, height) of the upright original image.
        places: for a caption, every span of each label in `text`; () where the prompt is a list of labels.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    label_ids: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    spans: tuple[Span, ...]
    text: str
    size: tuple[int, int]
    places: tuple[tuple[Span, ...], ...] = ()

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.label_ids.shape != (count,):
            raise ValueError(f"shapes disagree: {self.boxes.shape}, {self.scores.shape}, {self.label_ids.shape}")
        if len(self.spans) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels but {len(self.spans)} spans")
        if self.places and len(self.places) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels but {len(self.places)} lists of places")
        if count and not (self.label_ids.min() >= 0 and self.label_ids.max() < len(self.labels)):
            raise ValueError("a label id lies outside the labels")
        if count and not np.isfinite(self.boxes).all():
            raise ValueError("a box is not finite")
        for name in ("boxes", "scores", "label_ids"):
            own = getattr(self, name).copy()
            own.flags.writeable = False
            object.__setattr__(self, name, own)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return all(map(np.array_equal, self._arrays(), other._arrays())) and self._words() == other._words()

    def __hash__(self) -> int:
        return hash((len(self), *self._words()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, and what another process gets, cannot be written to either."""
        return type(self), (*self._arrays(), *self._words())

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return self.boxes, self.scores, self.label_ids

    def _words(self) -> tuple[Any, ...]:
        return self.labels, self.spans, self.text, self.size, self.places

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """The label of each detection, as typed."""
        return [self.labels[i] for i in self.label_ids]
