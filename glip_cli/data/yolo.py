"""Folders of YOLO labels: data.yaml, images, and for each a .txt of lines.

A line is a class, then numbers in fractions of the upright image:

    cx cy w h                          a box
    cx cy w h  confidence [id]         what predictions and trackers leave
    cx cy w h  K keypoints             of 2 or 3 numbers each, where data.yaml has `kpt_shape`; perhaps confidence, id
    x1 y1 x2 y2 x3 y3 ...              a polygon, or the four corners of a turned box: the box around it

Two forms can have as many numbers. `kpt_shape` and `task` of data.yaml decide; without them all lines of the set
together, and where these do not, nothing is guessed: the lines are an issue.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from glip_cli.data.dataset import Annotation, Category, Dataset, ImageRow, Size, new_annotation
from glip_cli.data.image_files import whole_sizes
from glip_cli.data.image_files_below import has_image_suffix, images_below
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import read_text, shown
from glip_cli.errors import DataError

_FILES = ("data.yaml", "data.yml")
_SPLITS = ("train", "val", "test")
_NOTHING = ("", "~", "null", "Null", "NULL")
TASKS = ("detect", "segment", "pose", "obb")
_BOX = 4  # numbers: cx, cy, w, h
_EXTRAS = (0, 1, 2)  # nothing, a confidence, a confidence and an id
_TRIANGLE = 6
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every scalar stays the text it was typed as


def data_yaml(path: Path) -> Path | None:
    """The file that describes a YOLO set: `path` itself, or the one in it; None where it is no such set."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return path
    return next((path / name for name in _FILES if (path / name).is_file()), None)


def read_yolo(described: Path, images: Path | None, split: str, issues: Issues) -> Dataset:
    """The boxes of one split.

    Images are where data.yaml says, or else in `images`; where it names no split at all, in images/ or beside it.
    Labels are in the folder whose path has "labels" for the last "images", beside the image, or in labels/ beside
    data.yaml. An image without a .txt has no box.

    Raises:
        DataError: data.yaml names no class or no images, or a form of lines that is none; names the place.
    """
    described = described.absolute()
    content = _yaml(described)
    names = _names(content, described, issues)
    form = _form(content, described)
    listed = _image_files(content, described, images, split, issues)
    files = {i: image for i, (image, _) in enumerate(listed, 1)}
    lines = [line for i, (_, labels) in enumerate(listed, 1) for line in _lines(i, labels, issues)]
    labelled = {line.image_id for line in lines}
    sizes = whole_sizes(files[i] for i in labelled)
    root = f"{described.parent.as_posix()}/"
    return Dataset(
        described.parent.name,
        tuple(ImageRow(i, image.as_posix().removeprefix(root)) for i, image in files.items()),
        tuple(Category(number, name) for number, name in names),
        tuple(_annotations(lines, form, {i: sizes[files[i]] for i in labelled}, dict(names).keys(), issues)),
        described.parent,
        issues,
        paths={i: image for i, image in files.items() if image.is_file()},
        sizes=sizes,
        is_part=content.get(split, "") not in _NOTHING,
    )


# ---------------------------------------------------------------------------------------------------------- data.yaml


def _yaml(path: Path) -> dict[str, Any]:
    """Lists and maps of texts; a map with a key twice is a list of pairs."""
    try:
        node = yaml.compose(read_text(path), Loader=_Loader)
        content = _content(node) if node else None
    except yaml.YAMLError as error:
        raise DataError(f"{path}: no YAML ({' '.join(str(error).split())[:120]}); correct it") from None
    except RecursionError:
        raise DataError(f"{path}: no YAML (nested too deeply); correct it") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: names no classes; it describes a YOLO set by 'names' and 'train'")
    return content


