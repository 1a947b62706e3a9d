"""What a training's data was: short hashes, by which a resumed training knows the data that it began with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from glip_cli.errors import UnavailableError
from glip_cli.training.dataset import DetectionItem, Item, TrainSet
from glip_cli.training.validation import ValidationCheck
from glip_cli.utils.text_format import why_unreadable

Digest = dict[str, str]
"""Of the classes, the images (names and sizes of the files) and the boxes of a data set."""


def digest_of_set(one: TrainSet) -> Digest:
    return {
        "classes": _hash(one.labels),
        "images": _hash(_file(item.image.name, item.image) for item in one.items),
        "boxes": _hash(_boxes(item) for item in one.items),
    }


def digest_of_check(check: ValidationCheck) -> Digest:
    task, truth = check.task, check.task.truth
    return {
        "classes": _hash((row.id, row.name) for row in truth.categories),
        "images": _hash(_file(row.file_name or str(row.id), task.images[row.id]) for row in truth.images),
        "boxes": _hash(sorted(row.items()) for row in truth.annotations),
    }


def digest_of_data(sets: Iterable[TrainSet], checks: Iterable[ValidationCheck]) -> dict[str, Digest]:
    """By the names of the data sets, and their numbers where a name occurs twice."""
    digests: dict[str, Digest] = {}
    pairs = [(one.name, digest_of_set(one)) for one in sets] + [(one.task.name, digest_of_check(one)) for one in checks]
    for name, digest in pairs:
        digests[f"{name} ({len(digests) + 1})" if name in digests else name] = digest
    return digests


def changes(before: Mapping[str, Digest], now: Mapping[str, Digest]) -> Iterator[str]:
    """ "the classes of train.json", ..."""
    for name in {**before, **now}:
        was, is_ = before.get(name, {}), now.get(name, {})
        yield from (f"the {part} of {name}" for part in {**was, **is_} if was.get(part) != is_.get(part))


def _boxes(item: Item) -> tuple[object, ...]:
    what = item.labels.tolist() if isinstance(item, DetectionItem) else (item.caption, item.spans)
    return item.boxes.tolist(), what


def _file(name: str, path: Path) -> tuple[str, int]:
    """Raises UnavailableError."""
    try:
        return name, path.stat().st_size
    except OSError as error:
        raise UnavailableError(f"{path}: it was there, and now: {why_unreadable(error)}; put it back") from None


def _hash(values: Iterable[object]) -> str:
    total = hashlib.sha256()
    for value in values:
        total.update(repr(value).encode("utf-8", "surrogateescape") + b"\n")
    return total.hexdigest()[:16]
