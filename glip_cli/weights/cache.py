"""Where fetched and converted files are kept.

    <cache>/downloads/glip_tiny_mmdet-c24ce662.pth         as published
    <cache>/converted/glip-t-c24ce662.safetensors          the same in this package's names, mapped at every start
    <cache>/tokenizers/bert-base-uncased/vocab.txt

Files of huggingface.co lie in its own cache instead (HF_HOME), where other programs find them too.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glip_cli.errors import FetchError

NOWHERE = Path(os.devnull) / "glip"
"""Stands for the cache of somebody without a home folder: nothing is found there and nothing can be kept."""


def default_dir() -> Path:
    """$GLIP_CACHE, else $XDG_CACHE_HOME/glip, else ~/.cache/glip (Windows: %LOCALAPPDATA%/glip/cache)."""
    if chosen := os.environ.get("GLIP_CACHE"):
        return expanded(chosen)
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
    """Where the conversion of a checkpoint is kept; it need not exist."""
    return (cache_dir or default_dir()) / "converted" / f"{name}-{key}.safetensors"


def file_key(path: Path) -> str:
    """Eight hex digits that change when a local file does: from its path, size and time, not its content."""
    stat = path.stat()
    told = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name to write to, beside `path`; it becomes `path` when the block ends well and vanishes when it does not."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
