"""Records to files: one writer class per `--format`, listed in `WRITERS`. A new format is one more class here.

Writers take records one by one and keep none, so a million pictures stream through. Every file is written
under a temporary name and renamed: a reader never sees half of one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from glip_cli.output.records import AnyRecord, Detection, Record

_NAME_BYTES = 180  # of the 255 that file systems allow; the rest is for a number, a suffix and ".tmp"
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows keeps for itself


class Writer(Protocol):
    """`add` each record in order, then `close` once; only what was closed is sure to be there."""

    def add(self, record: AnyRecord) -> None: ...

    def close(self) -> None: ...


class JsonWriter:
    """`preds/<name>.json`: each record as it is, indented; also those of pictures that failed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "preds"
        self._names = FileNames()

    def add(self, record: AnyRecord) -> None:
        _save_json(self._folder / f"{self._names.of(record['image'])}.json", record, indent=2)

    def close(self) -> None:
        pass


class JsonlWriter:
    """`results.jsonl`: one record per line; also those of pictures that failed."""

    def __init__(self, folder: Path) -> None:
        self._file = AtomicFile(folder / "results.jsonl")

    def add(self, record: AnyRecord) -> None:
        self._file.write(json_bytes(record) + b"\n")

    def close(self) -> None:
        self._file.close()


class MmdetWriter:
    """`preds/<name>.json`: `{"labels", "scores", "bboxes": [[x1, y1, x2, y2]]}`, as mmdetection's inferencer does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "preds"
        self._names = FileNames()

    def add(self, record: AnyRecord) -> None:
        name = self._names.of(record["image"])
        if "detections" not in record:
            return
        found = record["detections"]
        content = {
            "labels": [detection["label_id"] for detection in found],
            "scores": [detection["score"] for detection in found],
            "bboxes": [list(_corners(detection)) for detection in found],
        }
        _save_json(self._folder / f"{name}.json", content)

    def close(self) -> None:
        pass


class CocoWriter:
    """`coco_results.json`, a pure COCO results list, and `coco_images.json`, which says what its ids mean.

    An image's id is its file's stem where that is a number not yet taken (COCO's own names); else its place in
    the run, from 1, or the next number that is free. A category's id is `category_ids[label_id]`, by default
    `label_id + 1`. `bbox` is [x, y, width, height] in pixels, without the +1 of GLIP's own evaluation.
    Pictures that failed are in neither file.
    """

    def __init__(self, folder: Path, category_ids: Sequence[int] | None = None) -> None:
        self._category_ids = category_ids
        self._results = JsonList(AtomicFile(folder / "coco_results.json"), b"[", b"]\n")
        self._images = JsonList(AtomicFile(folder / "coco_images.json"), b'{"images": [', b"]")
        self._labels: list[str] = []
        self._taken: set[int] = set()
        self._count = 0

    def add(self, record: AnyRecord) -> None:
        self._count += 1
        if "detections" not in record:
            return
        self._labels = record["labels"]
        image_id = self._image_id(record["image"])
        self._images.add(_coco_image(record, image_id))
        for detection in record["detections"]:
            self._results.add(self._result(detection, image_id))

    def close(self) -> None:
        categories = [{"id": self._category_id(i), "name": label} for i, label in enumerate(self._labels)]
        self._results.close()
        self._images.close(b', "categories": ' + json_bytes(categories) + b"}\n")

    def _image_id(self, name: str) -> int:
        stem = file_stem(name)
        image_id = int(stem) if re.fullmatch(r"[0-9]{1,18}", stem) else self._count
        if image_id in self._taken:
            image_id = self._count
        while image_id in self._taken:
            image_id += 1
        self._taken.add(image_id)
        return image_id

    def _category_id(self, label_id: int) -> int:
        return label_id + 1 if self._category_ids is None else self._category_ids[label_id]

    def _result(self, detection: Detection, image_id: int) -> dict[str, Any]:
        x1, y1, x2, y2 = _corners(detection)
        return {
            "image_id": image_id,
            "category_id": self._category_id(detection["label_id"]),
            "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
            "score": detection["score"],
        }


WRITERS: dict[str, Callable[[Path], Writer]] = {
    "json": JsonWriter,
    "jsonl": JsonlWriter,
    "coco": CocoWriter,
    "mmdet": MmdetWriter,
}
"""`--format` -> what opens a writer in a folder, which is made where it is missing."""


def _corners(detection: Detection) -> tuple[float, float, float, float]:
    box = detection["box"]
    return box["xmin"], box["ymin"], box["xmax"], box["ymax"]


def _coco_image(record: Record, image_id: int) -> dict[str, Any]:
    return {"id": image_id, "file_name": record["image"], "width": record["width"], "height": record["height"]}


def json_bytes(value: object, indent: int | None = None) -> bytes:
    """UTF-8 JSON, letters of every script as themselves; NaN is refused, because JSON has none."""
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False).encode("utf-8", "backslashreplace")


def _save_json(path: Path, value: object, indent: int | None = None) -> None:
    with written(path) as stream:
        stream.write(json_bytes(value, indent) + b"\n")


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path`, replacing another, only when the block ends well."""
    file = AtomicFile(path)
    try:
        yield file.stream
    except BaseException:
        file.discard()
        raise
    file.close()


class AtomicFile:
    """A file with a temporary name beside its own until it is closed. Makes the folder where it is missing."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.stream: BinaryIO = self._temporary.open("wb")

    def write(self, data: bytes) -> None:
        self.stream.write(data)

    def close(self) -> None:
        self.stream.close()
        self._temporary.replace(self._path)

    def discard(self) -> None:
        self.stream.close()
        self._temporary.unlink(missing_ok=True)


class JsonList:
    """A JSON list that is written item by item, one per line."""

    def __init__(self, file: AtomicFile, opening: bytes, closing: bytes) -> None:
        self._file, self._closing = file, closing
        self._separator = b"\n"
        file.write(opening)

    def add(self, item: object) -> None:
        self._file.write(self._separator + json_bytes(item))
        self._separator = b",\n"

    def close(self, after: bytes = b"") -> None:
        self._file.write(self._closing + after)
        self._file.close()


class FileNames:
    """Names for what is made from each picture: its stem, and `-2`, `-3` ... where another picture had it.

    Two names that differ in case only are kept apart too, for file systems that do not tell them apart. The
    same pictures in the same order get the same names. Remembers each name once given.
    """

    def __init__(self) -> None:
        self._given: dict[str, int] = {}

    def of(self, image_name: str) -> str:
        stem = file_stem(image_name)
        name, number = stem, self._given.get(stem.casefold(), 0)
        while name.casefold() in self._given:
            number += 1
            name = f"{stem}-{number + 1}"
        self._given[name.casefold()] = 0
        self._given[stem.casefold()] = number
        return name


def file_stem(image_name: str) -> str:
    """The last part of a path or URL without suffix and query, as a name that every file system takes."""
    if "://" in image_name:
        image_name = re.split(r"[?#]", image_name, maxsplit=1)[0]
    name = re.split(r"[/\\]", image_name.rstrip("/\\"))[-1]
    return safe_name(os.path.splitext(name)[0])


def safe_name(text: str) -> str:
    """`text` as a file name: no separator, control character or name that Windows keeps, at most 180 bytes."""
    clean = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", text)
    clean = clean.encode("utf-8", "replace")[:_NAME_BYTES].decode("utf-8", "ignore").strip(" .")
    return f"_{clean}" if not clean or _RESERVED.fullmatch(clean) else clean
