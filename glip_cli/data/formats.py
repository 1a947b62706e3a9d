"""A file or folder of boxes, of any kind -> `Dataset`.

x.json                                         COCO, or grounding data (MDETR's format)     `coco`
x.json, folder of json with shapes             labelme                                      `labelme`
data.yaml, obj.data, obj.names, classes.txt    YOLO; or a folder that holds one             `yolo`
folder with Annotations/*.xml, or with xml     Pascal VOC                                   `voc`
metadata.jsonl, or a folder with that file     Hugging Face's imagefolder                   `tables`
x.csv with filename, class, xmin, ...          TensorFlow's csv                             `tables`
folder with one json or csv of boxes           as that file
folder with annotations/*.json                 as the one of the split that is asked for
folder with train/, valid/, test/              the same
folder with one folder                         as that folder
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from glip_cli.data.coco import read_coco
from glip_cli.data.dataset import SPLIT_FOLDERS, Category, Dataset, check_categories
from glip_cli.data.image_files import check_folder
from glip_cli.data.image_files_below import IMAGE_SUFFIXES, images_below
from glip_cli.data.issues import Issues
from glip_cli.data.labelme import are_labelme, is_labelme, json_files_below, read_labelme
from glip_cli.data.per_image import subfolder
from glip_cli.data.tables import METADATA, read_imagefolder, read_tensorflow_csv
from glip_cli.data.values import read_json, shown
from glip_cli.data.voc import read_voc, xml_files, xml_files_below
from glip_cli.data.yolo import read_yolo
from glip_cli.data.yolo_description import class_list, data_yaml, has_labels
from glip_cli.errors import DataError

_FILES, _ANNOTATIONS = (".json", ".csv"), "annotations"
_TRIED = (
    "neither data.yaml, obj.names or classes.txt (YOLO) nor xml files (VOC) nor json (COCO, labelme) "
    "nor metadata.jsonl (imagefolder) nor a csv of boxes"
)
_OTHERS = {
    (".xml",): "one file of several, as Pascal VOC has them; give the folder of the xml files",
    (".txt",): "labels or a list of images, as YOLO has them; give the folder, or its data.yaml or obj.data",
    (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"): "an archive; unpack it and give the folder",
    (".parquet", ".arrow", ".tfrecord", ".record"): "a format of boxes that is not read; export it as COCO or YOLO",
    tuple(IMAGE_SUFFIXES): "an image; give the annotations, or the folder that holds them",
}
"""Endings of files that are no data set by themselves, and the way out."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection of cycles while millions of objects are made that all stay: it takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@collector_paused()
def read_dataset(
    path: Path, images: Path | None = None, split: str = "train", names: Mapping[int, str] | None = None
) -> Dataset:
    """A data set of any kind; see above.

    Args:
        images: the folder of the images; by default where such a set has them, or beside the file.
        split: "train", "val" or "test", of a set that has several.
        names: category id -> the name to take instead of the file's.

    Raises:
        DataError: it is none; says what it is instead, and what to give.
    """
    if images:
        check_folder(images)
    dataset = _read(path, images, split, Issues())
    used = {row["category_id"] for row in dataset.annotations}
    renamed = _renamed(dataset.categories, names or {}, path)
    return replace(dataset, categories=check_categories(renamed, used, dataset.issues))


def _renamed(categories: tuple[Category, ...], names: Mapping[int, str], path: Path) -> Iterator[Category]:
    for number in names.keys() - {category.id for category in categories}:
        raise DataError(f"{path}: has no category {number}, for which the name {shown(names[number])} was given")
    return (replace(one, name=names[one.id]) if one.id in names else one for one in categories)


def _read(path: Path, images: Path | None, split: str, issues: Issues) -> Dataset:
    if (described := data_yaml(path)) is not None:
        return read_yolo(described, images, split, issues)
    if path.is_dir():
        return _read_folder(path, images, split, issues)
    if (classes := class_list(path)) is not None:
        return read_yolo(classes, images, split, issues)
    return _read_file(path, images, split, issues)


