"""Few-shot training: as many images of a set as are to be learned from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from glip_cli.errors import OptionError
from glip_cli.training.dataset import DetectionItem, TrainSet


def few_shot(train_set: TrainSet, shots: int, seed: int) -> TrainSet:
    """Choose images until every class is in `shots` of them, or in all that it has.

    microsoft/GLIP's rule (data/datasets/modulated_coco.py:62-79): images come one by one, one is taken if any class
    in it is still wanted, and then counts for all its classes. There they come by id, whatever the seed; here in an
    order that depends on the seed and the ids alone, so that no version of any library changes the choice.

    Raises OptionError where `shots` is below one, or the set has captions, and so no classes.
    """
    if shots < 1:
        raise OptionError("shots", shots, "at least 1 image per class is needed")
    if not train_set.labels:
        raise OptionError("shots", shots, f"counts images per class; {train_set.name} has captions and no classes")
    items = [item for item in train_set.items if isinstance(item, DetectionItem)]
    seen: Counter[int] = Counter()
    chosen: set[int] = set()
    for item in sorted(items, key=lambda item: _order(seed, item.image_id)):
        classes = set(item.labels.tolist())
        if any(seen[number] < shots for number in classes):
            chosen.add(item.image_id)
            seen.update(classes)
    return replace(train_set, items=tuple(item for item in items if item.image_id in chosen))


def shots_table(sets: Sequence[TrainSet]) -> list[dict[str, object]]:
    """Which images they hold, as JSON has it; ids are those of the file that a set was read from, or its own."""
    return [
        {"set": one.name, "images": [{"id": item.image_id, "file": str(item.image)} for item in one.items]}
        for one in sets
    ]


def _order(seed: int, image_id: int) -> bytes:
    return hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
