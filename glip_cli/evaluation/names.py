"""Names and ids of images and labels in files of results -> the ids of a ground truth; never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from glip_cli.data.dataset import Size, url_parts
from glip_cli.data.values import Ids, read_json, shown, spelling_of
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.outputs.coco import COCO_RESULTS, RESULTS_SHA256
from glip_cli.outputs.files import save_json, sha256_of
from glip_cli.utils.json import JsonObject

Parts = tuple[str, ...]
IMAGES_FILE = "coco_images.json"
_AGAIN = "write the results again as format coco or coco-results"


@dataclass(frozen=True)
class CocoImages:
    """`coco_images.json`: what the ids of the results beside it mean. It serves the one file it was written with.

    Attributes:
        path: of the file.
        images: spelling of an id -> name.
        sizes: spelling of an id -> (width, height) in pixels of the image, where the file says it.
        categories: spelling of an id -> name.
    """

    path: Path
    images: dict[str, str]
    sizes: dict[str, Size]
    categories: dict[str, str]

    def name(self, table: dict[str, str], value: object, where: str) -> str:
        """Raises DataError."""
        spelling = spelling_of(value)
        if spelling not in table:
            unknown = f"{self.path.name} beside it does not have the id {shown(value)}"
            raise DataError(f"{where}: {unknown}; the two are of different runs")
        return table[spelling]


class Names:
    """The names of one ground truth. Remembers which name took which image, so that no two take the same."""

    def __init__(self, truth: GroundTruth, meaning: CocoImages | None = None) -> None:
        """`meaning` is of the ids in results; without it they are those of the ground truth's file."""
        self._truth, self._meaning = truth, meaning
        self._image_names = {image.id: image.file_name for image in truth.images}
        self._category_names = {category.id: category.name for category in truth.categories}
        self._by_label: dict[str, list[int]] = {}
        for category in truth.categories:
            self._by_label.setdefault(category.name, []).append(category.id)
        self._by_name: dict[str, int] = {}
        self._taken: dict[int, str] = {}

    def image_of(self, value: object, where: str) -> int:
        """The image that an id in results is of. Raises DataError where there is none."""
        location, file = f"{where}: image_id", self._truth.name
        if self._meaning:
            return self.image(self._meaning.name(self._meaning.images, value, location), where, likely=value)
        number = self._truth.image_ids.number(value, location)
        if number not in self._image_names:
            raise DataError(f"{where}: {file} has no image {shown(value)}; these are results of other images")
        return number

    def category_of(self, value: object, where: str) -> int:
        """The category that an id in results is of. Raises DataError where there is none."""
        location, file = f"{where}: category_id", self._truth.name
        if self._meaning:
            return self.category(self._meaning.name(self._meaning.categories, value, location), where, likely=value)
        number = self._truth.category_ids.number(value, location)
        if number not in self._category_names:
            raise DataError(f"{where}: {file} has no category {shown(value)}; these are results of other categories")
        return number

    def image(self, name: str, where: str, likely: object = None) -> int:
        """The image whose `file_name` or `coco_url` has the same base name and, of several, the most folders alike.

        `likely` is the id, as the file has it, of the image where that one's `file_name` is `name` to the letter.
        Raises DataError where there is none, or several, or another name has taken it.
        """
        number = _number(self._truth.image_ids, likely)
        if number is not None and self._image_names.get(number) == name:
            return number
        if name not in self._by_name:
            self._by_name[name] = self._find(name, where)
        return self._by_name[name]

    def known_image(self, name: str, where: str, likely: object = None) -> int | None:
        """The same; None instead of an error."""
        try:
            return self.image(name, where, likely)
        except DataError:
            return None

    @cached_property
    def _by_end(self) -> dict[Parts, list[int]]:
        """The base name of an image, with none, some or all of its folders -> the images that it is the end of."""
        found: dict[Parts, dict[int, None]] = {}
        for image in self._truth.images:
            for parts in (_parts(image.file_name), url_parts(image.coco_url)):
                for first in range(len(parts)):
                    found.setdefault(parts[first:], {})[image.id] = None
        return {parts: list(ids) for parts, ids in found.items()}

    def _find(self, name: str, where: str) -> int:
        parts, file = _parts(name), self._truth.name
        ends = (parts[first:] for first in range(len(parts)))  # the longest first
        best = next((self._by_end[end] for end in ends if end in self._by_end), [])
        if len(best) != 1:
            why = f"{len(best)} images of this name; give paths with folders" if best else "no image of this name"
            raise DataError(f"{where}: {shown(name)}: {file} has {why}")
        other = self._taken.setdefault(best[0], name)
        if other != name:
            raise DataError(f"{where}: {shown(name)} and {shown(other)} are both image {best[0]} of {file}")
        return best[0]

    def category(self, name: str, where: str, likely: object = None) -> int:
        """The category of this name; of several, the one with the id `likely`. Raises DataError for none or several."""
        number = _number(self._truth.category_ids, likely)
        if number is not None and self._category_names.get(number) == name:
            return number
        found = self._by_label.get(name, [])
        if len(found) != 1:
            why = f"{len(found)} categories of this name; give a COCO results list" if found else "no such category"
            raise DataError(f"{where}: label {shown(name)}: {self._truth.name} has {why}")
        return found[0]


