"""Folders of labelme: one json per image, with `shapes` -> `Dataset`. X-AnyLabeling and AnyLabeling write the same.

    rectangle, polygon, rotation, oriented_rectangle, line, linestrip, points      the box around the points
    circle         the box around it; its points are the centre and one of the edge
    mask           the box from its first pixel to its last
    point          no box

Shapes of one label with the same `group_id` are parts of one object, as labelme's own labelme2coco.py takes them.
The image that a json may hold itself (`imageData`) is not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from glip_cli.data.dataset import Dataset
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.per_image import AnnotationFile, NamedBox, dataset_of, visible_files
from glip_cli.data.values import as_number, read_json, shown, stated_size
from glip_cli.errors import DataError
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import counted

_AROUND = ("rectangle", "polygon", "rotation", "oriented_rectangle", "line", "linestrip", "points", "mask")
_SAMPLED = 3  # files of a folder that are looked at
_LARGEST = 50_000_000  # bytes of one of them, which may hold its image; annotations of COCO are larger


def is_labelme(content: object) -> TypeGuard[JsonObject]:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def json_files_below(folder: Path) -> list[Path]:
    """At any depth; sorted."""
    return visible_files(folder.rglob("*"), folder, ".json")


def are_labelme(files: Sequence[Path]) -> bool:
    """Whether labelme wrote some of the first."""
    return any(_wrote(file) for file in files[:_SAMPLED])


def _wrote(file: Path) -> bool:
    try:
        return file.stat().st_size < _LARGEST and is_labelme(read_json(file))
    except DataError:
        return False


def read_labelme(path: Path, files: Sequence[Path], images: Path | None, issues: Issues) -> Dataset:
    """Raises DataError where none of the files can be read; says why not the first."""
    return dataset_of(path, files, read_labelme_json, images, path, issues, are_all=len(files) > 1)


def read_labelme_json(file: Path, issues: Issues) -> AnnotationFile:
    """Shapes that have no box are counted. Raises DataError where it is no json of labelme."""
    content = read_json(file)
    if not is_labelme(content):
        raise DataError(f"{file}: has no list 'shapes', as labelme writes; move it to another folder")
    image = content.get("imagePath")
    size = stated_size(*(str(content.get(side) or "") for side in ("imageWidth", "imageHeight")))
    return AnnotationFile(
        file, image if isinstance(image, str) else "", size, tuple(_objects(content["shapes"], file, issues))
    )


def _objects(shapes: Sequence[object], file: Path, issues: Issues) -> Iterator[NamedBox]:
    groups: dict[tuple[str, object], list[NamedBox]] = {}
    for i, shape in enumerate(shapes):
        try:
            box, group = _box(shape)
        except DataError as error:
            issues.add(DataIssue.BOX_FORM, f"{file}: shapes[{i}]{error}")
            continue
        alone = group is None or not isinstance(group, int | str)
        groups.setdefault((box.name, (i,) if alone else group), []).append(box)
    return map(_joined, groups.values())


def _box(shape: object) -> tuple[NamedBox, object]:
    """The box of a shape, and its group. Raises DataError."""
    if not isinstance(shape, Mapping):
        raise DataError(f" is {shown(shape)}, not an object")
    kind, label = shape.get("shape_type", "polygon"), shape.get("label")
    points = _points(shape.get("points"))
    if kind == "circle" and len(points) == 2:
        (x, y), radius = points[0], math.dist(*points)
        points = [(x - radius, y - radius), (x + radius, y + radius)]
    elif kind not in _AROUND or len(points) < 2:
        raise DataError(f" is a {shown(kind)} of {counted(len(points), 'point')}, which has no box")
    xs, ys = zip(*points, strict=True)
    last = 1 if kind == "mask" else 0
    bbox = [min(xs), min(ys), max(xs) - min(xs) + last, max(ys) - min(ys) + last]
    name = "" if label is None else str(label).strip()
    return NamedBox(name, bbox, shape.get("difficult") is True), shape.get("group_id")


def _points(value: object) -> list[tuple[float, float]]:
    """Raises DataError."""
    if not isinstance(value, list) or not all(isinstance(point, list) and len(point) == 2 for point in value):
        raise DataError(f".points is {shown(value)}; it must be [[x, y], ...]")
    return [(as_number(x, ".points"), as_number(y, ".points")) for x, y in value]


def _joined(parts: Sequence[NamedBox]) -> NamedBox:
    """The box around the parts of one object."""
    if len(parts) == 1:
        return parts[0]
    x1, y1 = (min(part.bbox[i] for part in parts) for i in (0, 1))
    x2, y2 = (max(part.bbox[i] + part.bbox[i + 2] for part in parts) for i in (0, 1))
    return NamedBox(parts[0].name, [x1, y1, x2 - x1, y2 - y1], all(part.is_difficult for part in parts))
