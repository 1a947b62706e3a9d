"""What is wrong with a training set, found before training starts: how much of it, where, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

DROPPED, KEPT, STOPS = "dropped", "kept", "stops"


class DataIssue(Enum):
    """What may be wrong, and what is done about it."""

    FILE_UNREADABLE = ("annotation files that cannot be read; their images are left out too", DROPPED)
    IMAGE_MISSING = ("images that are not there", DROPPED)
    IMAGE_UNREADABLE = ("files that are no images, or cut short", DROPPED)
    IMAGE_SCALED = ("images of another size than stated; their boxes are scaled or turned to match", KEPT)
    IMAGE_SIZE = ("images of another size than stated; the boxes are taken as pixels of the image", KEPT)
    IMAGE_OTHER = ("annotation files of other splits, as ImageSets/Main says", DROPPED)
    IMAGE_UNLISTED = ("images that no annotation file is about", DROPPED)
    IMAGE_REPEATED = ("images listed more than once", DROPPED)
    IMAGE_ID = ("image ids that stand for several images", STOPS)
    IMAGE_EMPTY = ("images without a box; all in them is background", KEPT)
    LINE = ("lines that are no box, polygon or keypoints as data.yaml says", DROPPED)
    LINE_FORM = ("lines that may be two things; say kpt_shape or task in data.yaml", STOPS)
    BOX_FORM = ("boxes that are not four finite numbers, or of odd ids", DROPPED)
    AREA = ("areas that are no number; the box's is taken", KEPT)
    BOX_IMAGE = ("boxes of an image that is not listed", DROPPED)
    BOX_CATEGORY = ("boxes of a class that is not listed", DROPPED)
    BOX_ID = ("box ids used more than once", KEPT)
    BOX_OUTSIDE = ("boxes outside their image", DROPPED)
    BOX_CLIPPED = ("boxes that reach over the edge; cut there", KEPT)
    BOX_UNPLACED = ("boxes of images that cannot be opened, so that their pixels are not known", DROPPED)
    BOX_SIZE = ("boxes of no size (one pixel or less)", DROPPED)
    BOX_REPEATED = ("boxes given twice with one class", DROPPED)
    BOX_CROWD = ("boxes of crowds, or marked as difficult", DROPPED)
    BOX_UNNAMED = ("boxes of a class without a name", DROPPED)
    CATEGORY_ID = ("class ids that stand for several names", STOPS)
    CATEGORY_COUNT = ("counts of classes (nc) that are not the number of names", KEPT)
    CATEGORY_BACKGROUND = ("classes that mean the background", DROPPED)
    CATEGORY_UNNAMED = ("classes without a name", DROPPED)
    CATEGORY_SAME = ("classes named as another is; the model cannot tell them apart", KEPT)
    CATEGORY_EMPTY = ("classes without a box; only ever asked in vain", KEPT)
    CAPTION = ("captions that are blank or no text", DROPPED)
    SPAN = ("boxes that no part of their caption names", DROPPED)
    NOTHING = ("no box is left to learn from", STOPS)

    @property
    def what(self) -> str:
        return self.value[0]

    @property
    def action(self) -> str:
        """ "dropped", "kept" or "stops"."""
        return self.value[1]


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        what: what is wrong, in words.
        count: how often.
        example: the first of them.
        action: "dropped", "kept" or "stops".
    """

    what: str
    count: int
    example: str
    action: str


@dataclass(frozen=True)
class Findings:
    """What was found in a set.

    Attributes:
        name: of the set.
        images, boxes: how many are left to train on.
        rows: in the order of `DataIssue`; nothing for what did not occur.
    """

    name: str
    images: int
    boxes: int
    rows: tuple[Finding, ...] = ()

    @property
    def stops(self) -> bool:
        """Whether something is wrong that only its author can mend."""
        return any(row.action == STOPS for row in self.rows)


class Tally:
    """Counts faults while a set is read."""

    def __init__(self) -> None:
        self._counts: dict[DataIssue, int] = {}
        self._examples: dict[DataIssue, str] = {}

    def add(self, fault: DataIssue, example: str) -> None:
        """`example` names the place."""
        self._counts[fault] = self._counts.get(fault, 0) + 1
        self._examples.setdefault(fault, example)

    def findings(self, name: str, box_counts: Iterable[int]) -> Findings:
        """The table of a set, from the number of boxes in each image that is left."""
        left: Sequence[int] = tuple(box_counts)
        if not any(left):
            self.add(DataIssue.NOTHING, name)
        return Findings(name, len(left), sum(left), tuple(self.rows()))

    def rows(self) -> list[Finding]:
        """What was counted, in the order of `DataIssue`."""
        return [
            Finding(fault.what, self._counts[fault], self._examples[fault], fault.action)
            for fault in DataIssue
            if fault in self._counts
        ]