def _read_folder(path: Path, images: Path | None, split: str, issues: Issues) -> Dataset:
    """Annotations in the folder itself come before those in its subfolders."""
    if files := xml_files(path):
        return read_voc(path, files, images, split, issues)
    if (classes := class_list(path)) is not None:
        return read_yolo(classes, images, split, issues)
    if (path / METADATA).is_file():
        return read_imagefolder(path / METADATA, images, split, issues)
    files = _annotation_files(path)
    if len(files) == 1:
        return _read_file(files[0], images, split, issues, is_whole=False)
    if are_labelme([file for file in files if file.suffix.lower() == ".json"]):
        return read_labelme(path, json_files_below(path), images, issues)
    if coco := _coco_of_split(path, split):
        return replace(_read_file(coco, images, split, issues), is_part=split in coco.stem)
    if part := subfolder(path, *_names_of(split)):
        return replace(_read(part, images, split, issues), is_part=True)
    return _read_below(path, images, split, issues)


def _read_below(path: Path, images: Path | None, split: str, issues: Issues) -> Dataset:
    """For a folder without annotations of its own: its only subfolder, or all xml or json files below it."""
    if not _annotation_files(path) and not subfolder(path, *_ALL_SPLITS):
        folders = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith((".", "__")))
        sets = [one for one in folders if _is_set(one)] or (folders if len(folders) == 1 else [])
        if len(sets) == 1 and not has_labels(path):
            return _read(sets[0], images, split, issues)
        if len(sets) > 1:
            raise DataError(f"{path}: holds several data sets ({', '.join(one.name for one in sets[:3])}); give one")
        if files := xml_files_below(path):
            return read_voc(path, files, images, split, issues)
        if are_labelme(files := json_files_below(path)):
            return read_labelme(path, files, images, issues)
    raise DataError(f"{path}: {_what_is_in(path, split)}")


def _is_set(folder: Path) -> bool:
    """Whether a folder is described as a whole set."""
    described = data_yaml(folder) or class_list(folder) or subfolder(folder, _ANNOTATIONS)
    return bool(described) or (folder / METADATA).is_file()


_ALL_SPLITS = tuple(name for names in SPLIT_FOLDERS.values() for name in names)


def _names_of(split: str) -> tuple[str, ...]:
    return SPLIT_FOLDERS.get(split, (split,))


def _coco_of_split(path: Path, split: str) -> Path | None:
    """annotations/instances_val2017.json and the like: the only json there, or the only one named as the split."""
    folder = subfolder(path, _ANNOTATIONS)
    files = _annotation_files(folder) if folder else []
    by_split = [file for file in files if any(name in file.stem.lower() for name in _names_of(split))]
    boxes = [file for file in by_split if file.stem.lower().startswith("instances")] or by_split
    candidates = files if len(files) == 1 else boxes
    return candidates[0] if len(candidates) == 1 else None


def _read_file(path: Path, images: Path | None, split: str, issues: Issues, *, is_whole: bool = True) -> Dataset:
    """`is_whole`: no more than this file was asked for; else it stands for its folder, of which labelme has more."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return read_tensorflow_csv(path, images, issues)
    if suffix == ".jsonl":
        return read_imagefolder(path, images, split, issues)
    for suffixes, what in _OTHERS.items():
        if suffix in suffixes and path.is_file():
            raise DataError(f"{path}: {what}")
    content = read_json(path)
    if is_labelme(content):
        files = [path] if is_whole else json_files_below(path.parent)
        return read_labelme(path.parent, files, images, issues)
    return read_coco(path, content, images or _images_of_coco(path), issues)


def _images_of_coco(path: Path) -> Path:
    """The folder of images: that of the file; for one in annotations/, images/ beside it, or the split's folder there.

    Names of images that folders of several splits have are found only in that of the split.
    """
    if path.absolute().parent.name.lower() != _ANNOTATIONS:
        return path.parent
    root = path.absolute().parent.parent
    whole = subfolder(root, "images") or root
    named = (part for names in SPLIT_FOLDERS.values() for part in names if part in path.stem.lower())
    return next((folder for name in named if (folder := subfolder(whole, name))), whole)


def _annotation_files(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in _FILES and file.is_file())
    return sorted(file for file in files if not file.name.startswith("."))  # macOS leaves ._a.json beside a.json


def _what_is_in(path: Path, split: str) -> str:
    files = [file.name for file in _annotation_files(path)]
    if files:
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        return f"holds {', '.join(files[:3])}{more}; give the one that has the boxes"
    if has_labels(path):
        return "holds labels of YOLO without the names of their classes; write them in classes.txt, one per line"
    folders = [name for name in _ALL_SPLITS if (path / name).is_dir()]
    if folders:
        return f"holds {', '.join(folders)}, but nothing for '{split}'; give the folder or file that is meant"
    if next(images_below(path), None):
        return f"holds images, but {_TRIED}; give a data set"
    return f"holds {_TRIED}; give a data set"
