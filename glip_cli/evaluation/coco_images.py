"""`coco_images.json`: what the ids of the results beside it mean. It serves the one file that it was written with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glip_cli.data.frames import Size
from glip_cli.data.reading import as_id, read_json, shown
from glip_cli.errors import UsageError
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.names import Names
from glip_cli.output.files import save_json, sha256_of
from glip_cli.output.formats import COCO_RESULTS, RESULTS_SHA256

IMAGES_FILE = "coco_images.json"
_AGAIN = "run again with --format coco"

Lookup = Callable[[int, str], int]
"""An id in the file, and its place for a message -> the ground truth's id."""


@dataclass(frozen=True)
class CocoImages:
    """What the ids mean.

    Attributes:
        path: of the file.
        images: id -> name.
        sizes: id -> (width, height) in pixels of the images that were looked at, where the file has them.
        categories: id -> name.
    """

    path: Path
    images: dict[int, str]
    sizes: dict[int, Size]
    categories: dict[int, str]

    def lookups(self, names: Names) -> tuple[Lookup, Lookup]:
        """For images and for categories; a name is looked up when a result first needs it."""

        def image_of(number: int, where: str) -> int:
            return names.image(self._meaning(self.images, number, where), where, likely=number)

        def category_of(number: int, where: str) -> int:
            return names.category(self._meaning(self.categories, number, where), where, likely=number)

        return image_of, category_of

    def _meaning(self, table: dict[int, str], number: int, where: str) -> str:
        if number not in table:
            raise UsageError(
                f"{where}: {self.path.name} beside it does not have the id {number}; the two are of different runs"
            )
        return table[number]


def images_beside(results: Path) -> Path | None:
    """The `coco_images.json` beside a file of results, whichever file it is of."""
    path = results.parent / IMAGES_FILE
    return path if path.is_file() else None


def read_coco_images(path: Path, results: Path) -> CocoImages | None:
    """None where it was written with another file than `results`.

    One that does not say with which, as older versions wrote them, serves `coco_results.json`.

    Raises:
        UsageError: it does not say what ids mean.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise UsageError(f"{path}: {shown(data)} does not say what the ids mean; {_AGAIN}")
    digest = data.get(RESULTS_SHA256)
    if results.name != COCO_RESULTS if digest is None else digest != sha256_of(results):
        return None
    images = _table(path, data, "images", "file_name")
    sizes = {number: size for number, row in images.items() if (size := size_of(row))}
    categories = {number: row["name"] for number, row in _table(path, data, "categories", "name").items()}
    return CocoImages(path, {number: row["file_name"] for number, row in images.items()}, sizes, categories)


def _table(path: Path, data: dict[str, Any], key: str, name: str) -> dict[int, dict[str, Any]]:
    rows = data.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get(name), str) for row in rows):
        raise UsageError(f"{path}: '{key}' is no list of ids and names; {_AGAIN}")
    return {as_id(row.get("id"), f"{path}: {key}"): row for row in rows}


def size_of(row: dict[str, Any]) -> Size | None:
    """(width, height) of a row or record; None where it does not say."""
    sides = [side for side in (row.get("width"), row.get("height")) if type(side) is int and side > 0]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def write_coco_images(results: Path, truth: GroundTruth, skipped: set[int]) -> None:
    """Beside results whose ids are those of `truth`; without the images that were not looked at."""
    images = [{"id": row.id, "file_name": row.file_name} for row in truth.images if row.id not in skipped]
    categories = [{"id": category.id, "name": category.name} for category in truth.categories]
    save_json(
        results.parent / IMAGES_FILE,
        {"images": images, "categories": categories, RESULTS_SHA256: sha256_of(results)},
    )
