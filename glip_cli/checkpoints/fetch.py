"""Named checkpoint -> verified file in the cache.

Mirrors are tried in order; what was fetched is verified before it gets its name, so a file that is there is whole.
Several processes may ask for one file at once: the first fetches, the others wait and find it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from filelock import FileLock  # huggingface_hub depends on it

from glip_cli.checkpoints import cache, http, hub
from glip_cli.checkpoints.http import DownloadError
from glip_cli.checkpoints.registry import EMBEDDED, Checkpoint
from glip_cli.errors import FetchError

WAYS_OUT = f"-m {EMBEDDED} works now and knows COCO's 80 everyday names and other words for them; or --weights FILE"


class ProgressCallback(Protocol):
    """Called during a download; a progress bar, for example."""

    def started(self, name: str, url: str, total: int | None) -> None:
        """`name` is fetched from `url`; `total` bytes where known. Said again for every mirror tried."""

    def advanced(self, count: int) -> None:
        """`count` more bytes are here, an earlier run's included; negative where a download begins again."""

    def done(self) -> None:
        """The file is complete and verified."""


class SilentDownload:
    """A progress callback that does nothing."""

    def started(self, name: str, url: str, total: int | None) -> None: ...
    def advanced(self, count: int) -> None: ...
    def done(self) -> None: ...


def fetch(
    checkpoint: Checkpoint,
    *,
    cache_dir: Path | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> Path:
    """The file of a checkpoint, downloaded unless it is in the cache.

    Args:
        checkpoint: from `registry.find`.
        cache_dir: `cache.default_dir()` if not given. Files of huggingface.co lie in the hub's own cache.
        offline: never use the network; HF_HUB_OFFLINE means the same.
        report: called with what comes from where, and how far it is.

    Raises FetchError, which names every URL tried with its reason, and the ways out.
    """
    if checkpoint.embedded:
        if not checkpoint.embedded.is_file():
            raise FetchError(f"the embedded model {checkpoint.embedded} is missing: install glip again")
        return checkpoint.embedded
    if checkpoint.unavailable:
        raise FetchError(f"{checkpoint.name} cannot be fetched: {checkpoint.unavailable}; {WAYS_OUT}")
    return _fetch(checkpoint, cache_dir, offline, report or SilentDownload())


def cached_path(checkpoint: Checkpoint, cache_dir: Path | None = None) -> Path | None:
    """The file of a checkpoint where it is here already: embedded, downloaded, or converted by an earlier start."""
    if checkpoint.embedded:
        return checkpoint.embedded if checkpoint.embedded.is_file() else None
    if checkpoint.hash:
        converted = cache.converted(cache_dir, checkpoint.name, checkpoint.hash[:8])
        if os.path.isfile(converted):
            return converted
    folder = (cache_dir or cache.default_dir()) / "downloads"
    return next((path for url in checkpoint.urls if (path := _present(url, folder))), None)


def _fetch(checkpoint: Checkpoint, cache_dir: Path | None, offline: bool, report: ProgressCallback) -> Path:
    folder = (cache_dir or cache.default_dir()) / "downloads"
    for url in checkpoint.urls:
        if path := _present(url, folder):
            return path
    if offline or hub_is_offline():
        raise FetchError(f"{checkpoint.name} is not in the cache and the network is not to be used; {WAYS_OUT}")
    reasons = []
    for url in checkpoint.urls:
        try:
            return _from_mirror(checkpoint, url, cache_dir, report)
        except DownloadError as error:
            reasons.append(f"{url}: {error}")
    raise FetchError(f"cannot fetch {checkpoint.name}: {'; '.join(reasons)}; {WAYS_OUT}")


def _present(url: str, folder: Path) -> Path | None:
    if hub.serves(url):
        return hub.cached(url)
    path = folder / _file_name(url)
    return path if os.path.isfile(path) else None  # os.path's takes a folder that is locked for empty


def _from_mirror(checkpoint: Checkpoint, url: str, cache_dir: Path | None, report: ProgressCallback) -> Path:
    """Fetch and verify. Raises DownloadError where another mirror may do better, FetchError where none will."""
    report.started(checkpoint.name, url, checkpoint.bytes)
    try:
        if hub.serves(url):
            path = hub.download(url, report.advanced)
            try:
                _verify(path, checkpoint)
            except DownloadError:
                hub.forget(path)
                raise
        else:
            path = _over_http(checkpoint, url, cache.subfolder(cache_dir, "downloads"), report)
    except OSError as error:
        raise FetchError(f"cannot keep {checkpoint.name}: {error.strerror or error}; set GLIP_CACHE (for files of "
                         "huggingface.co HF_HOME) to a folder with room") from error  # fmt: skip
    report.done()
    return path


def _over_http(checkpoint: Checkpoint, url: str, folder: Path, report: ProgressCallback) -> Path:
    path = folder / _file_name(url)
    with FileLock(folder / f".{path.name}.lock"):
        if path.is_file():  # another process was faster
            return path
        part = folder / f"{path.name}.part"
        known = checkpoint.hash is not None
        http.download_verified(url, part, report, lambda file: _verify(file, checkpoint), verified=known)
        os.replace(part, path)
        http.discard(part)
    return path


def _verify(path: Path, checkpoint: Checkpoint) -> None:
    """Raises DownloadError when it is not the published file. The caller deletes it then."""
    if checkpoint.hash is None:
        return
    actual = cache.sha256(path)
    if not actual.startswith(checkpoint.hash):
        raise DownloadError(f"sent another file, sha256 {actual[:8]}... instead of {checkpoint.hash[:8]}... (deleted)")


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]


def hub_is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids the network, in the hub's own spelling."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
