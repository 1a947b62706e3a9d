"""Records to a YOLO data set, which grows run by run: classes keep their numbers, images their names."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from glip_cli.errors import UsageError
from glip_cli.outputs.files import AtomicFile, CsvFile, atomic_write, digest
from glip_cli.outputs.records import AnyRecord, ClassNumbers, DetectionRecord, Record, corners_inside

IMAGES = "yolo_images.csv"
_COLUMNS = ("name", "image")
_HEAD = "# ultralytics reads labels/NAME.txt beside images/NAME.jpg"
_DATA_YAML = f"""\
{_HEAD}: put the images, or links to them, into images/,
# each under the name that yolo_images.csv gives it
path:  # empty: the folder of this file
train: images
val: images
"""
# What PyYAML cannot read (https://yaml.org/spec/1.1/#c-printable), the byte order mark, and YAML's own line ends
_NOT_IN_YAML = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


class YoloWriter:
    """`labels/<name>.txt` per image, a line `class cx cy w h` per box, and `data.yaml` with the class names.

    With `with_scores` the score is a sixth column, as in ultralytics' own `save_conf=True`; its trainer refuses that.
    Centre and size are fractions of the image's width and height, to 6 decimals. An image without a box gets an
    empty file. `yolo_images.csv` (`name,image`) says which image each name stands for: its path below the folder of
    all images, without suffix. A class is the label's place from 0, where a label given twice counts once.

    In a folder that an earlier run left, labels of that run keep their numbers, others get the next ones; an image
    whose name stands for another image there gets a number. `data.yaml` is written before the first line that needs it,
    so that a run that is killed leaves no line without a name.

    `data.yaml` is what ultralytics 8 reads. Its key `path` is empty, which means the folder of data.yaml, so that the
    folder can be moved. `train` and `val` are the subfolder `images`, which this class does not make: users put the
    images there.
    """

    def __init__(self, folder: Path, with_scores: bool = False, labels: Sequence[str] = ()) -> None:
        """`labels`: of the whole run, where its images have prompts of their own; `data.yaml` is written once then."""
        self._folder, self._with_scores = folder, with_scores
        self._classes = ClassNumbers()
        self._written = yolo_names(folder)
        self._classes.learn([*(self._written or []), *labels])
        earlier = yolo_images(folder)
        self._images = CsvFile(AtomicFile(folder / IMAGES), _COLUMNS)
        # names of earlier runs -> their images; as digests, which take 64 bytes a pair however long the texts are
        self._taken: dict[int, int] = {}
        for name, image in earlier:
            self._taken[digest(name)] = digest(image)
            self._images.add((name, image))

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        self._classes.learn(record["labels"])
        if self._written is None or len(self._classes) > len(self._written):
            self._write_names()
        name = self._free(name, record["image"])
        if digest(name) not in self._taken:
            self._images.add((name, record["image"]))
        lines = (self._line(record, detection) for detection in record["detections"])
        with atomic_write(self._folder / "labels" / f"{name}.txt") as stream:
            stream.write("".join(lines).encode())

    def close(self) -> None:
        self._images.close()
        if self._written is None:
            self._write_names()

    def _write_names(self) -> None:
        self._written = list(self._classes)
        # JSON strings are strings of YAML too once what YAML cannot print is escaped
        strings = (_NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(name, ensure_ascii=False))
                   for name in self._written)  # fmt: skip
        lines = "".join(f"  {i}: {string}\n" for i, string in enumerate(strings))
        with atomic_write(self._folder / "data.yaml") as stream:
            stream.write((_DATA_YAML + (f"names:\n{lines}" if lines else "names: {}\n")).encode())

    def _free(self, name: str, image: str) -> str:
        """`name`, or with the first number under which no earlier run has another image."""
        base, number = name, 1
        while self._taken.get(digest(name), digest(image)) != digest(image):
            number += 1
            name = f"{base}-{number}"
        return name

    def _line(self, record: Record, detection: DetectionRecord) -> str:
        x1, y1, x2, y2 = corners_inside(record, detection)
        numbers = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        if self._with_scores:
            numbers.append(detection["score"])
        return " ".join([str(self._classes[detection["label"]]), *(f"{number:.6f}" for number in numbers)]) + "\n"


def is_yolo(folder: Path) -> bool:
    """Whether an earlier run left a data set there. Raises UsageError for a data.yaml of somebody else."""
    path = folder / "data.yaml"
    if not path.exists():
        return False
    with path.open("rb") as stream:
        is_ours = stream.read(len(_HEAD)) == _HEAD.encode()
    if not is_ours and not lists_images(folder / IMAGES):
        raise UsageError(f"{path} was not written by glip; choose another --out-dir")
    return True


def lists_images(path: Path) -> bool:
    """Whether a file is the list of images of a data set that glip wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.readline().rstrip() == ",".join(_COLUMNS).encode()


def yolo_names(folder: Path) -> list[str] | None:
    """The classes of the data.yaml that an earlier run left, by number; None without one. Raises UsageError."""
    if not is_yolo(folder):
        return None
    import yaml  # only here, as every start would pay for it

    path, listed = folder / "data.yaml", None
    with suppress(ValueError, LookupError, TypeError, yaml.YAMLError):
        names = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)["names"]
        listed = names if isinstance(names, list) else [names[str(i)] for i in range(len(names))]
    if listed is None or not all(isinstance(name, str) for name in listed) or len(set(listed)) < len(listed):
        raise UsageError(f"{path}: its names cannot be read; choose another --out-dir, or --overwrite")
    return listed


def yolo_images(folder: Path) -> list[tuple[str, str]]:
    """The names that an earlier run gave, each with its image. Raises UsageError."""
    path = folder / IMAGES
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [(row[0], row[1]) for row in csv.reader(stream) if len(row) == len(_COLUMNS)][1:]
    except (ValueError, csv.Error):
        raise UsageError(f"{path}: its rows cannot be read; choose another --out-dir, or --overwrite") from None
