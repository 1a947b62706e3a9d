"""Folders of YOLO labels -> `Dataset`: images, and for each a .txt of lines.

What describes the set is read by `yolo_description`, the lines by `yolo_lines`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from glip_cli.data.dataset import Category, Dataset, ImageRow
from glip_cli.data.image_files import inside
from glip_cli.data.image_files_below import has_image_suffix, images_below
from glip_cli.data.image_headers import whole_sizes
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import read_lines, shown
from glip_cli.data.yolo_description import YoloDescription, candidate_paths, read_description
from glip_cli.data.yolo_lines import annotations_of, read_label_file
from glip_cli.errors import DataError, UsageError
from glip_cli.outputs.yolo import IMAGES, lists_images, yolo_images
from glip_cli.utils.text_format import shown_path


def read_yolo(file: Path, images: Path | None, split: str, issues: Issues) -> Dataset:
    """The boxes of one split.

    Images are where the file that describes the set says, or else in `images`; where it names no split at all, in
    images/ or beside it. Labels are in the folder whose path has "labels" for the last "images", beside the image,
    where a list of images says, or in labels/ of the set. An image without a .txt has no box.

    Raises:
        DataError: the file names no class or no images, or a form of lines that is none; names the place.
    """
    described = read_description(file, issues)
    listed = _image_files(described, images, split, issues)
    files = {i: image for i, (image, _) in enumerate(listed, 1)}
    lines = [line for i, (_, labels) in enumerate(listed, 1) for line in read_label_file(i, labels, issues)]
    labelled = {line.image_id for line in lines}
    sizes = whole_sizes(files[i] for i in labelled)
    root = f"{described.folder.as_posix()}/"
    placed = {i: sizes[files[i]] for i in labelled}
    return Dataset(
        described.folder.name,
        tuple(ImageRow(i, shown_path(image.as_posix().removeprefix(root))) for i, image in files.items()),
        tuple(Category(number, name) for number, name in described.names),
        tuple(annotations_of(lines, described.form, placed, dict(described.names).keys(), issues)),
        described.folder,
        issues,
        paths={i: image for i, image in files.items() if image.is_file()},
        sizes=sizes,
        is_part=split in described.splits,
    )


# ------------------------------------------------------------------------------------------------------------- images


_Listed = tuple[Path, Path]
"""An image, and where the set says that it is: its labels may lie there while the image lies elsewhere."""
_Pair = tuple[Path, Path | None]
"""An image and its labels, where it has some."""


def _image_files(described: YoloDescription, image_folder: Path | None, split: str, issues: Issues) -> list[_Pair]:
    """The images of a split, sorted; a split that the set lacks is not filled from the others."""
    folder = described.folder
    split_paths = described.splits.get(split, ())
    roots = [folder / candidate_paths(described.base)[0], folder, *([image_folder.absolute()] if image_folder else [])]
    stated_paths = dict(pair for place in split_paths for pair in _listed(place, roots, image_folder))
    if not stated_paths and (image_folder if split_paths else not described.splits):
        folders = [image_folder] if image_folder else [folder / "images", folder]
        stated_paths = dict(_below(next((candidate for candidate in folders if candidate.is_dir()), folder)))
    if not stated_paths:
        raise DataError(f"{described.file}: {_why_none(described, split)}")
    image_folders = [folder / "images", *([image_folder.absolute()] if image_folder else [])]
    labels = _Labels(folder, image_folders, _names_by_image(folder))
    files = [
        (image, labels.of(image, stated_paths[image])) for image in sorted(stated_paths, key=lambda path: path.parts)
    ]
    labels.count_unused({text for _, text in files if text}, issues)
    return files


def _why_none(described: YoloDescription, split: str) -> str:
    if paths := described.splits.get(split):
        return f"no image for '{split}' ({shown(', '.join(paths))}); correct it or give the images"
    if described.splits:
        return f"no image for '{split}': it names {', '.join(described.splits)} alone; correct it or give another split"
    return "no image in images/ or beside it; give the folder of the images"


def _listed(written: str, roots: Sequence[Path], image_folder: Path | None) -> Iterable[_Listed]:
    """Images of a folder, or of a .txt with one per line."""
    target = next((path for root in roots for name in candidate_paths(written) if (path := root / name).exists()), None)
    if target is None or not target.is_file():
        return _below(target) if target else []
    if has_image_suffix(str(target)):
        return [(_normal(target), _normal(target))]
    lines = filter(None, map(str.strip, read_lines(target)))
    return [_placed([target.parent, *roots], line, image_folder) for line in lines]


def _placed(roots: Sequence[Path], line: str, image_folder: Path | None) -> _Listed:
    """An image of a list: beside the list, where the set says, or by its name alone in the folder that was given."""
    names = candidate_paths(line)
    candidates = [_normal(root / name) for root in roots for name in names]
    stated = next((path for path in candidates if path.parent.is_dir()), candidates[0])
    by_name = [_normal(image_folder / Path(names[0]).name)] if image_folder else []
    return next((path for path in (*candidates, *by_name) if path.is_file()), candidates[0]), stated


def _below(folder: Path) -> list[_Listed]:
    return [(path, path) for path in images_below(_normal(folder))]


def _normal(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _names_by_image(folder: Path) -> dict[str, str]:
    """Of a set that glip wrote: path of an image below the folder of all, as in records -> the name of its labels.

    Without the images of several runs that have one path. Raises DataError.
    """
    try:
        rows = yolo_images(folder) if lists_images(folder / IMAGES) else []
    except UsageError:
        raise DataError(f"{folder / IMAGES}: its rows cannot be read; write the labels again") from None
    # a name has as many folders as its image below the folder of all, where backslashes count as slashes
    parts = (re.findall(r"[/\\]*[^/\\]+", image)[-1 - name.count("/") :] for name, image in rows)
    below = ["".join(one).lstrip("/") for one in parts]
    repeats = Counter(below)
    return {path: name for path, (name, _) in zip(below, rows, strict=True) if repeats[path] == 1}


class _Labels:
    """Finds the .txt of images, in folders that are each listed once."""

    def __init__(self, root: Path, images: Iterable[Path], names: Mapping[str, str]) -> None:
        """`names`: of labels, for paths of images; see `_names_by_image`."""
        self._root, self._images, self._names = root, [_normal(folder) for folder in images], names
        self._texts = cache(_texts)
        self._places = cache(lambda folder: [self._texts(place) for place in self._folders(folder)])

    def of(self, image: Path, stated: Path) -> Path | None:
        """`stated` is where the set says that the image is.

        An image in images/ of the set is called as its labels are, one elsewhere as yolo_images.csv of glip says,
        where there is one. Where images differ in their suffix alone, glip keeps it: x.txt and x.png.txt.
        """
        of_same_name, of_glip = self._of_same_name(image, stated), self._of_glip(image)
        is_in_set = image.is_relative_to(self._images[0])
        return (of_same_name or of_glip) if is_in_set else (of_glip or of_same_name)

    def _of_glip(self, image: Path) -> Path | None:
        """As yolo_images.csv says."""
        for folder in self._images if self._names else ():
            if image.is_relative_to(folder):
                name = self._names.get(shown_path(image.relative_to(folder).as_posix()))
                file = inside(self._root / "labels", name) if name else None
                if file and (found := self._texts(file.parent).get(file.name)):
                    return found
        return None

    def _of_same_name(self, image: Path, stated: Path) -> Path | None:
        folders = dict.fromkeys((image.parent, stated.parent))
        label_files = [texts for folder in folders for texts in self._places(folder)]
        found = (texts.get(name) for name in (image.name, image.stem) for texts in label_files)
        return next(filter(None, found), None)

    def _folders(self, images: Path) -> Iterator[Path]:
        """The folders that may hold the labels of a folder of images."""
        yield images
        parts = list(images.parts)
        if "images" in parts:
            parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
            yield Path(*parts)
        for folder in self._images:
            if images.is_relative_to(folder):
                yield self._root / "labels" / images.relative_to(folder)
                yield self._root / images.relative_to(folder)

    def count_unused(self, used: set[Path], issues: Issues) -> None:
        """Add an issue for each .txt that is not in `used`, the labels of the images, where it must be of an image.

        That is in folders below one called labels; another may hold texts of other kinds.
        """
        for folder in sorted({path.parent for path in used if "labels" in path.parent.parts}):
            for path in self._texts(folder).values():
                if path not in used and path.stem.lower() not in ("classes", "predefined_classes"):
                    issues.add(DataIssue.IMAGE_MISSING, f"{path} has no image")


def _texts(folder: Path) -> dict[str, Path]:
    """Stem -> .txt, whatever the case of the suffix."""
    try:
        names = [os.path.splitext(name) for name in sorted(os.listdir(folder))]
    except OSError:
        return {}
    return {stem: folder / f"{stem}{suffix}" for stem, suffix in names if suffix.lower() == ".txt"}
