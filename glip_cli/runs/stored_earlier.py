"""What an earlier run left in a store: looked through, so that --overwrite removes it and nothing else."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from glip_cli.data.stored_folder import StoredFolder
from glip_cli.errors import UsageError
from glip_cli.outputs.earlier import FOLDERS, written_by_formats
from glip_cli.runs.stored_parts import IMAGES, PUTS, is_part
from glip_cli.runs.stored_shards import is_of_shard
from glip_cli.utils.text_format import shown_url

_MOST_BYTES = 1_000_000  # that are read of an object to know who wrote it
_NO_NAME = re.compile(r"[\x00-\x1f\x7f:\\]")


def earlier_objects(store: StoredFolder) -> list[str]:
    """The names of all objects of an earlier run but run.json, drawings and crops.

    Raises UsageError where the folder holds anything else, GlipError.
    """
    own, others = [], []
    for name in store.names():
        if name == "results.jsonl" or is_part(name, "results") or is_of_shard(name):
            own.append(name)
        elif name != "run.json" and name.split("/")[0] not in IMAGES:
            others.append(name)
    if foreign := next(_foreign(store, others), None):
        raise UsageError(
            f"{shown_url(store.url)} holds {foreign}, which no run of glip batch wrote; move it, or choose another "
            "--out-dir"
        )
    return own + others


def _foreign(store: StoredFolder, names: list[str]) -> Iterator[str]:
    """Those whose name or content is not that of a file of a format."""
    yield from (name for name in names if not _may_be_of_format(name))
    with TemporaryDirectory(prefix="glip-") as folder:

        def fetch(name: str) -> None:
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(store.read(name, _MOST_BYTES))

        with ThreadPoolExecutor(PUTS, "glip-download") as pool:
            deque(pool.map(fetch, names), maxlen=0)
        ours = {path.relative_to(folder).as_posix() for path in written_by_formats(Path(folder))}
    yield from (name for name in names if name not in ours)


def _may_be_of_format(name: str) -> bool:
    """Where formats write, and a name that every disk takes."""
    first, *below = name.split("/")
    plain = all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in (first, *below))
    return plain and not _NO_NAME.search(name) and (not below or first in FOLDERS)