def _content(node: yaml.Node, depth: int = 0) -> Any:
    """Three levels are all that data.yaml has; below them nothing is unfolded, for aliases can make it endless."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if depth == 3:
        return "..."
    if isinstance(node, yaml.SequenceNode):
        return [_content(item, depth + 1) for item in node.value]
    pairs = [(_content(key, 3), _content(value, depth + 1)) for key, value in node.value]
    return dict(pairs) if not depth or len({key for key, _ in pairs}) == len(pairs) else pairs


def _names(content: Mapping[str, Any], path: Path, issues: Issues) -> list[tuple[int, str]]:
    """(class number, name), from a list or a map; a number that comes twice comes twice."""
    names = content.get("names")
    pairs = _numbered(list(names.items()) if isinstance(names, dict) else names if isinstance(names, list) else [])
    if not pairs:
        raise DataError(f"{path}: 'names' is {shown(names)}; write the class names as a list, or as number: name")
    if (count := content.get("nc", "")) not in (*_NOTHING, str(len(pairs))):
        issues.add(DataIssue.CATEGORY_COUNT, f"{path}: nc is {shown(count)}, and there are {len(pairs)} names")
    return sorted(pairs)


def _numbered(names: Sequence[Any]) -> list[tuple[int, str]]:
    """Of names, or of pairs of a number and a name; nothing where some are neither."""
    if all(isinstance(name, str) for name in names):
        return list(enumerate(names))
    pairs = [(_whole(name[0]), name[1]) for name in names if isinstance(name, tuple | list) and len(name) == 2]
    good = [(number, name) for number, name in pairs if number is not None and isinstance(name, str)]
    return good if len(good) == len(names) else []


def _whole(text: object) -> int | None:
    """ "3" -> 3; None for what is no whole number from 0."""
    is_number = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10
    return int(text) if is_number else None  # type: ignore[call-overload]


def _form(content: Mapping[str, Any], path: Path) -> Form:
    task = content.get("task")
    shape = content.get("kpt_shape")
    if shape in (None, *_NOTHING):
        return Form(task if task in TASKS else None)
    numbers = [_whole(one) for one in shape] if isinstance(shape, list) else []
    if len(numbers) != 2 or not numbers[0] or numbers[1] not in (2, 3):
        raise DataError(f"{path}: kpt_shape is {shown(shape)[:60]}; write [keypoints, 2] or [keypoints, 3]")
    return Form("pose", numbers[0] * numbers[1])


# ------------------------------------------------------------------------------------------------------------- images


_Pair = tuple[Path, Path | None]
"""An image and its labels, where it has some."""


def _image_files(content: Mapping[str, Any], path: Path, given: Path | None, split: str, issues: Issues) -> list[_Pair]:
    """Those of a split, sorted; one that data.yaml leaves out is never filled from the others."""
    value = content.get(split)
    places = [str(one) for one in (value if isinstance(value, list) else [value]) if one not in (None, *_NOTHING)]
    base = str(content.get("path") or "")
    roots = [path.parent / _posix("" if base in _NOTHING else base), path.parent, *([given] if given else [])]
    found = [image for place in places for image in _listed(_posix(place), roots)]
    stated = any(content.get(key, "") not in _NOTHING for key in _SPLITS)
    if not found and (given if places else not stated):
        folders = [given] if given else [path.parent / "images", path.parent]
        found = _below(next((folder for folder in folders if folder.is_dir()), path.parent))
    if not found:
        raise DataError(f"{path}: no image for '{split}' ({shown(value)}); correct it or give the images")
    labels = _Labels(path.parent, [path.parent / "images", *([given.absolute()] if given else [])])
    files = [(image, labels.of(image)) for image in sorted(set(found), key=lambda path: path.parts)]
    labels.count_unused({text for _, text in files if text}, issues)
    return files


def _posix(place: str) -> str:
    return place.replace("\\", "/")


def _listed(place: str, roots: Sequence[Path]) -> list[Path]:
    """Images of a folder, or of a .txt with one per line; Roboflow writes `../train/images` for `train/images`."""
    candidates = [root / name for root in roots for name in (place, place.removeprefix("../"))]
    found = next((path for path in candidates if path.exists()), None)
    if found is None or not found.is_file():
        return _below(found) if found else []
    if has_image_suffix(str(found)):
        return [_normal(found)]
    lines = (_posix(line.strip()) for line in read_text(found).splitlines())
    return [_first_there([found.parent, *roots], line) for line in lines if line]


def _first_there(roots: Sequence[Path], line: str) -> Path:
    """An image of a list: beside the list, or else where data.yaml says."""
    return next((_normal(root / line) for root in roots if (root / line).is_file()), _normal(roots[0] / line))


def _below(folder: Path) -> list[Path]:
    return list(images_below(_normal(folder)))


def _normal(path: Path) -> Path:
    return Path(os.path.abspath(path))


class _Labels:
    """Finds the .txt of images, in folders that are each listed once."""

    def __init__(self, root: Path, images: Iterable[Path]) -> None:
        self._root, self._images = root, [_normal(folder) for folder in images]
        self._texts = cache(_texts)
        self._places = cache(lambda folder: [self._texts(place) for place in self._folders(folder)])

    def of(self, image: Path) -> Path | None:
        return next((found for texts in self._places(image.parent) if (found := texts.get(image.stem))), None)

    def _folders(self, images: Path) -> Iterator[Path]:
        """Where the labels of the images of a folder may lie."""
        yield images
        parts = list(images.parts)
        if "images" in parts:
            parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
            yield Path(*parts)
        for folder in self._images:
            if images.is_relative_to(folder):
                yield self._root / "labels" / images.relative_to(folder)

    def count_unused(self, used: set[Path], issues: Issues) -> None:
        """Labels of images that are not there, in folders that hold nothing but labels."""
        for folder in sorted({path.parent for path in used if "labels" in path.parent.parts}):
            for path in self._texts(folder).values():
                if path not in used and path.stem.lower() != "classes":
                    issues.add(DataIssue.IMAGE_MISSING, f"{path} has no image")


def _texts(folder: Path) -> dict[str, Path]:
    """Stem -> .txt, whatever the case of the suffix."""
    try:
        names = [os.path.splitext(name) for name in sorted(os.listdir(folder))]
    except OSError:
        return {}
    return {stem: folder / f"{stem}{suffix}" for stem, suffix in names if suffix.lower() == ".txt"}


# -------------------------------------------------------------------------------------------------------------- lines


@dataclass(frozen=True)
class Form:
    """What data.yaml says of a line: `keypoints` is how many numbers those of one box have."""

    task: str | None = None
    keypoints: int | None = None


class Line(NamedTuple):
    """`values` are the numbers after the class, all finite; `number` counts the lines of the file from 1."""

    image_id: int
    category: float
    values: list[float]
    file: Path
    number: int

    @property
    def where(self) -> str:
        return f"{self.file}, line {self.number}"


def _lines(image_id: int, file: Path | None, issues: Issues) -> Iterator[Line]:
    """Those of a class and four or more numbers; the others are counted."""
    if file is None:
        return
    try:
        rows = read_text(file).splitlines()
    except DataError as error:
        issues.add(DataIssue.LINE, str(error))
        return
    for number, row in enumerate(rows, 1):
        try:
            numbers = list(map(float, row.split(",") if "," in row else row.split()))
        except ValueError:
            numbers = []
        if len(numbers) > _BOX and all(map(math.isfinite, numbers)):
            yield Line(image_id, numbers[0], numbers[1:], file, number)
        elif row.strip():
            issues.add(DataIssue.LINE, f"{file}, line {number} is {shown(row.strip())}")


def _annotations(
    lines: Sequence[Line],
    form: Form,
    sizes: Mapping[int, Size | str],
    classes: Set[int],
    issues: Issues,
) -> Iterator[Annotation]:
    """The boxes of the lines, in pixels; what fits no form is counted."""
    read, count = _reader(lines, form, issues), 0
    for line in lines:
        corners = _from_center(line.values) if len(line.values) == _BOX else read(line.values)
        if corners is None:
            issues.add(DataIssue.LINE, f"{line.where} has {len(line.values) + 1} numbers")
        elif line.category not in classes:
            issues.add(DataIssue.BOX_CATEGORY, f"{line.where}: class {line.category:g}")
        elif isinstance(size := sizes[line.image_id], str):
            issues.add(DataIssue.BOX_UNPLACED, line.where)
        else:
            (x1, y1, x2, y2), (width, height) = corners, size
            bbox = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
            try:
                yield new_annotation(count + 1, line.image_id, int(line.category), bbox)
                count += 1
            except DataError as error:
                issues.add(DataIssue.BOX_FORM, f"{line.where}: {error}")


Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2, as fractions."""
Reader = Callable[[Sequence[float]], Corners | None]
"""The numbers after the class -> the box; None where they are none."""