def _number(ids: Ids, value: object) -> int | None:
    """None for what is no id."""
    try:
        return ids.number(value, "")
    except DataError:
        return None


def _parts(name: str) -> Parts:
    """The folders and the base name of a path or URL."""
    return url_parts(name) if "://" in name else PurePosixPath(name.replace("\\", "/")).parts


def read_coco_images(results: Path) -> CocoImages | None:
    """The `coco_images.json` beside a file of results; None where there is none, or it was written with another file.

    One that does not say with which, as older versions wrote them, serves `coco_results.json`. Raises DataError.
    """
    path = results.parent / IMAGES_FILE
    if not path.is_file():
        return None
    data = read_json(path)
    if not isinstance(data, dict):
        raise DataError(f"{path}: {shown(data)} does not say what the ids mean; {_AGAIN}")
    digest = data.get(RESULTS_SHA256)
    if results.name != COCO_RESULTS if digest is None else digest != sha256_of(results):
        return None
    return coco_images(path, data)


def coco_images(path: Path, data: JsonObject) -> CocoImages:
    """The images and categories of a data set by their ids; `path` is for errors. Raises DataError."""
    images = _table(path, data, "images", "file_name")
    return CocoImages(
        path,
        {spelling: row["file_name"] for spelling, row in images.items()},
        {spelling: size for spelling, row in images.items() if (size := size_of(row))},
        {spelling: row["name"] for spelling, row in _table(path, data, "categories", "name").items()},
    )


def _table(path: Path, data: JsonObject, key: str, name: str) -> dict[str, JsonObject]:
    rows = data.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get(name), str) for row in rows):
        raise DataError(f"{path}: '{key}' is no list of ids and names; {_AGAIN}")
    found = {spelling_of(row.get("id")): row for row in rows}
    if None in found:
        raise DataError(f"{path}: an id of '{key}' is {shown(found[None].get('id'))}; {_AGAIN}")
    return {str(spelling): row for spelling, row in found.items()}


def size_of(row: JsonObject) -> Size | None:
    """(width, height) of a row or record; None where it does not say."""
    sides = [side for side in (row.get("width"), row.get("height")) if type(side) is int and side > 0]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def write_coco_images(results: Path, truth: GroundTruth, skipped: set[int]) -> None:
    """Write the images and categories beside results, without images that were not evaluated."""
    evaluated = [row for row in truth.images if row.id not in skipped]
    images = [{"id": truth.image_ids.original(row.id), "file_name": row.file_name} for row in evaluated]
    categories = [{"id": truth.category_ids.original(row.id), "name": row.name} for row in truth.categories]
    meaning = {"images": images, "categories": categories, RESULTS_SHA256: sha256_of(results)}
    save_json(results.parent / IMAGES_FILE, meaning)
