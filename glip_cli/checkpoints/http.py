"""One file over plain HTTP, resumable. The standard library does it: Range, timeouts, proxies of the environment.

x.pth.part      what has come so far
x.pth.version   what the server calls the file that it is part of: its ETag, or when it was changed (If-Range)
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol, TypeVar

from glip_cli.utils.http import USER_AGENT, why_unreachable

TIMEOUT = 30.0  # seconds without a byte
RETRIES = 3  # cuts in a row that brought nothing new
PAUSE = 0.5  # seconds before a retry
CHUNK = 1 << 20


T = TypeVar("T")


class DownloadError(Exception):
    """The URL does not give the file; `str(error)` says why, as the end of a sentence about the URL."""


class CutError(Exception):
    """The transfer ended early; asking again may continue it."""


class DownloadProgress(Protocol):
    def advanced(self, count: int) -> None: ...


def download(url: str, part: Path, progress: DownloadProgress, *, verified: bool = True) -> None:
    """Bring `part` to the full length of `url`, resuming from what it holds.

    The server is asked to send the rest of the same file only, else all of the new one (If-Range, RFC 9110 section
    13.1.5). A beginning of an unknown version is kept only where the caller compares a hash afterwards (`verified`).
    Raises DownloadError where the server refuses or falls silent, OSError where the disk does.
    """
    if not verified and not _version(part):
        discard(part)
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
            if not verified and not _version(part):
                progress.advanced(-_size(part))
                discard(part)
            time.sleep(PAUSE)


def download_verified(
    url: str, part: Path, progress: DownloadProgress, verify: Callable[[Path], T], *, verified: bool = True
) -> T:
    """As `download`; returns what `verify` makes of the file, and removes a file that it refuses (DownloadError).

    The resumed beginning may have been of another file: such a download is tried once more, from zero.
    """
    resumed = part.exists()
    while True:
        download(url, part, progress, verified=verified)
        size = part.stat().st_size
        try:
            return verify(part)
        except DownloadError:
            discard(part)
            if not resumed:
                raise
            resumed = False
            progress.advanced(-size)


def _continue(url: str, part: Path, progress: DownloadProgress) -> None:
    """One request for the rest. Raises CutError, DownloadError, OSError (disk only)."""
    have = _size(part)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version := _version(part):
            headers["If-Range"] = version
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, part, have)
    except (OSError, HTTPException) as error:  # URLError is an OSError; none of these is about the disk
        raise DownloadError(_reason(error)) from error
    with response:
        _store(response, part, have, progress)


def _store(response: HTTPResponse, part: Path, have: int, progress: DownloadProgress) -> None:
    resumes = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if resumes and (version := _version(part)) and _validator(response) not in (version, None):
        progress.advanced(-have)
        discard(part)
        raise CutError("sent the rest of another version")  # a server that does not know If-Range
    if not resumes:
        progress.advanced(-have)  # another version, or a server without Range: all of it comes again
        have = 0
    length = response.headers.get("Content-Length")
    with part.open("ab" if resumes else "wb") as file:
        if not resumes:  # now that the part is empty: a kill leaves no beginning under a version that it is not of
            _version_file(part).write_text(_validator(response) or "", encoding="utf-8")
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


def discard(part: Path) -> None:
    """Remove a part, and what is known of it; nothing happens where there is none."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _version_file(part: Path) -> Path:
    return part.with_suffix(".version")


def _version(part: Path) -> str:
    """The server's version of the file that `part` is the beginning of; "" where it is unknown."""
    try:
        return _version_file(part).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _validator(response: HTTPResponse) -> str | None:
    """A strong ETag, else the time of the last change: a weak one does not promise equal bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') and tag.isascii() else response.headers.get("Last-Modified")


def _refused(error: urllib.error.HTTPError, part: Path, have: int) -> None:
    """416 to a resumed request: the part is whole, or of something else. Anything else is final for this URL."""
    if error.code != 416 or not have:
        raise DownloadError(f"answered {error.code} {error.reason}")
    if error.headers.get("Content-Range") != f"bytes */{have}":
        discard(part)
        raise CutError("has a shorter file than was begun")


def _reason(error: Exception) -> str:
    if isinstance(getattr(error, "reason", error), TimeoutError):
        return f"no answer for {TIMEOUT:.0f} seconds"
    return why_unreachable(error)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