def _reader(lines: Sequence[Line], form: Form, issues: Issues) -> Reader:
    if form.keypoints is not None:
        counts = {base + extra for base in (_BOX, _BOX + form.keypoints) for extra in _EXTRAS}
        return lambda values: _from_center(values) if len(values) in counts else None
    if form.task == "pose":
        return _from_center
    if form.task == "segment":
        return lambda values: _with_extras(values, ends=(0, 1), least=_TRIANGLE)
    if form.task == "obb":
        return lambda values: _around(values[:8]) if len(values) in (8, 9, 10) else _detected(values)
    if form.task == "detect":
        return lambda values: _detected(values) or _with_extras(values, ends=(0,), least=8)
    return _undeclared(lines, issues)


def _detected(values: Sequence[float]) -> Corners | None:
    return _from_center(values) if len(values) - _BOX in _EXTRAS else None


def _with_extras(values: Sequence[float], ends: Sequence[int], least: int) -> Corners | None:
    """A polygon, perhaps with a confidence; a box with one where it is too short for a polygon."""
    if len(values) < least:
        return _from_center(values[:_BOX]) if len(values) == _BOX + 1 else None
    odd = len(values) % 2
    return _around(values[: len(values) - odd]) if odd in ends else None


def _undeclared(lines: Sequence[Line], issues: Issues) -> Reader:
    """Where data.yaml does not say what a line is."""
    short = [line for line in lines if len(line.values) == _TRIANGLE]
    long = [line for line in lines if len(line.values) > _TRIANGLE]
    ids = _end_in_ids([*short, *long])
    if short and not long and not ids and all(line.values[-1].is_integer() for line in short):
        return _undecided(short, "a triangle, or a box with confidence and id", issues)
    if long and _fit_keypoints(long):
        return _undecided(long, "a polygon, or a box with keypoints", issues)

    def read(values: Sequence[float]) -> Corners | None:
        if len(values) == _BOX + 1:
            return _from_center(values)
        if len(values) == _TRIANGLE:
            return _from_center(values) if ids and not long else _around(values)
        return None if len(values) % 2 else _around(values[:-2] if ids else values)

    return read


