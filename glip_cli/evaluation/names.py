"""Names of images and labels -> the ids that a ground truth has for them; never a guess."""

from __future__ import annotations

from itertools import takewhile
from pathlib import PurePosixPath

from glip_cli.data.ids import Ids
from glip_cli.data.reading import shown
from glip_cli.data.rows import ImageRow, url_parts
from glip_cli.errors import UsageError
from glip_cli.evaluation.ground_truth import GroundTruth

Parts = tuple[str, ...]


class Names:
    """The names of one ground truth. Remembers which name took which image, so that no two take the same."""

    def __init__(self, ground_truth: GroundTruth) -> None:
        self._file = ground_truth.name
        self._image_ids, self._category_ids = ground_truth.image_ids, ground_truth.category_ids
        self._image_names = {image.id: image.file_name for image in ground_truth.images}
        self._category_names = {category.id: category.name for category in ground_truth.categories}
        self._by_base: dict[str, list[tuple[Parts, int]]] = {}
        for image in ground_truth.images:
            for parts in _spellings(image):
                self._by_base.setdefault(parts[-1], []).append((parts, image.id))
        self._by_label: dict[str, list[int]] = {}
        for category in ground_truth.categories:
            self._by_label.setdefault(category.name, []).append(category.id)
        self._by_name: dict[str, int] = {}
        self._taken: dict[int, str] = {}

    def same_image(self, value: object, where: str) -> int:
        """The number of an id of the file, which must be one of its images. Raises UsageError."""
        number = self._image_ids.number(value, f"{where}: image_id")
        if number not in self._image_names:
            raise UsageError(f"{where}: {self._file} has no image {shown(value)}; these are results of other images")
        return number

    def same_category(self, value: object, where: str) -> int:
        """The number of an id of the file, which must be one of its categories. Raises UsageError."""
        number = self._category_ids.number(value, f"{where}: category_id")
        if number not in self._category_names:
            raise UsageError(
                f"{where}: {self._file} has no category {shown(value)}; these are results of other categories"
            )
        return number

    def image(self, name: str, where: str, likely: object = None) -> int:
        """The image whose `file_name` or `coco_url` has the same base name and, of several, the most folders alike.

        Args:
            name: a path or URL.
            where: for messages.
            likely: the id, as the file has it, of the image where that one's `file_name` is `name` to the letter.

        Raises:
            UsageError: there is none, or several, or another name has taken it.
        """
        number = _number(self._image_ids, likely)
        if number is not None and self._image_names.get(number) == name:
            return number
        if name not in self._by_name:
            self._by_name[name] = self._find(name, where)
        return self._by_name[name]

    def known_image(self, name: str, where: str, likely: object = None) -> int | None:
        """The same; None instead of an error."""
        try:
            return self.image(name, where, likely)
        except UsageError:
            return None

    def _find(self, name: str, where: str) -> int:
        parts = _parts(name)
        known = self._by_base.get(parts[-1], []) if parts else []
        alike = {image_id: 0 for _, image_id in known}
        for spelling, image_id in known:
            alike[image_id] = max(alike[image_id], _common_end(spelling, parts))
        best = [image_id for image_id, count in alike.items() if count == max(alike.values())]
        if len(best) != 1:
            why = f"{len(best)} images of this name; give paths with folders" if best else "no image of this name"
            raise UsageError(f"{where}: {shown(name)}: {self._file} has {why}")
        other = self._taken.setdefault(best[0], name)
        if other != name:
            raise UsageError(f"{where}: {shown(name)} and {shown(other)} are both image {best[0]} of {self._file}")
        return best[0]

    def category(self, name: str, where: str, likely: object = None) -> int:
        """The category of this name; of several, the one with the id `likely`.

        Raises:
            UsageError: there is none, or which of several is open.
        """
        number = _number(self._category_ids, likely)
        if number is not None and self._category_names.get(number) == name:
            return number
        found = self._by_label.get(name, [])
        if len(found) != 1:
            why = f"{len(found)} categories of this name; give a COCO results list" if found else "no such category"
            raise UsageError(f"{where}: label {shown(name)}: {self._file} has {why}")
        return found[0]


def _number(ids: Ids, value: object) -> int | None:
    """None for what is no id."""
    try:
        return ids.number(value, "")
    except UsageError:
        return None


def _spellings(image: ImageRow) -> list[Parts]:
    return [parts for parts in (_parts(image.file_name), url_parts(image.coco_url)) if parts]


def _parts(name: str) -> Parts:
    """The folders and the base name of a path or URL."""
    return url_parts(name) if "://" in name else PurePosixPath(name.replace("\\", "/")).parts


def _common_end(a: Parts, b: Parts) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b), strict=False)))
