"""What each machine has done in a run that several share, noted for `glip batch --status` while it lasts.

    DIR/shards/0-of-2.hosts, DIR/.hosts with Ray    JSON: of each host when, how many images, and kinds of errors

Of the last start only; what a run came to stands in its records. A note that cannot be written is left out.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from glip_cli.outputs.files import atomic_write, json_bytes
from glip_cli.outputs.records import AnyRecord, ErrorRecord
from glip_cli.utils.json import JsonObject

SECONDS = 2.0  # between two notes
_WAY_OUT = re.compile(r" \(|; ")  # where the words end that all errors of a kind share


@dataclass
class HostCounts:
    """
    Attributes:
        first, last: when the first and the last record came, in seconds since 1970.
        kinds: how often an error of each kind occurred.
    """

    first: float
    last: float
    images: int = 0
    failed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, record: AnyRecord, now: float) -> None:
        self.images, self.last = self.images + 1, now
        if "error" in record:
            self.failed += 1
            self.kinds[kind_of(record)] += 1

    def __add__(self, other: HostCounts) -> HostCounts:
        """Of two processes on one host."""
        first, last = min(self.first, other.first), max(self.last, other.last)
        images, failed = self.images + other.images, self.failed + other.failed
        return HostCounts(first, last, images, failed, self.kinds + other.kinds)

    @property
    def rate(self) -> float:
        """Images per second; the first one only starts the clock."""
        return (self.images - 1) / (self.last - self.first) if self.last > self.first else 0.0


class HostNotes:
    """Counts records by the host that made them, and notes them every few seconds and at the end."""

    def __init__(self, path: Path) -> None:
        self._path, self._counts, self._noted = path, dict[str, HostCounts](), time.time()

    def add(self, host: str, record: AnyRecord) -> None:
        now = time.time()
        self._counts.setdefault(host, HostCounts(now, now)).add(record, now)
        if now - self._noted > SECONDS:
            self._noted = now
            self.close()

    def close(self) -> None:
        if self._counts:
            with suppress(OSError), atomic_write(self._path) as stream:
                stream.write(json_bytes({host: vars(counts) for host, counts in self._counts.items()}))


def read_notes(path: Path) -> dict[str, HostCounts]:
    """By host; empty where there is no note that can be read."""
    try:
        return {str(host): _counts(row) for host, row in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {}


def _counts(row: JsonObject) -> HostCounts:
    kinds = Counter({str(kind): int(count) for kind, count in row["kinds"].items()})
    return HostCounts(float(row["first"]), float(row["last"]), int(row["images"]), int(row["failed"]), kinds)


def kind_of(record: ErrorRecord) -> str:
    """The error without the image's name, its details and the way out."""
    return _WAY_OUT.split(record["error"].removeprefix(f"{record['image']}: "), maxsplit=1)[0]
