"""A data set of boxes as every reader of `glip_cli.data` makes it; evaluation and training both start from it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypedDict
from urllib.parse import unquote

from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import Ids, shown
from glip_cli.errors import DataError
from glip_cli.prompts.prompt import clean_name

Size = tuple[int, int]
"""(width, height) in pixels."""
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What the folder of a split may be called."""
_BACKGROUND = frozenset({"background", "__background__", "_background_"})


@dataclass(frozen=True)
class Category:
    """
    Attributes:
        name: as the file spells it, numbers as text; "" where it gives none.
        frequency: LVIS': r (in 1 to 10 training images), c (11 to 100) or f (more).
    """

    id: int
    name: str
    frequency: str | None = None
    supercategory: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ImageRow:
    """One image as the file names it; None where the file does not say.

    Attributes:
        file_name: with forward slashes; may hold folders. LVIS v1, which gives none, gets the last two parts of its
            `coco_url`, as in GLIP's own code (M/data/datasets/lvis.py:229).
        width, height: in pixels, as stated.
        neg_category_ids, not_exhaustive_category_ids: LVIS': categories that the image does not show, and those of
            which not every object has its box.
        caption: as it stands in grounding data, unchecked.
    """

    id: int
    file_name: str
    width: int | None = None
    height: int | None = None
    neg_category_ids: tuple[int, ...] | None = None
    not_exhaustive_category_ids: tuple[int, ...] | None = None
    coco_url: str | None = None
    caption: object = None

    @property
    def stated_size(self) -> Size:
        """(0, 0) where the file does not say."""
        return (self.width, self.height) if self.width and self.height else (0, 0)


class Annotation(TypedDict):
    """`bbox` is [x, y, width, height], `area` what the size ranges go by; both in pixels."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int


@dataclass(frozen=True)
class Dataset:
    """
    Attributes:
        name: of the file or folder, for messages.
        images: each id once, in the file's order; also those without a box.
        categories: each id once, in id order, without the background.
        annotations: all that can be read; also those of images and categories that are not listed, which `issues`
            counts: pycocotools looks at their ids.
        folder: where the images are looked for.
        issues: what is wrong with it.
        paths: image id -> its file, where the reader knows it.
        sizes: file -> (width, height) of the upright image, or why it has none, where the reader opened it.
        image_ids, category_ids: the file's own ids, for the numbers here.
        is_part: it is the split that was asked for; else there are none, and it is all.
        spans: of grounding data, for each annotation the characters of the caption that name it, unchecked.
    """

    name: str
    images: tuple[ImageRow, ...]
    categories: tuple[Category, ...]
    annotations: tuple[Annotation, ...]
    folder: Path = Path()
    issues: Issues = field(default_factory=Issues, compare=False)
    paths: Mapping[int, Path] = field(default_factory=dict)
    sizes: Mapping[Path, Size | str] = field(default_factory=dict)
    image_ids: Ids = field(default_factory=Ids)
    category_ids: Ids = field(default_factory=Ids)
    is_part: bool = False
    spans: tuple[object, ...] | None = None

    @property
    def promptable(self) -> tuple[Category, ...]:
        """The categories that have a name. One with a blank name is scored, but cannot be part of a prompt."""
        return tuple(category for category in self.categories if category.name.strip())

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the promptable categories, in id order; label i is category `promptable[i]`."""
        return tuple(category.name for category in self.promptable)


def new_annotation(number: int, image_id: int, category_id: int, bbox: list[float], crowd: bool = False) -> Annotation:
    """Raises DataError where the numbers of a file were finite, and those of the box are not."""
    if not math.isfinite(sum(bbox)):
        raise DataError(f"its box is {shown(bbox)}; it must be four finite numbers")
    return {"id": number, "image_id": image_id, "category_id": category_id, "bbox": bbox, "area": bbox[2] * bbox[3],
            "iscrowd": int(crowd)}  # fmt: skip


def url_parts(url: str | None) -> tuple[str, ...]:
    """The path of a URL, part by part; nothing for None. Takes any text: one that is no URL is no error here."""
    if not url:
        return ()
    path = re.split(r"[?#]", url, maxsplit=1)[0].partition("://")[2].partition("/")[2]
    return PurePosixPath(unquote(path)).parts


def check_categories(categories: Iterable[Category], used: Set[int], issues: Issues) -> tuple[Category, ...]:
    """Each id once, the last one as in pycocotools; in id order; without those that mean the background.

    Args:
        categories: as the file lists them.
        used: the ids that boxes have; such a category is never the background.
    """
    table: dict[int, Category] = {}
    for category in categories:
        if table.setdefault(category.id, category).name != category.name:
            issues.add(DataIssue.CATEGORY_ID, f"{shown(category.name)}, id {category.id}")
        table[category.id] = category
    background = {number for number in table if _is_background(table[number], table)}
    for number in sorted(background - used):
        issues.add(DataIssue.CATEGORY_BACKGROUND, f"{shown(table.pop(number).name)}, id {number}")
    listed = tuple(table[number] for number in sorted(table))
    _note_names(listed, issues)
    return listed


def _is_background(category: Category, table: Mapping[int, Category]) -> bool:
    """Named so, or id 0 named as the others' supercategory (Roboflow); an id 0 with a name of its own is a class."""
    if category.name.strip().lower() in _BACKGROUND:
        return True
    return category.id == 0 and any(other.supercategory == category.name for other in table.values() if other.id)


def _note_names(categories: Sequence[Category], issues: Issues) -> None:
    known: set[str] = set()
    for category in categories:
        text = read_as(category.name)
        if not category.name.strip():
            issues.add(DataIssue.CATEGORY_UNNAMED, f"id {category.id}")
        elif text in known:
            issues.add(DataIssue.CATEGORY_SAME, f"{shown(category.name)}, id {category.id}")
        known.add(text)


def read_as(name: str) -> str:
    """A class name as the model reads it: equal for names that the model cannot distinguish."""
    return " ".join(clean_name(name).lower().split()) or name
