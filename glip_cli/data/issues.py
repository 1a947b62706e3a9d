"""The issues of a data set: how many, where, and what happens to them in training and in evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

DROPPED, KEPT, STOPS = "dropped", "kept", "stops"
_LAST = "the last of each counts"


class DataIssue(Enum):
    """(what may be wrong, what happens to it in training, the same in evaluation where it is something else)."""

    FILE_UNREADABLE = ("annotation files that cannot be read; their images are left out too", DROPPED)
    IMAGE_MISSING = ("images that are not there", DROPPED)
    IMAGE_UNREADABLE = ("files that are no images, or cut short", DROPPED)
    IMAGE_SCALED = ("images of another size than stated; their boxes are scaled or turned to match", KEPT)
    IMAGE_SIZE = ("images of another size than stated; the boxes are taken as pixels of the image", KEPT)
    IMAGE_TURNED = (
        "images of another size than stated; the boxes are taken as pixels of the image; give it if EXIF turned it",
        KEPT,
    )
    IMAGE_RESULTS = ("images of another size than stated; the results are taken as pixels of the stated size", KEPT)
    IMAGE_OTHER = ("annotation files of other splits, as ImageSets/Main says", DROPPED)
    IMAGE_UNLISTED = ("images that no annotation file is about", DROPPED)
    IMAGE_REPEATED = ("images listed more than once", DROPPED)
    IMAGE_ID = ("image ids that stand for several images", STOPS, _LAST)
    IMAGE_EMPTY = ("images without a box; all in them is background", KEPT)
    LINE = ("lines that are no box, polygon or keypoints as data.yaml says", DROPPED)
    LINE_FORM = ("lines that may be two things; say kpt_shape or task in data.yaml", STOPS)
    BOX_FORM = ("boxes that are not four finite numbers, or of odd ids", DROPPED)
    AREA = ("areas that are no number; the box's is taken", KEPT)
    BOX_IMAGE = ("boxes of an image that is not listed", DROPPED)
    BOX_CATEGORY = ("boxes of a class that is not listed", DROPPED)
    BOX_ID = ("box ids used more than once", KEPT, f"{_LAST}, as often as its id is there, as in pycocotools")
    BOX_ID_0 = ("boxes with the id 0, whose match pycocotools counts as false", KEPT, "a match counts as found")
    BOX_FLAT = ("boxes without width or height", DROPPED, "counted, but nothing can match them")
    BOX_OUTSIDE = ("boxes outside their image", DROPPED, "counted, but nothing can match them")
    BOX_CLIPPED = ("boxes that reach over the edge", "cut", "counted uncut")
    BOX_UNPLACED = ("boxes of images that cannot be opened, so that their pixels are not known", DROPPED)
    BOX_SIZE = ("boxes of no size (one pixel or less)", DROPPED, "counted")
    BOX_REPEATED = ("boxes given twice with one class", DROPPED, "each is counted")
    RESULT_REPEATED = ("results given twice with one class, box and score", KEPT, "each is counted")
    RESULT_SCORE = ("scores of results below 0 or above 1", KEPT, "AP counts their order alone")
    RESULT_IMAGE = ("images that the file of results lists under several ids", KEPT, "their results are taken together")
    BOX_CROWD = ("boxes of crowds, or marked as difficult", DROPPED)
    BOX_UNNAMED = ("boxes of a class without a name", DROPPED)
    CATEGORY_ID = ("class ids that stand for several names", STOPS, _LAST)
    CATEGORY_COUNT = ("counts of classes (nc) that are not the number of names", KEPT)
    CATEGORY_BACKGROUND = ("classes that mean the background", DROPPED)
    CATEGORY_UNNAMED = ("classes without a name", DROPPED, "scored, but nothing can be found for them")
    CATEGORY_SAME = ("classes named as another is; the model cannot tell them apart", KEPT)
    CATEGORY_EMPTY = ("classes without a box; only ever negatives", KEPT)
    CAPTION = ("captions that are blank or no text", DROPPED)
    SPAN = ("boxes that no part of their caption names", DROPPED)
    NOTHING = ("no box is left to learn from", STOPS)

    @property
    def what(self) -> str:
        return self.value[0]

    @property
    def action(self) -> str:
        """In training: "dropped", "cut", "kept" or "stops"."""
        return self.value[1]

    @property
    def action_in_evaluation(self) -> str:
        return self.value[-1]


@dataclass(frozen=True)
class Issue:
    """A kind of fault in a data set: text, count, first example, and what happens to it ("dropped", "cut", "stops")."""

    what: str
    count: int
    example: str
    action: str


@dataclass(frozen=True)
class Findings:
    """The statistics and issues of a training set.

    Attributes:
        images, boxes: how many are left to train on.
        rows: in the order of `DataIssue`; nothing for what did not occur.
    """

    name: str
    images: int
    boxes: int
    rows: tuple[Issue, ...] = ()

    @property
    def stops(self) -> bool:
        """Whether something is wrong that only the author of the set can correct."""
        return any(row.action == STOPS for row in self.rows)


class Issues:
    """The issues of a set, counted while it is read."""

    def __init__(self) -> None:
        self._counts: Counter[DataIssue] = Counter()
        self._examples: dict[DataIssue, str] = {}

    def add(self, issue: DataIssue, example: str) -> None:
        """`example` names the place."""
        self._counts[issue] += 1
        self._examples.setdefault(issue, example)

    def extend(self, others: Issues) -> None:
        self._counts += others._counts
        self._examples = {**others._examples, **self._examples}

    def __contains__(self, issue: object) -> bool:
        return issue in self._counts

    def example(self, issue: DataIssue) -> str:
        """The first of them."""
        return self._examples[issue]

    def rows(self, evaluation: bool = False) -> list[Issue]:
        """In the order of `DataIssue`."""
        return [
            Issue(one.what, count, self._examples[one], one.action_in_evaluation if evaluation else one.action)
            for one in DataIssue
            if (count := self._counts[one])
        ]

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each kind, as evaluation says it."""
        return tuple(
            f"{row.what}: {row.count}, first {row.example} ({row.action})" for row in self.rows(evaluation=True)
        )

    def findings(self, name: str, box_counts: Iterable[int]) -> Findings:
        """The table of a training set, from the number of boxes in each image that is left."""
        left = tuple(box_counts)
        if not any(left):
            self.add(DataIssue.NOTHING, name)
        return Findings(name, len(left), sum(left), tuple(self.rows()))
