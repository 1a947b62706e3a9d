"""`coco_images.json`: what the ids of the results beside it mean. It serves the one file that it was written with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glip_cli.data.ids import spelling_of
from glip_cli.data.image_files import Size
from glip_cli.data.reading import read_json, shown
from glip_cli.errors import UsageError
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.names import Names
from glip_cli.outputs.files import save_json, sha256_of
from glip_cli.outputs.formats import COCO_RESULTS, RESULTS_SHA256

IMAGES_FILE = "coco_images.json"
_AGAIN = "run again with --format coco"

Lookup = Callable[[object, str], int]
"""An id as the file has it, and its place for a message -> the number of the ground truth's."""


@dataclass(frozen=True)
class CocoImages:
    """What the ids mean.

    Attributes:
        path: of the file.
        images: spelling of an id -> name.
        sizes: spelling of an id -> (width, height) in pixels of the image that was looked at, where the file says it.
        categories: spelling of an id -> name.
    """

    path: Path
    images: dict[str, str]
    sizes: dict[str, Size]
    categories: dict[str, str]

    def lookups(self, names: Names) -> tuple[Lookup, Lookup]:
        """For images and for categories; a name is looked up when a result first needs it."""

        def image_of(value: object, where: str) -> int:
            return names.image(self._meaning(self.images, value, f"{where}: image_id"), where, likely=value)

        def category_of(value: object, where: str) -> int:
            return names.category(self._meaning(self.categories, value, f"{where}: category_id"), where, likely=value)

        return image_of, category_of

    def _meaning(self, table: dict[str, str], value: object, where: str) -> str:
        spelling = spelling_of(value)
        if spelling not in table:
            raise UsageError(
                f"{where}: {self.path.name} beside it does not have the id {shown(value)}; "
                "the two are of different runs"
            )
        return table[spelling]


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
    return CocoImages(
        path,
        {spelling: row["file_name"] for spelling, row in images.items()},
        {spelling: size for spelling, row in images.items() if (size := size_of(row))},
        {spelling: row["name"] for spelling, row in _table(path, data, "categories", "name").items()},
    )


def _table(path: Path, data: dict[str, Any], key: str, name: str) -> dict[str, dict[str, Any]]:
    rows = data.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get(name), str) for row in rows):
        raise UsageError(f"{path}: '{key}' is no list of ids and names; {_AGAIN}")
    found = {spelling_of(row.get("id")): row for row in rows}
    if None in found:
        raise UsageError(f"{path}: an id of '{key}' is {shown(found[None].get('id'))}; {_AGAIN}")
    return {str(spelling): row for spelling, row in found.items()}


def size_of(row: dict[str, Any]) -> Size | None:
    """(width, height) of a row or record; None where it does not say."""
    sides = [side for side in (row.get("width"), row.get("height")) if type(side) is int and side > 0]
    return (sides[0], sides[1]) if len(sides) == 2 else None


def write_coco_images(results: Path, truth: GroundTruth, skipped: set[int]) -> None:
    """Beside results with the ids of `truth`; without the images that were not looked at."""
    looked_at = [row for row in truth.images if row.id not in skipped]
    images = [{"id": truth.image_ids.original(row.id), "file_name": row.file_name} for row in looked_at]
    categories = [{"id": truth.category_ids.original(row.id), "name": row.name} for row in truth.categories]
    meaning = {"images": images, "categories": categories, RESULTS_SHA256: sha256_of(results)}
    save_json(results.parent / IMAGES_FILE, meaning)
