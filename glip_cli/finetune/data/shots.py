"""Few-shot sets: as few images as show every class often enough."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from glip_cli.errors import UsageError
from glip_cli.finetune.data.sets import DetectionItem, TrainSet


@dataclass(frozen=True)
class FewShot:
    """The chosen part of a set, in the set's order, and the ids of its images."""

    train_set: TrainSet
    image_ids: tuple[int, ...]


def few_shot(train_set: TrainSet, shots: int, seed: int) -> FewShot:
    """Choose images until every class is in `shots` of them, or in all that it has.

    microsoft/GLIP's rule (data/datasets/modulated_coco.py:62-79): images come one by one, one is taken if any class
    in it is still wanted, and then counts for all its classes. There they come by id, whatever the seed; here in an
    order that hangs on the seed and the ids alone, so that no version of any library changes the choice.

    Raises:
        UsageError: `shots` is below one, or the set has captions, and so no classes.
    """
    if shots < 1:
        raise UsageError(f"--shots is {shots}; at least 1 image per class is needed")
    if not train_set.labels:
        raise UsageError(f"--shots counts images per class; {train_set.name} has captions and no classes")
    items = [item for item in train_set.items if isinstance(item, DetectionItem)]
    seen: Counter[int] = Counter()
    chosen: set[int] = set()
    for item in sorted(items, key=lambda item: _order(seed, item.image_id)):
        classes = set(item.labels.tolist())
        if any(seen[number] < shots for number in classes):
            chosen.add(item.image_id)
            seen.update(classes)
    kept = tuple(item for item in items if item.image_id in chosen)
    return FewShot(replace(train_set, items=kept), tuple(item.image_id for item in kept))


def shots_table(sets: Sequence[TrainSet]) -> list[dict[str, Any]]:
    """Which images they hold, as JSON has it; ids are those of the file that a set was read from, or its own."""
    return [
        {"set": one.name, "images": [{"id": item.image_id, "file": str(item.image)} for item in one.items]}
        for one in sets
    ]


def _order(seed: int, image_id: int) -> bytes:
    return hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
