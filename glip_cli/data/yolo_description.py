"""The description of a YOLO set: its classes, the form of its lines, and the folders of its splits.

data.yaml      `names`, `train`, `val`, `test`, `path`, `kpt_shape`, `task`      ultralytics, Roboflow, CVAT
obj.data       `names = data/obj.names`, `train = data/train.txt`, `valid = ...`  darknet, CVAT's YOLO 1.1
obj.names      a class per line
classes.txt    the same, beside the labels or above them                         Label Studio, LabelImg
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import yaml

from glip_cli.data.dataset import SPLIT_FOLDERS
from glip_cli.data.image_files import inside
from glip_cli.data.image_files_below import has_image_suffix
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import read_lines, read_text, shown
from glip_cli.data.yolo_lines import TASKS, Form
from glip_cli.errors import DataError
from glip_cli.utils.json import JsonObject

_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_DARKNET = ("obj.data", "obj.names")
_CLASSES = ("classes.txt", "predefined_classes.txt")
_LABELS = "labels"
_NOTHING = ("", "~", "null", "Null", "NULL")
_DARKNET_KEYS = {"valid": "val"}
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every scalar stays the text it was typed as


@dataclass(frozen=True)
class YoloDescription:
    """
    Attributes:
        file: that says it, absolute.
        folder: of the set.
        names: (class number, name); a number that comes twice comes twice.
        splits: "train", "val", "test" -> folders, lists of images and images, as typed; only those that are stated.
        base: what these are relative to, if not to `folder`; as typed.
    """

    file: Path
    folder: Path
    names: tuple[tuple[int, str], ...]
    form: Form
    splits: Mapping[str, tuple[str, ...]]
    base: str = ""


def data_yaml(path: Path) -> Path | None:
    """The yaml that describes a YOLO set: `path` itself, or the one in it; None where there is none."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return path
    return next((path / name for name in _YAML if (path / name).is_file()), None)


def class_list(path: Path) -> Path | None:
    """The obj.data, obj.names or classes.txt of a YOLO set: `path` itself, or the one in it; None where there is none.

    A classes.txt counts only where there are labels too: other formats have such files as well.
    """
    if path.is_file():
        is_one = path.suffix.lower() in (".data", ".names") or path.name.lower() in _CLASSES
        return path if is_one else None
    names = (*_DARKNET, *_CLASSES, *(f"{_LABELS}/{name}" for name in _CLASSES))
    found = next((path / name for name in names if (path / name).is_file()), None)
    return found if found and (found.name in _DARKNET or has_labels(path)) else None


def has_labels(path: Path) -> bool:
    """Whether a folder holds labels of YOLO where tools put them: beside the images, or in labels/."""
    splits = [path / name for names in SPLIT_FOLDERS.values() for name in names]
    return any(_holds_labels(folder) for folder in (path, *splits))


def _holds_labels(folder: Path) -> bool:
    below = folder / _LABELS
    if below.is_dir() and any(file.suffix.lower() == ".txt" for file in below.rglob("*")):
        return True
    files = list(folder.iterdir()) if folder.is_dir() else []
    images = {file.stem for file in files if has_image_suffix(file.name)}
    return any(file.suffix.lower() == ".txt" and file.stem in images for file in files)


def read_description(file: Path, issues: Issues) -> YoloDescription:
    """Raises DataError where the file names no class, or a form of lines that is none; names the place."""
    file = file.absolute()
    if file.suffix.lower() in (".yaml", ".yml"):
        return _of_yaml(file, issues)
    return _of_darknet(file) if file.suffix.lower() == ".data" else _of_classes(file)


# ---------------------------------------------------------------------------------------------------------- data.yaml


def _of_yaml(path: Path, issues: Issues) -> YoloDescription:
    content = _yaml(path)
    stated = ((split, _texts(content.get(split))) for split in SPLIT_FOLDERS)
    base = str(content.get("path") or "")
    return YoloDescription(
        path,
        path.parent,
        tuple(_names(content, path, issues)),
        _form(content, path),
        {split: paths for split, paths in stated if paths},
        "" if base in _NOTHING else base,
    )


def _texts(value: object) -> tuple[str, ...]:
    """A text or a list of texts as a tuple, without blank ones."""
    return tuple(
        str(text) for text in (value if isinstance(value, list) else [value]) if text not in (None, *_NOTHING)
    )  # fmt: skip


def _yaml(path: Path) -> JsonObject:
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


