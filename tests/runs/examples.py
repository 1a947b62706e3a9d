"""Images that need no file, and an engine that needs no model: what is kept does not depend on either."""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from glip_cli.data.sources import ImageInput
from glip_cli.outputs.records import AnyRecord
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.items import Item
from glip_cli.runs.run_dir import Progress, RunFolder
from glip_cli.runs.shards import Shard

SETTINGS = {"model": "made@0", "labels": ["cat"], "threshold": 0.3}


def items(names: Iterable[str]) -> Iterator[Item]:
    return (Item(ImageInput(name, name)) for name in names)


def made_record(name: str, block: list[str], away: Collection[str] = ()) -> AnyRecord:
    """An answer that depends on the block that it was given in, as the last digits of a batch do."""
    block = [other for other in block if other not in away]
    if name in away:
        return {"schema": "glip/1", "image": name, "model": "made@0", "error": f"{name}: no such file; check the path",
                "host": "node1"}  # fmt: skip
    if name.startswith("bad"):
        return {"schema": "glip/1", "image": name, "model": "made@0", "error": f"{name}: broken"}
    box = {"xmin": 0.5, "ymin": 0.0, "xmax": float(len(name)), "ymax": float(sum(map(len, block)))}
    detection = {"label": "cat", "label_id": 0, "score": 0.5, "span": [0, 3], "box": box}
    return {"schema": "glip/1", "image": name, "width": 9, "height": 9, "model": "made@0", "prompt": "cat .",
            "labels": ["cat"], "detections": [detection]}  # fmt: skip


@dataclass
class MadeEngine:
    """Answers by block; stops after `most` records as one does that was told to; has no image of `away`."""

    block_size: int = 1
    most: int | None = None
    away: Collection[str] = ()
    asked: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    flight: InFlight = field(default_factory=InFlight)
    host: str = "node0"

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        source, left = iter(items), self.most
        while block := [item.source.name for item in islice(source, self.block_size)]:
            self.asked += block
            for name in block:
                if left == 0:
                    return
                yield made_record(name, block, self.away)
                left = None if left is None else left - 1


def do(path: Path, names: Iterable[str], engine: MadeEngine | None = None, shard: Shard | None = None,
       overwrite: bool = False, retry_failed: bool = False, **settings: object) -> Progress:  # fmt: skip
    """One start of a run, to its end or to where the engine stops."""
    with RunFolder(path, SETTINGS | settings, shard or Shard(), overwrite, retry_failed) as folder:
        return folder.run(items(names), engine or MadeEngine())
