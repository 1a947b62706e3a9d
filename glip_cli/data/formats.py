"""A file or folder of somebody's boxes -> `Tables`.

x.json                                       COCO, or grounding data (MDETR's format)          `coco`
folder with data.yaml, or that file          YOLO                                              `yolo`
folder with Annotations/*.xml, or with xml   Pascal VOC                                        `voc`
x.csv with filename, class, xmin, ...        TensorFlow's csv                                  `box_csv`
folder with one json or csv of boxes         as that file
folder with train/, valid/, test/            as the one of the split that is asked for
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from glip_cli.data.box_csv import read_box_csv
from glip_cli.data.coco import read_coco
from glip_cli.data.issues import Tally
from glip_cli.data.tables import Tables
from glip_cli.data.voc import is_voc, read_voc
from glip_cli.data.yolo import data_yaml, read_yolo
from glip_cli.errors import UsageError

_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_FILES = (".json", ".csv")


def read_tables(path: Path, images: Path | None, split: str, tally: Tally) -> Tables:
    """The rows of a data set, of whatever kind; see above.

    Args:
        images: the folder of the images; by default where such a set has them, or beside the file.
        split: "train", "val" or "test", of a set that has several.

    Raises:
        UsageError: it is none; says what it is instead, and what to give.
    """
    if (described := data_yaml(path)) is not None:
        return read_yolo(described, images, split, tally)
    if not path.is_dir():
        return _read_file(path, images, tally)
    if is_voc(path):
        return read_voc(path, images, split, tally)
    if len(files := _annotation_files(path)) == 1:
        return _read_file(files[0], images, tally)
    if part := next((path / name for name in _SPLITS.get(split, (split,)) if (path / name).is_dir()), None):
        return replace(read_tables(part, images, split, tally), is_part=True)
    raise UsageError(f"{path}: {_what_is_in(path, split)}")


def _read_file(path: Path, images: Path | None, tally: Tally) -> Tables:
    return read_box_csv(path, images, tally) if path.suffix.lower() == ".csv" else read_coco(path, images)


def _annotation_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _FILES and file.is_file())


def _what_is_in(path: Path, split: str) -> str:
    files = [file.name for file in _annotation_files(path)]
    if files:
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        return f"holds {', '.join(files[:3])}{more}; give the one that has the boxes"
    folders = [name for names in _SPLITS.values() for name in names if (path / name).is_dir()]
    if folders:
        return f"holds {', '.join(folders)}, but nothing for '{split}'; give the folder or file that is meant"
    return "neither data.yaml (YOLO) nor xml files (VOC) nor one json or csv of boxes in it; give a data set"