def _undecided(lines: Sequence[Line], what: str, issues: Issues) -> Reader:
    for line in lines:
        issues.add(DataIssue.LINE_FORM, f"{line.where}: {what}")
    return _from_center  # not used: the issue stops the command


def _end_in_ids(lines: Sequence[Line]) -> bool:
    """Whether all end in a whole number that, in some, is no fraction."""
    ends = [line.values[-1] for line in lines]
    return all(end.is_integer() for end in ends) and any(end > 1 for end in ends)


def _fit_keypoints(lines: Sequence[Line]) -> bool:
    """Whether all have one length and, read as a box and points of 2 or 3 numbers, hold their points in their box."""
    if len({len(line.values) for line in lines}) > 1:
        return False
    rest = len(lines[0].values) - _BOX
    return any(
        rest % size == 0 and all(_holds_points(line.values, size) for line in lines) for size in (2, 3) if rest >= size
    )


def _holds_points(values: Sequence[float], size: int) -> bool:
    """Points at 0, 0 are keypoints that are not seen; a third number says whether one is: 0, 1 or 2."""
    x1, y1, x2, y2 = _from_center(values)
    slack = 1e-6
    for i in range(_BOX, len(values), size):
        x, y, *seen = values[i : i + size]
        inside = x1 - slack <= x <= x2 + slack and y1 - slack <= y <= y2 + slack
        if not (inside or x == y == 0) or any(value not in (0, 1, 2) for value in seen):
            return False
    return True


def _from_center(values: Sequence[float]) -> Corners:
    x, y, width, height = values[:_BOX]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _around(points: Sequence[float]) -> Corners:
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)
