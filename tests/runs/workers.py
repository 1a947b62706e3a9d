"""Workers for `ActorPool` without a model, as real actors of a real Ray: what they do is in the names of the images."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from glip_cli.runs.actors import Done, Started
from glip_cli.runs.items import Item


class MadeWorker:
    """Kills itself at "kill...", for the first time at "once..."; at "meet..." waits for a second worker; on the node
    `blind` no file is there.

    Attributes:
        notes: a folder in which each start leaves a file.
    """

    def __init__(self, notes: str, blind: str = "") -> None:
        self.notes, self.blind, self.stopped = Path(notes), blind, False

    def start(self) -> Started:
        import ray

        self.node = ray.get_runtime_context().get_node_id()
        (self.notes / f"start-{os.getpid()}").touch()
        return Started(self.node, self.node[:4], "")

    def do(self, items: list[Item]) -> Done:
        records = []
        for item in items:
            if self.stopped:
                break
            records.append(self._record(item.source.name))
        return Done(records)

    def stop(self) -> None:
        self.stopped = True

    def _record(self, name: str) -> Any:
        first = self.notes / name
        if name.startswith("kill") or (name.startswith("once") and not first.exists()):
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("slow"):
            time.sleep(0.3)
        while name.startswith("meet") and len(list(self.notes.glob("start-*"))) < 2:
            time.sleep(0.05)
        if self.node == self.blind:
            return {"image": name, "error": f"{name}: no such file", "host": self.node[:4]}
        return {"image": name}
