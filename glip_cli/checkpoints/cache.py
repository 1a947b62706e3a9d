"""The cache of fetched and converted files.

    <cache>/downloads/glip_tiny_mmdet-c24ce662.pth         as published
    <cache>/converted/glip-t-c24ce662.safetensors          the same in this package's names, mapped at every start
    <cache>/hashes/0b1c2d3e4f506172.json                   the SHA-256 of a local file, so that it is read once only

Files of huggingface.co lie in its own cache instead (HF_HOME), where other programs find them too.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glip_cli.errors import FetchError
from glip_cli.utils.json import JsonObject, parsed_object

NOWHERE = Path(os.devnull) / "glip"
"""Stands for the cache of somebody without a home folder: nothing is found there and nothing can be kept."""


def default_dir() -> Path:
    """$GLIP_CACHE, else $XDG_CACHE_HOME/glip, else ~/.cache/glip (Windows: %LOCALAPPDATA%/glip/cache)."""
    if path := os.environ.get("GLIP_CACHE"):
        return expanded(path)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return expanded(base) / "glip"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "glip" / "cache"
    try:
        return Path.home() / ".cache" / "glip"
    except RuntimeError:  # no HOME, and a user that the system does not know, as in containers
        return NOWHERE


def expanded(path: str | Path) -> Path:
    """With `~` as the home folder; as typed where there is no such home."""
    return Path(os.path.expanduser(path))


def subfolder(cache_dir: Path | None, name: str) -> Path:
    """A folder of the cache, created. Raises FetchError where nothing can be written."""
    folder = (cache_dir or default_dir()) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass  # permission bits alone would not tell of a read-only file system
    except OSError as error:
        raise FetchError(
            f"cannot keep files in {folder} ({error.strerror}): set GLIP_CACHE to a folder that can be written"
        ) from error
    return folder


def converted(cache_dir: Path | None, name: str, key: str) -> Path:
    """The path of a checkpoint's conversion, which need not exist."""
    return (cache_dir or default_dir()) / "converted" / f"{name}-{key}.safetensors"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path, cache_dir: Path | None = None) -> str:
    """As `sha256`; a file with the inode, size and time of an earlier call is not read again.

    Where its content has changed since then, the conversion of the old content is removed.
    """
    record = _records(cache_dir) / f"{_digest(path)}.json"
    stat = path.stat()
    state = [stat.st_ino, stat.st_size, stat.st_mtime_ns]
    cached = _read_record(record)
    if cached and cached["state"] == state:
        return str(cached["sha256"])
    digest = sha256(path)
    if cached and cached["sha256"] != digest:
        _remove_conversion(cache_dir, cached)
    with suppress(OSError):  # without a cache the next start reads the file again
        record.parent.mkdir(parents=True, exist_ok=True)
        with atomic(record) as temporary:
            temporary.write_text(json.dumps({"path": os.path.abspath(path), "state": state, "sha256": digest}))
    return digest


def remove_orphans(cache_dir: Path | None = None) -> None:
    """Remove what is kept of local files that are no longer there."""
    for record in _records(cache_dir).glob("*.json"):
        content = _read_record(record)
        if content and not os.path.lexists(content["path"]):
            _remove_conversion(cache_dir, content)
            with suppress(OSError):
                record.unlink()


def _records(cache_dir: Path | None) -> Path:
    return (cache_dir or default_dir()) / "hashes"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.path.abspath(path).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _read_record(path: Path) -> JsonObject | None:
    """None where there is none, or nothing that this version wrote."""
    try:
        record = parsed_object(path.read_bytes())
    except OSError:
        return None
    return record if record and record.keys() == {"path", "state", "sha256"} else None


def _remove_conversion(cache_dir: Path | None, record: JsonObject) -> None:
    with suppress(OSError):  # on Windows another process may have it mapped
        converted(cache_dir, Path(record["path"]).stem, record["sha256"][:8]).unlink()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name to write to, beside `path`; it becomes `path` when the block ends well and vanishes when it does not."""
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"  # "." has no name
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