def _content(node: yaml.Node, depth: int = 0) -> object:
    """Three levels are all that data.yaml has; below them nothing is unfolded, for aliases can make it endless."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if depth == 3:
        return "..."
    if isinstance(node, yaml.SequenceNode):
        return [_content(item, depth + 1) for item in node.value]
    pairs = [(_content(key, 3), _content(value, depth + 1)) for key, value in node.value]
    return dict(pairs) if not depth or len({key for key, _ in pairs}) == len(pairs) else pairs


def _names(content: Mapping[str, object], path: Path, issues: Issues) -> list[tuple[int, str]]:
    """(class number, name), from a list or a map; a number that comes twice comes twice."""
    names = content.get("names")
    pairs = _numbered(list(names.items()) if isinstance(names, dict) else names if isinstance(names, list) else [])
    if not pairs:
        raise DataError(f"{path}: 'names' is {shown(names)}; write the class names as a list, or as number: name")
    if (count := content.get("nc", "")) not in (*_NOTHING, str(len(pairs))):
        issues.add(DataIssue.CATEGORY_COUNT, f"{path}: nc is {shown(count)}, and 'names' has {len(pairs)}")
    return sorted(pairs)


def _numbered(names: Sequence[object]) -> list[tuple[int, str]]:
    """(number, name) of each class, from names or pairs; [] if any entry is neither."""
    texts = [name for name in names if isinstance(name, str)]
    if len(texts) == len(names):
        return list(enumerate(texts))
    pairs = [(_whole(name[0]), name[1]) for name in names if isinstance(name, tuple | list) and len(name) == 2]
    good = [(number, name) for number, name in pairs if number is not None and isinstance(name, str)]
    return good if len(good) == len(names) else []


def _whole(text: object) -> int | None:
    """ "3" -> 3; None for what is no whole number from 0."""
    is_number = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10
    return int(text) if is_number else None  # type: ignore[call-overload]


def _form(content: Mapping[str, object], path: Path) -> Form:
    task = content.get("task")
    shape = content.get("kpt_shape")
    if shape in (None, *_NOTHING):
        return Form(task if task in TASKS else None)
    numbers = [_whole(one) for one in shape] if isinstance(shape, list) else []
    if len(numbers) != 2 or not numbers[0] or numbers[1] not in (2, 3):
        raise DataError(f"{path}: kpt_shape is {shown(shape)[:60]}; write [keypoints, 2] or [keypoints, 3]")
    return Form("pose", numbers[0] * numbers[1])


# ----------------------------------------------------------------------------------------------- lists of classes


def _of_darknet(path: Path) -> YoloDescription:
    """Lines `key = value`; names are as seen from where darknet ran, in which this folder is data/."""
    pairs = [line.split("=", 1) for line in read_lines(path) if "=" in line and line.strip()[0] != "#"]
    content = {_DARKNET_KEYS.get(key.strip(), key.strip()): value.strip() for key, value in pairs}
    stated = content.get("names", "obj.names")
    candidates = (inside(path.parent, name) for name in (*candidate_paths(stated), PurePath(stated).name))
    listed = next((file for file in candidates if file and file.is_file()), None)
    if listed is None:
        raise DataError(f"{path}: names = {shown(stated)} is no file here; put the file of the class names beside it")
    splits = {split: (content[split],) for split in SPLIT_FOLDERS if content.get(split)}
    return YoloDescription(path, path.parent, listed_names(listed), Form(), splits)


def candidate_paths(written: str) -> tuple[str, ...]:
    """The paths that a written path may stand for: Roboflow writes `../train` for `train`, darknet `data/train.txt`."""
    written = written.replace("\\", "/")
    of_darknet = written.removeprefix("./").removeprefix("data/")
    return tuple(dict.fromkeys((written, written.removeprefix("../"), of_darknet)))


def _of_classes(path: Path) -> YoloDescription:
    """The splits are folders with the usual names, in images/ or above it, if there are any."""
    folder = path.parent.parent if path.parent.name == _LABELS else path.parent
    splits = {}
    for split, names in SPLIT_FOLDERS.items():
        candidates = [path for name in names for path in (f"images/{name}", f"{name}/images", name)]
        if existing := [path for path in candidates if (folder / path).is_dir()]:
            splits[split] = (existing[0],)
    return YoloDescription(path, folder, listed_names(path), Form(), splits)


def listed_names(path: Path) -> tuple[tuple[int, str], ...]:
    """A class per line; empty lines at the end are none. Raises DataError where there is no other."""
    names = [line.strip() for line in read_lines(path)]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError(f"{path}: names no class; write a class name per line")
    return tuple(enumerate(names))
