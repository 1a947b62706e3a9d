"""Find the images of an annotation file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath

from glip_cli.data.dataset import Dataset, ImageRow, Size, url_parts
from glip_cli.data.image_headers import whole_sizes
from glip_cli.data.issues import DataIssue
from glip_cli.errors import DataError
from glip_cli.utils.text_format import shown_path, spellings


@dataclass(frozen=True)
class FoundImages:
    """Image id -> its file; and for each that has none, image id -> one line that names it and says why."""

    paths: dict[int, Path]
    missing: dict[int, str]


def find_images(dataset: Dataset, folder: Path | None = None) -> FoundImages:
    """The file of each image: folder/file_name; else as its coco_url ends; else by its base name below the folder.

    Files that the reader of the set knows need no search. A base name counts only where one file and one image have it;
    of several files, the one whose path ends as `file_name` does. Nothing is guessed beyond that, and no name leads out
    of the folder. Raises DataError where there is no such folder.
    """
    folder = folder or dataset.folder
    check_folder(folder)
    images, files = dataset.images, dataset.paths
    paths = {image.id: path for image in images if (path := files.get(image.id) or _direct(image, folder))}
    lost = [image for image in images if image.id not in paths]
    below = _files_below(folder) if lost else {}
    shared_names = Counter(PurePosixPath(image.file_name).name for image in images)
    missing: dict[int, str] = {}
    for image in lost:
        match = _matches(image, below, shared_names)
        if len(match) == 1:
            paths[image.id] = match[0]
        else:
            missing[image.id] = f"{image.file_name or f'image {image.id}'}: {_why_missing(match, image, folder)}"
    return FoundImages(paths, missing)


def settle_backslashes(images: Sequence[ImageRow], folder: Path) -> tuple[tuple[ImageRow, ...], dict[int, Path]]:
    """The rows with names as records have them, and image id -> file where a backslash is part of the name.

    Where there is no file of such a name, a backslash is a slash of Windows.
    """
    stated = {image.file_name for image in images}
    if not any("\\" in name for name in stated):  # all but a few sets
        return tuple(images), {}
    rows, paths, below = [], dict[int, Path](), cache(partial(_files_below, folder))
    shared_names = Counter(PurePosixPath(name).name for one in stated for name in spellings(one))
    for image in images:
        *literal, with_slashes = (replace(image, file_name=name) for name in spellings(image.file_name))
        direct = ((row, inside(folder, row.file_name)) for row in literal)
        found = next(((row, path) for row, path in direct if path and os.path.isfile(path)), None)
        if literal and not found and not _direct(with_slashes, folder):
            by_name = ((row, _matches(row, below(), shared_names)) for row in literal)
            found = next(((row, files[0]) for row, files in by_name if len(files) == 1), None)
        if found:
            paths[image.id] = found[1]
        rows.append(replace(image, file_name=shown_path(found[0].file_name)) if found else with_slashes)
    return tuple(rows), paths


def check_folder(images: Path) -> None:
    """Raises DataError where there is no such folder."""
    if not images.is_dir():
        raise DataError(f"{images}: no such folder; give the one that holds the images")


def open_images(dataset: Dataset) -> tuple[dict[int, Path], dict[int, Size]]:
    """Image id -> file and upright size, for those that are there and whole; the others are issues of the set.

    Raises DataError where there is no folder of images, UnavailableError where the disk of one does not answer.
    """
    by_name = find_images(dataset)
    files = {**dataset.sizes, **whole_sizes(path for path in by_name.paths.values() if path not in dataset.sizes)}
    paths, sizes = {}, {}
    for row in dataset.images:
        path = by_name.paths.get(row.id)
        if path is None:
            dataset.issues.add(DataIssue.IMAGE_MISSING, by_name.missing[row.id])
        elif isinstance(size := files[path], str):
            dataset.issues.add(DataIssue.IMAGE_UNREADABLE, size)
        else:
            paths[row.id], sizes[row.id] = path, size
    return paths, sizes


def inside(folder: Path, name: str) -> Path | None:
    """The place in a folder that an annotation file names; None where the name leads out of it.

    Absolute names and `..` may lead anywhere and are followed only where they stay inside. A link that lies in the
    folder is followed wherever it leads: whoever has the folder made it.
    """
    root = os.path.join(os.path.abspath(folder), "")
    path = os.path.normpath(os.path.join(root, name))
    return folder / path.removeprefix(root) if path.startswith(root) else None


def _direct(image: ImageRow, folder: Path) -> Path | None:
    url = url_parts(image.coco_url)
    names = [image.file_name, "/".join(url[-2:]), "/".join(url[-1:])]
    candidates = (path for name in names if name and (path := inside(folder, name)))
    # os.path's takes a name that no file can have for absent; Path's raises
    return next((path for path in candidates if os.path.isfile(path)), None)


def _files_below(folder: Path) -> dict[str, list[Path]]:
    """Name -> files, in links to folders too; each real folder once."""
    files: dict[str, list[Path]] = {}
    visited: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        info = os.stat(root)
        if (info.st_dev, info.st_ino) in visited:
            names = []
            folders.clear()
        visited.add((info.st_dev, info.st_ino))
        folders.sort()
        for name in names:
            files.setdefault(name, []).append(Path(root, name))
    return files


def _matches(image: ImageRow, below: Mapping[str, list[Path]], shared_names: Mapping[str, int]) -> list[Path]:
    name, parts = PurePosixPath(image.file_name).name, PurePosixPath(image.file_name).parts
    files = below.get(name, [])
    exact = [path for path in files if path.parts[-len(parts) :] == parts]
    if len(exact) == 1:
        return exact
    return files if shared_names[name] == 1 or len(files) != 1 else []


def _why_missing(match: Sequence[Path], image: ImageRow, folder: Path) -> str:
    if match:
        return f"{len(match)} files below {folder} have this name"
    if image.file_name and inside(folder, image.file_name) is None:
        return f"the name leads out of {folder}, and no file in it is called so"
    return f"no such file in {folder}"
