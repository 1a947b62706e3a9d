"""Files of huggingface.co, through its own client: its cache, tokens, mirrors (HF_ENDPOINT) and resumption."""

from __future__ import annotations

import errno
import inspect
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

from glip_cli.checkpoints.http import DownloadError
from glip_cli.utils.text_format import first_line

_URL = re.compile(r"https://huggingface\.co/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


class Address(NamedTuple):
    repo: str
    revision: str
    file: str


def serves(url: str) -> bool:
    return _URL.fullmatch(url) is not None


def cached(url: str) -> Path | None:
    """The file in the hub's cache, without a request."""
    from huggingface_hub import try_to_load_from_cache

    repo, revision, file = _address(url)
    path = try_to_load_from_cache(repo, file, revision=revision)
    return Path(path) if isinstance(path, str) else None


def download(url: str, advanced: Callable[[int], None]) -> Path:
    """Raises DownloadError, or OSError where the disk is the trouble."""
    from huggingface_hub import hf_hub_download

    _resolve()
    repo, revision, file = _address(url)
    options: dict[str, object] = {}
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:  # older clients draw their own bar
        options["tqdm_class"] = _bar(advanced)
    try:
        return Path(hf_hub_download(repo, file, revision=revision, **options))
    except Exception as error:  # the client's errors come from two HTTP libraries, by version
        if getattr(error, "errno", None) in DISK_FAULTS:
            raise
        raise DownloadError(_first_sentence(error)) from error


def forget(path: Path) -> None:
    """Delete a file from the hub's cache, content and name."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _address(url: str) -> Address:
    match = _URL.fullmatch(url)
    assert match, url
    return Address(**match.groupdict())


def _resolve() -> None:
    """Fail at once where there is no network: the client would try for 20 seconds, and chatter on stderr."""
    from huggingface_hub.constants import ENDPOINT

    if getproxies():
        return  # then names are the proxy's business
    try:
        socket.getaddrinfo(urlsplit(ENDPOINT).hostname, None)
    except OSError as error:
        raise DownloadError(error.strerror or str(error)) from error


def _bar(advanced: Callable[[int], None]) -> type:
    """The client's progress bar, made to report instead of draw."""
    from huggingface_hub.utils import tqdm

    class Quiet(tqdm):
        def __init__(self, *args: object, initial: float | None = 0, **options: object) -> None:
            super().__init__(*args, initial=initial, **{**options, "disable": True})
            advanced(int(initial or 0))

        def update(self, n: float | None = 1) -> None:
            advanced(int(n or 0))

    return Quiet


def _first_sentence(error: Exception) -> str:
    """The first sentence of the cause: the client's own message, "cannot find it in the cache either", hides it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
    return first_line(cause).rstrip(".")
