"""Folders of Pascal VOC: one xml per image (`voc_xml`), in Annotations/ or in the folder itself, at any depth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from glip_cli.data.image_files_below import images_below
from glip_cli.data.issues import DataIssue, Tally
from glip_cli.data.reading import read_text
from glip_cli.data.tables import Tables
from glip_cli.data.voc_xml import VocFile, read_voc_xml
from glip_cli.errors import UsageError

_FOLDER = "Annotations"
_LISTS = {"train": ("train", "trainval")}
_IMAGES = ("JPEGImages", "images")


def is_voc(path: Path) -> bool:
    """Whether a folder holds xml files where VOC has them."""
    return bool(_files(path))


def _files(path: Path) -> list[Path]:
    below = path / _FOLDER
    files = (below.rglob("*") if below.is_dir() else ()), (path.iterdir() if path.is_dir() else ())
    found = (sorted(filter(_is_xml, one), key=lambda file: file.parts) for one in files)
    return next(filter(None, found), [])


def _is_xml(file: Path) -> bool:
    return file.suffix.lower() == ".xml" and not file.name.startswith(".")


def read_voc(path: Path, images: Path | None, split: str, tally: Tally) -> Tables:
    """The rows of the xml files that ImageSets/Main lists for the split, or of all where it has no such list.

    Classes are in alphabetical order, or as labels.txt lists them.

    Raises:
        UsageError: the list has none of the files, or none can be read; says why not the first.
    """
    files, listed = _files(path), _list_of(path, split)
    chosen = _listed(files, listed, tally) if listed else files
    if not chosen:
        raise UsageError(f"{path}: ImageSets/Main lists none of the xml files for '{split}'; correct the list")
    read = _read(chosen, tally)
    places = _Places(images or _image_folder(path), read)
    named = [places.of(one) for one in read]
    if images is None and len(chosen) == len(files):
        places.count_unused({file for _, file in named if file}, tally)
    numbers = {name: i for i, name in enumerate(_names(path, read), 1)}
    pairs = enumerate(zip(read, named, strict=True), 1)
    rows = [{"id": i, "file_name": name, **one.size} for i, (one, (name, _)) in pairs]
    return Tables(
        path.name,
        places.folder,
        rows,
        [row for i, one in enumerate(read, 1) for row in _annotations(one, i, numbers)],
        [{"id": number, "name": name} for name, number in numbers.items()],
        is_part=listed is not None,
        paths={i: file for i, (_, file) in enumerate(named, 1) if file},
    )


def _list_of(path: Path, split: str) -> Path | None:
    lists = (path / "ImageSets" / "Main" / f"{name}.txt" for name in _LISTS.get(split, (split,)))
    return next((file for file in lists if file.is_file()), None)


def _listed(files: Sequence[Path], listed: Path, tally: Tally) -> Sequence[Path]:
    stems = {line.split()[0] for line in read_text(listed).splitlines() if line.strip()}
    for file in files:
        if file.stem not in stems:
            tally.add(DataIssue.IMAGE_OTHER, f"{file}: not in {listed}")
    return [file for file in files if file.stem in stems]


def _read(files: Sequence[Path], tally: Tally) -> list[VocFile]:
    read, unread = [], []
    for file in files:
        try:
            read.append(read_voc_xml(file, tally))
        except UsageError as error:
            unread.append(str(error))
            tally.add(DataIssue.FILE_UNREADABLE, unread[0])
    if not read:
        raise UsageError(unread[0])
    return read


def _names(path: Path, read: Sequence[VocFile]) -> list[str]:
    used = {thing.name for one in read for thing in one.objects}
    listed = path / "labels.txt"
    given = [line.strip() for line in read_text(listed).splitlines() if line.strip()] if listed.is_file() else []
    return [*dict.fromkeys(given), *sorted(used - set(given))]


def _annotations(one: VocFile, image_id: int, numbers: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": numbers[name], "bbox": bbox, "iscrowd": int(is_difficult)}
        for name, bbox, is_difficult in one.objects
    ]


def _image_folder(path: Path) -> Path:
    folders = (root / name for root in (path, path.parent) for name in _IMAGES)
    return next((folder for folder in folders if folder.is_dir()), path)


class _Places:
    """The image of each xml: of the name that the xml gives; else of that stem; else of the xml's own stem.

    A name that several xml files of a folder give, as copies do, says nothing.
    """

    def __init__(self, folder: Path, read: Sequence[VocFile]) -> None:
        self.folder = folder
        self._names: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for path in images_below(folder):
            self._names.setdefault(path.name, []).append(path)
            self._stems.setdefault(path.stem, []).append(path)
        self._given = Counter((one.file.parent, one.image) for one in read)

    def of(self, one: VocFile) -> tuple[str, Path | None]:
        """Its name, and its file if there is one."""
        own = one.file.stem
        stated = one.image if self._given[one.file.parent, one.image] == 1 else ""
        by_stem = self._stems.get(stated) or self._stems.get(PurePosixPath(stated).stem) or self._stems.get(own)
        file = self._nearest(self._names.get(stated) or by_stem or [], one.file)
        return (file.relative_to(self.folder).as_posix(), file) if file else (stated or own, None)

    def _nearest(self, files: Sequence[Path], xml: Path) -> Path | None:
        """Of several the one in the folder that the xml's is called as; None where that does not decide."""
        if len(files) < 2:
            return files[0] if files else None
        inner = xml.parent.parts[xml.parent.parts.index(_FOLDER) + 1 :] if _FOLDER in xml.parent.parts else ()
        alike = [file for file in files if file.parent.relative_to(self.folder).parts == inner]
        return alike[0] if len(alike) == 1 else None

    def count_unused(self, used: set[Path], tally: Tally) -> None:
        for path in chain.from_iterable(self._stems.values()):
            if path not in used:
                tally.add(DataIssue.IMAGE_UNLISTED, str(path))
