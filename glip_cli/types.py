"""`Prompt` and `Detections`: validated on construction, without torch."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from glip_cli.errors import UsageError
from glip_cli.utils.text_format import counted, one_line, quoted

if TYPE_CHECKING:
    import pandas
    import supervision
    from PIL import Image

Span = tuple[int, int]
"""Characters [begin, end) of a text."""


@dataclass(frozen=True)
class Prompt:
    """Labels, the exact text that the model reads, and the spans of each label in it.

    Attributes:
        text: what the tokenizer gets, character for character.
        labels: the labels exactly as typed; a label's id is its index here.
        spans: for each label its spans in `text`, in reading order; never empty.
        is_caption: True where `text` is a sentence, of which the labels are parts.
        notes: remarks for the user (a label given twice, a character that the vocabulary lacks ...).
        words: for each label the words that the model reads for it, as typed; () stands for the labels.
    """

    text: str
    labels: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]
    is_caption: bool = False
    notes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("a prompt needs at least one label")
        if not self.words:
            object.__setattr__(self, "words", self.labels)
        if len(self.labels) != len(self.words):
            raise ValueError(f"{counted(len(self.labels), 'label')} but words for {len(self.words)}")
        if len(self.labels) != len(self.spans):
            raise ValueError(f"{counted(len(self.labels), 'label')} but spans for {len(self.spans)}")
        for label, spans in zip(self.labels, self.spans, strict=True):
            if not spans or any(not 0 <= begin < end <= len(self.text) for begin, end in spans):
                raise ValueError(f"label {label!r} has no span inside the text: {spans}")


class Detection(NamedTuple):
    """One box: `box` is (x1, y1, x2, y2) in pixels of the upright original image."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    label_id: int


