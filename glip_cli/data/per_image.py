"""Sets with an annotation file for each image, as Pascal VOC and labelme have them -> `Dataset`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from glip_cli.data.dataset import Annotation, Category, Dataset, ImageRow, new_annotation
from glip_cli.data.image_files_below import images_below
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import read_lines
from glip_cli.errors import DataError
from glip_cli.outputs.files import FileNames
from glip_cli.utils.text_format import shown_path, spellings

_IMAGES = ("JPEGImages", "images")
_LABELMAP = "labelmap.txt"
_LISTS = ("labels.txt", _LABELMAP)
_IGNORED = ("__ignore__", "_background_")  # in labelme's list, whatever the classes are


class NamedBox(NamedTuple):
    """`bbox` is [x, y, width, height] in pixels."""

    name: str
    bbox: list[float]
    is_difficult: bool


@dataclass(frozen=True)
class AnnotationFile:
    """The annotations of one image.

    Attributes:
        image: the path of the image as the file gives it; its folders may be those of another computer.
        size: (width, height) of the image as the file states it; (None, None) where it states none, or 0 x 0.
    """

    file: Path
    image: str
    size: tuple[int, int] | tuple[None, None]
    objects: tuple[NamedBox, ...]


def subfolder(path: Path, *names: str) -> Path | None:
    """The first that there is of some folders in a folder, whatever the case of their letters."""
    folders = {one.name.lower(): one for one in path.iterdir() if one.is_dir()} if path.is_dir() else {}
    return next((folders[name.lower()] for name in names if name.lower() in folders), None)


def visible_files(files: Iterable[Path], folder: Path, suffix: str) -> list[Path]:
    """The files with a suffix (in lower case) that are not hidden, nor in a hidden folder; sorted."""
    found = (file for file in files if file.suffix.lower() == suffix)
    visible = (file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts))
    return sorted(visible, key=lambda file: file.parts)


def base_names(stated: str) -> list[str]:
    """The file name at the end of a path as an annotation file has it, for each way to read its backslashes.

    The likeliest comes first; see `spellings`.
    """
    return [path.rstrip("/").rpartition("/")[2] for path in spellings(stated)]


def dataset_of(
    path: Path,
    files: Sequence[Path],
    read_file: Callable[[Path, Issues], AnnotationFile],
    images: Path | None,
    annotations: Path,
    issues: Issues,
    *,
    are_all: bool = True,
    is_part: bool = False,
) -> Dataset:
    """The set in a folder. Classes are in alphabetical order, or as labels.txt or CVAT's labelmap.txt lists them.

    Args:
        files: those that cannot be read are issues.
        images: the folder of the images; else JPEGImages/ or images/, in `path` or beside it, or `path`.
        annotations: the folder that the files lie in.
        are_all: `files` are all annotation files of the folder, and not those of a split; then an image that none of
            them is about is an issue, if the folder of the images was not given.
        is_part: `files` are those of the split that was asked for; as in `Dataset`.

    Raises DataError where no file can be read; says why not the first.
    """
    read = []
    for file_path in files:
        try:
            read.append(read_file(file_path, issues))
        except DataError as error:
            issues.add(DataIssue.FILE_UNREADABLE, str(error))
    if not read:
        raise DataError(issues.example(DataIssue.FILE_UNREADABLE))
    folder = images or subfolder(path, *_IMAGES) or subfolder(path.absolute().parent, *_IMAGES) or path
    image_finder = _ImageFinder(folder, annotations, read)
    named = [image_finder.of(file) for file in read]
    if images is None and are_all:
        image_finder.count_unused({file for _, file in named if file}, issues)
    numbers = {name: i for i, name in enumerate(_names(path, read), 1)}
    return Dataset(
        path.name,
        tuple(ImageRow(i, name, *file.size) for i, (file, (name, _)) in enumerate(zip(read, named, strict=True), 1)),
        tuple(Category(number, name) for name, number in numbers.items()),
        tuple(_annotations(read, numbers, issues)),
        image_finder.folder,
        issues,
        paths={i: file for i, (_, file) in enumerate(named, 1) if file},
        is_part=is_part,
    )


def _names(path: Path, read: Iterable[AnnotationFile]) -> list[str]:
    used = {thing.name for one in read for thing in one.objects}
    listed = next((file for name in _LISTS if (file := path / name).is_file()), None)
    lines = [line.strip() for line in read_lines(listed) if line.strip()] if listed else []
    if listed and listed.name == _LABELMAP:  # name:colour:parts:actions
        lines = [line.partition(":")[0] for line in lines if line[0] != "#" and not line.startswith("background:")]
    given = [line for line in lines if line not in _IGNORED]
    return [*dict.fromkeys(given), *sorted(used - set(given))]


def _annotations(read: Sequence[AnnotationFile], numbers: Mapping[str, int], issues: Issues) -> Iterator[Annotation]:
    count = 0
    for image_id, file in enumerate(read, 1):
        for name, bbox, is_difficult in file.objects:
            try:
                yield new_annotation(count + 1, image_id, numbers[name], bbox, is_difficult)
                count += 1
            except DataError as error:
                issues.add(DataIssue.BOX_FORM, f"{file.file}: {error}")


class _ImageFinder:
    """The image of each file: of the name that the file gives; else of that stem; else of the file's own stem.

    A name that several files of a folder give, as copies do, says nothing.
    """

    def __init__(self, folder: Path, annotations: Path, read: Sequence[AnnotationFile]) -> None:
        self.folder, self._annotations = folder, annotations
        self._names: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for path in images_below(folder):
            self._names.setdefault(path.name, []).append(path)
            self._stems.setdefault(path.stem, []).append(path)
        self._given = Counter((file.file.parent, self._stated(file)) for file in read)

    def of(self, annotation_file: AnnotationFile) -> tuple[str, Path | None]:
        """The name of its image, and the image's file if there is one."""
        own_stem = annotation_file.file.stem
        stated = self._stated(annotation_file)
        if self._given[annotation_file.file.parent, stated] > 1:
            stated = ""
        by_stem = self._stems.get(stated) or self._stems.get(PurePosixPath(stated).stem) or self._stems.get(own_stem)
        candidates = self._names.get(stated) or by_stem or []
        if file := self._nearest(candidates, annotation_file.file):
            return self._path(file), file
        # none of several: with the folders, or the name alone would lead to the one at the top
        folders = self._inner(annotation_file.file) if candidates else ()
        return "/".join([*folders, stated or own_stem]), None

    def _stated(self, annotation_file: AnnotationFile) -> str:
        """The name that the file gives its image, without folders."""
        names = base_names(annotation_file.image)
        return next((name for name in names if name in self._names), names[-1])

    def _path(self, file: Path) -> str:
        """Below the folder of the images, as records have it."""
        return shown_path(file.relative_to(self.folder).as_posix())

    def _nearest(self, files: Sequence[Path], annotation: Path) -> Path | None:
        """Of several image files the one in a folder named as the annotation's; None where that is ambiguous."""
        if len(files) < 2:
            return files[0] if files else None
        inner = self._inner(annotation)
        same_folder = [
            file
            for file in files  # or as glip writes it, where a folder has a name that not every system takes
            if inner in (file.parent.relative_to(self.folder).parts, self._mirrored(file))
        ]
        return same_folder[0] if len(same_folder) == 1 else None

    def _inner(self, annotation: Path) -> tuple[str, ...]:
        return annotation.parent.relative_to(self._annotations).parts

    def _mirrored(self, file: Path) -> tuple[str, ...]:
        """The folders of the file that glip writes for an image."""
        return tuple(FileNames().of(self._path(file)).split("/")[:-1])

    def count_unused(self, used: set[Path], issues: Issues) -> None:
        """Add an issue for each image that is not in `used`, the images that an annotation file was found for."""
        for path in chain.from_iterable(self._stems.values()):
            if path not in used:
                issues.add(DataIssue.IMAGE_UNLISTED, str(path))
