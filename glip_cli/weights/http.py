"""One file over plain HTTP, resumable. The standard library does it: Range, timeouts, proxies of the environment."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol

TIMEOUT = 30.0  # seconds without a byte
RETRIES = 3  # cuts in a row that brought nothing new
PAUSE = 0.5  # seconds before a retry
CHUNK = 1 << 20
USER_AGENT = "glip-cli"


class DownloadError(Exception):
    """The URL does not give the file; `str(error)` says why, as the end of a sentence about the URL."""


class CutError(Exception):
    """The transfer ended early; asking again may continue it."""


class Progress(Protocol):
    def advanced(self, count: int) -> None: ...


def download(url: str, part: Path, progress: Progress) -> None:
    """Bring `part` to the full length of `url`, going on from what it holds.

    Raises DownloadError where the server refuses or falls silent, OSError where the disk does.
    """
    progress.advanced(_size(part))
    failures = 0
    while True:
        before = _size(part)
        try:
            return _continue(url, part, progress)
        except CutError as cut:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= RETRIES:
                raise DownloadError(str(cut)) from cut
            time.sleep(PAUSE)


def _continue(url: str, part: Path, progress: Progress) -> None:
    """One request for the rest. Raises CutError, DownloadError, OSError (disk only)."""
    have = _size(part)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, part, have)
    except (OSError, HTTPException) as error:  # URLError is an OSError; none of these is about the disk
        raise DownloadError(_reason(error)) from error
    with response:
        _store(response, part, have, progress)


def _store(response: HTTPResponse, part: Path, have: int, progress: Progress) -> None:
    resumes = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if not resumes:
        progress.advanced(-have)  # the server ignores Range: all of it comes again
        have = 0
    length = response.headers.get("Content-Length")
    with part.open("ab" if resumes else "wb") as file:
        for chunk in _chunks(response):
            file.write(chunk)
            progress.advanced(len(chunk))
    if length is not None and _size(part) < have + int(length):
        raise CutError(f"was cut off after {_size(part)} of {have + int(length)} bytes")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """The body as it comes. Raises CutError, so that an OSError around it can only be the disk's."""
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, HTTPException) as error:
            raise CutError(f"was cut off ({_reason(error)})") from error
        if not chunk:
            return
        yield chunk


def _refused(error: urllib.error.HTTPError, part: Path, have: int) -> None:
    """416 to a resumed request: the part is whole, or of something else. Anything else is final for this URL."""
    if error.code != 416 or not have:
        raise DownloadError(f"answered {error.code} {error.reason}")
    if error.headers.get("Content-Range") != f"bytes */{have}":
        part.unlink()
        raise CutError("has a shorter file than was begun")


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"no answer for {TIMEOUT:.0f} seconds"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