@dataclass(frozen=True, eq=False, repr=False)
class Detections(Sequence[Detection]):
    """The detections in one image, best first: a sequence of `Detection`.

    `found[0]` is the best one; `found[:3]`, `found[found.scores > 0.5]` and `found[[0, 2]]` are `Detections` again.
    Compared and hashed by value, without the image. The arrays are copies that cannot be written to:
    `found.boxes.copy()` can.

    Attributes:
        boxes: float32 [n, 4], (x1, y1, x2, y2) in absolute pixels of the upright original image.
        scores: float32 [n] in [0, 1], descending.
        label_ids: int64 [n], indices into `labels`.
        labels: every label of the prompt, as typed, found or not.
        spans: for each label its first span in `text`.
        text: the prompt as it is shown ("cat . remote ."), or the caption.
        size: (width, height) of the upright original image.
        all_spans: for a caption, every span of each label in `text`; () where the prompt is a list of labels.
        image: the upright RGB image, from `Detector`; None in copies for other processes.
        name: of the image, as in the records of the command line.
        model: of the detector, "glip-t@c24ce662".
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    label_ids: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    spans: tuple[Span, ...]
    text: str
    size: tuple[int, int]
    all_spans: tuple[tuple[Span, ...], ...] = ()
    image: Image.Image | None = None
    name: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.label_ids.shape != (count,):
            raise ValueError(f"shapes disagree: {self.boxes.shape}, {self.scores.shape}, {self.label_ids.shape}")
        if len(self.spans) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels but {len(self.spans)} spans")
        if self.all_spans and len(self.all_spans) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels but {len(self.all_spans)} lists of spans in `all_spans`")
        if count and not (self.label_ids.min() >= 0 and self.label_ids.max() < len(self.labels)):
            raise ValueError("a label id lies outside the labels")
        if count and not np.isfinite(self.boxes).all():
            raise ValueError("a box is not finite")
        for name in ("boxes", "scores", "label_ids"):
            own = getattr(self, name).copy()
            own.flags.writeable = False
            object.__setattr__(self, name, own)

    # ------------------------------------------------------------------------------------------------- as a sequence

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[np.generic]) -> Detections: ...

    def __getitem__(self, index: int | slice | Sequence[int] | npt.NDArray[np.generic]) -> Detection | Detections:
        """One detection; or, by a slice, n bools or positions, some of them in that order.

        Raises IndexError for a position that is not there, TypeError for what is none of these.
        """
        if isinstance(index, int | np.integer):
            label_id = int(self.label_ids[index])
            x1, y1, x2, y2 = map(float, self.boxes[index])
            return Detection(self.labels[label_id], float(self.scores[index]), (x1, y1, x2, y2), label_id)
        chosen = index if isinstance(index, slice) else _positions(index)
        return replace(self, boxes=self.boxes[chosen], scores=self.scores[chosen], label_ids=self.label_ids[chosen])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return all(map(np.array_equal, self._arrays(), other._arrays())) and self._words() == other._words()

    def __hash__(self) -> int:
        return hash((len(self), *self._words()))

    def __repr__(self) -> str:
        """Detections(3 in photo.jpg, 640 x 480: 2 cat (0.91), 1 remote (0.60))."""
        best = {label: f"{score:.2f}" for label, score, *_ in reversed(list(self))}
        counts = ", ".join(f"{count} {label} ({best[label]})" for label, count in Counter(self.names).most_common())
        where = f"{self.name}, " if self.name else ""
        width, height = self.size
        return f"Detections({len(self)} in {where}{width} x {height}{f': {counts}' if counts else ''})"

    def __reduce__(self) -> tuple[object, ...]:
        """Copies, and what another process gets, cannot be written to either; they come without the image."""
        return type(self), (*self._arrays(), *self._words(), None, self.name, self.model)

    def _arrays(self) -> tuple[npt.NDArray[np.generic], ...]:
        return self.boxes, self.scores, self.label_ids

    def _words(self) -> tuple[object, ...]:
        return self.labels, self.spans, self.text, self.size, self.all_spans

    @property
    def names(self) -> list[str]:
        """The label of each detection, as typed."""
        return [self.labels[i] for i in self.label_ids]

    # ----------------------------------------------------------------------------------------------------- as an image

    def plot(self, image: Image.Image | None = None, *, palette: str | Sequence[str] = "bright") -> Image.Image:
        """The image with its boxes, RGB; below it the caption, where the prompt was one.

        `image` is the upright original, needed only where these detections have none. Raises UsageError without one.
        """
        from glip_cli.outputs.images import plot

        if (image := image or self.image) is None:
            raise UsageError("these detections came without their image: give it, as in found.plot(image)")
        return plot(image, self, palette)

    def show(self) -> None:
        """Open the image with its boxes in a window."""
        self.plot().show()

    def save(self, path: str | Path) -> None:
        """Write the image with its boxes; or, where `path` ends in .json, `to_dict`.

        Raises UsageError for another suffix than those of images, and OutputError where it cannot be written.
        """
        from glip_cli.outputs.images import save_detections

        save_detections(self, Path(path))

    def _repr_png_(self) -> bytes | None:
        """The image that a notebook shows."""
        if self.image is None:
            return None
        stream = io.BytesIO()
        self.plot().save(stream, "PNG")
        return stream.getvalue()

    # --------------------------------------------------------------------------------------------- for other libraries

    def to_dict(self) -> dict[str, object]:
        """The glip/1 object that `glip detect --json` prints."""
        from glip_cli.outputs.records import record

        return dict(record(self.name, self, self.model))

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each detection: label, score, x1, y1, x2, y2, label_id. Raises UsageError without pandas."""
        try:
            import pandas
        except ImportError:
            raise UsageError("to_pandas needs pandas: pip install pandas") from None
        label = pandas.Series(self.names, dtype=pandas.Series([""]).dtype)  # without a name it would be of floats
        columns = {"label": label, "score": self.scores}
        corners = {name: self.boxes[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))}
        return pandas.DataFrame({**columns, **corners, "label_id": self.label_ids})

    def to_supervision(self) -> supervision.Detections:
        """With the labels as `class_name`. Raises UsageError without supervision."""
        try:
            import supervision
        except ImportError:
            raise UsageError("to_supervision needs supervision: pip install supervision") from None
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.label_ids.copy(),
            data={"class_name": np.array(self.names, dtype=str)},
        )


def _positions(index: Sequence[int] | npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Raises TypeError; a tuple is refused, as `found[0, 1]` indexes an axis that there is none of."""
    try:
        chosen = np.asarray(index, dtype=None if len(index) else np.int64)
    except (TypeError, ValueError):
        chosen = np.empty(())
    if isinstance(index, tuple) or chosen.ndim != 1 or chosen.dtype.kind not in "biu":
        shown = one_line(quoted(index))
        raise TypeError(f"index {shown}: give a position, a slice, or a list of positions or of a bool for each")
    return chosen
