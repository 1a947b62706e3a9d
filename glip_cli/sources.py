"""From what a person types as INPUT to a stream of pictures, in order, one at a time.

    file | folder | glob | http(s) URL | @list.txt | -   ->   Source, Source, ...

A million pictures cost no more memory than the names of one folder. An input that can never give a
picture (an empty folder, a glob without a match) is a `UsageError` before the first picture; a single
picture that cannot be had is an `ImageError` when it is opened, so that the others go on.
"""

from __future__ import annotations

import codecs
import fnmatch
import glob
import http.client
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO
from urllib import error, parse, request

from glip_cli import __version__
from glip_cli.errors import ImageError, UsageError

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on
MAX_DOWNLOAD_BYTES = 100_000_000
STALL_SECONDS = 20.0  # without one byte
TOTAL_SECONDS = 300.0

_USER_AGENT = f"glip-cli/{__version__} (Python urllib)"
_URL = re.compile(r"https?://", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ANY_DEPTH = "**"
_EVERYTHING = (_ANY_DEPTH, "*")
_START = frozenset([0])


@dataclass(frozen=True)
class Source:
    """One picture that is still to be read.

    Attributes:
        name: what records and errors call it: as typed, or the path as found; always valid Unicode.
        location: a path, or an http(s) URL.
        offline: True forbids the network.
    """

    name: str
    location: str
    offline: bool = False

    @property
    def is_url(self) -> bool:
        return _is_url(self.location)

    def open(self) -> bytes | Path:
        """The bytes behind a URL, or the path of a file that exists: what `read_image` takes.

        Raises:
            ImageError: there is no such file; the URL cannot be fetched, or `offline` forbids it.
        """
        if self.is_url and self.offline:
            raise ImageError(f"{self.name}: --offline forbids fetching it; download it first or drop --offline")
        if self.is_url:
            return fetch(self.location)
        if not os.path.exists(self.location):
            way_out = "only http and https can be fetched" if "://" in self.location else "check the path"
            raise ImageError(f"{self.name}: no such file; {way_out}")
        return Path(self.location)


def expand(
    inputs: Iterable[str], *, offline: bool = False, stdin: BinaryIO | None = None, own: Sequence[Path] = ()
) -> Iterator[Source]:
    """Every picture that `inputs` name, in their order; inside a folder or glob sorted by name, depth first.

    Folders are read recursively: pictures by their suffix, nothing hidden, each real folder once (so links
    that lead back do no harm). A folder called x.jpg in which there is no picture is given too, and fails
    when it is opened, as a file called so that is none. A path that exists is taken as it is before it is
    read as a glob or a list. A picture named twice comes twice.

    Args:
        inputs: the arguments as typed.
        offline: URLs then fail when they are opened.
        stdin: where `-` reads paths, one per line; by default the process's own.
        own: folders into which the command writes pictures: what is found there by a folder or glob above them is
            left out, or `glip batch . -o run` would go on with its own drawings.

    Raises:
        UsageError: at once, where a folder, glob or list names no picture; when its turn comes, for `-`.
    """
    streams = [_nonempty(text, _without(own, text, _expand_one(text, offline, stdin))) for text in inputs]
    return chain.from_iterable(streams)


def _without(own: Sequence[Path], text: str, found: Iterator[Source]) -> Iterator[Source]:
    inside = tuple(os.path.realpath(folder) + os.sep for folder in own)
    searched = os.path.isdir(text) or glob.has_magic(text)
    if not searched or f"{os.path.realpath(text)}{os.sep}".startswith(inside):
        return found
    return (source for source in found if not os.path.realpath(source.location).startswith(inside))


def _nonempty(text: str, found: Iterator[Source]) -> Iterator[Source]:
    """`found` with its first picture already looked up, except for `-`, which may still wait for its writer."""
    if text == "-":
        return found
    first = next(found, None)
    if first is None:
        raise UsageError(f"{_shown(text)}: {_why_empty(text)}")
    return chain([first], found)


def _why_empty(text: str) -> str:
    if os.path.isdir(text):
        return "the folder holds no picture; name one that does, or files of it with a glob such as 'folder/*'"
    if text.startswith("@"):
        return "the list names no picture; write one path or URL per line"
    return "no file matches; check the pattern, and that its quotes are the shell's"


def _expand_one(text: str, offline: bool, stdin: BinaryIO | None) -> Iterator[Source]:
    if text == "-":
        yield from _from_stdin(stdin or _own_stdin(), offline)
    elif _is_url(text):
        yield Source(_shown(text), text, offline)
    elif text.startswith("@") and not os.path.lexists(text):
        yield from _from_list(text[1:], offline)
    else:
        path = text if os.path.lexists(text) else os.path.expanduser(text)
        is_pattern = glob.has_magic(path) and not os.path.lexists(path)
        yield from _from_glob(path) if is_pattern else _from_path(path, text)


def _from_path(path: str, name: str) -> Iterator[Source]:
    """A folder's pictures, or the one file, which may be missing.

    A folder that is called as a picture is, and holds none, is taken for that picture: it fails when it is opened.
    """
    found = map(_found, _walk(Path(path), _EVERYTHING, _START, set())) if os.path.isdir(path) else iter(())
    first = next(found, None)
    if first is not None:
        yield from chain([first], found)
    elif not os.path.isdir(path) or _has_image_suffix(path):
        yield Source(_shown(name), path)


def _from_glob(pattern: str) -> Iterator[Source]:
    """`*`, `?`, `[ab]` within a name, `**` over any number of folders; a folder that matches gives its pictures."""
    parts = Path(pattern).parts
    parts += ("*",) if parts[-1] == _ANY_DEPTH else ()
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    yield from map(_found, _walk(Path(*parts[:fixed]), parts[fixed:], _START, set()))


def _found(path: Path) -> Source:
    return Source(_shown(str(path)), str(path))


def _walk(folder: Path, parts: tuple[str, ...], states: frozenset[int], seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files below `folder` that match `parts`, sorted, each once; and folders called as pictures that hold none.

    A state is the number of parts matched so far. Several at once keep `**/a/**` from finding a file twice.
    """
    if not _is_new(folder, seen):
        return
    for entry in _entries(folder):
        after = _step(states, parts, entry.name)
        matched = len(parts) in after
        path, alone = folder / entry.name, matched and _is_wanted(entry.name, parts[-1])
        if after and _is_folder(entry):
            below = (_EVERYTHING, _START) if matched else (parts, after)
            found = _walk(path, *below, seen)
            first = next(found, None)
            alone = first is None and matched and _has_image_suffix(entry.name)
            yield from chain([first] if first else [], found)
        if alone:
            yield path


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        info = folder.stat()
    except OSError:
        return False
    new = (info.st_dev, info.st_ino) not in seen
    seen.add((info.st_dev, info.st_ino))
    return new


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # a folder without permission is passed over, as a shell's glob does
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _step(states: frozenset[int], parts: tuple[str, ...], name: str) -> frozenset[int]:
    after: set[int] = set()
    for state in states:
        while state < len(parts) and parts[state] == _ANY_DEPTH:
            if not name.startswith("."):
                after.add(state)  # one more folder for the `**`
            state += 1  # and the `**` that matches nothing
        if state < len(parts) and _matches(name, parts[state]):
            after.add(state + 1)
    return frozenset(after)


def _matches(name: str, part: str) -> bool:
    """As a shell: a name that starts with a dot only matches a pattern that does."""
    return (part.startswith(".") or not name.startswith(".")) and fnmatch.fnmatch(name, part)


def _is_wanted(name: str, last_part: str) -> bool:
    """A pattern that ends in `*` means pictures; one that spells its ending out is taken at its word."""
    return not last_part.endswith("*") or _has_image_suffix(name)


def _has_image_suffix(path: str) -> bool:
    return os.path.splitext(path.rstrip("/\\"))[1].lower() in IMAGE_SUFFIXES


def _own_stdin() -> BinaryIO:
    """Standard input through a reader of its own: Python could not end while a thread waits in `sys.stdin`'s."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # not a real one: a test's, a notebook's
        return sys.stdin.buffer


def _from_stdin(stdin: BinaryIO, offline: bool) -> Iterator[Source]:
    found = _from_lines((raw.decode("utf-8", "surrogateescape") for raw in stdin), "stdin", None, offline)
    first = next(found, None)
    if first is None:
        raise UsageError("stdin named no picture; write one path or URL per line")
    yield from chain([first], found)


def _from_list(path: str, offline: bool) -> Iterator[Source]:
    try:
        with open(path, encoding=_encoding(path), errors="surrogateescape") as lines:
            yield from _from_lines(lines, f"@{_shown(path)}", Path(path).parent, offline)
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise UsageError(f"@{_shown(path)}: the list cannot be read ({reason}); check the path") from failure


def _encoding(path: str) -> str:
    """UTF-8, or UTF-16 where the file says so: what `>` writes in Windows PowerShell."""
    with open(path, "rb") as stream:
        head = stream.read(2)
    return "utf-16" if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"


def _from_lines(lines: Iterable[str], where: str, folder: Path | None, offline: bool) -> Iterator[Source]:
    """One file, folder or URL per line; blank lines and those that begin with `#` are passed over."""
    for line in lines:
        if "\0" in line:
            raise UsageError(f"{where} holds binary data; give it one path or URL per line")
        line = line.strip("\ufeff \t\r\n")
        if _is_url(line):
            yield Source(_shown(line), line, offline)
        elif line and not line.startswith("#"):
            yield from _from_path(_resolved(line, folder), line)


def _resolved(line: str, folder: Path | None) -> str:
    """The first that exists: `line` from here, from the list's folder, and each with backslashes read as slashes."""
    spellings = [line, line.replace("\\", "/")]
    candidates = spellings + [os.path.join(folder, spelling) for spelling in spellings if folder]
    return next((path for path in candidates if os.path.exists(path)), line)


def _is_url(text: str) -> bool:
    return bool(_URL.match(text))


def _shown(name: str) -> str:
    """`name` as valid Unicode on one line: bytes that are not UTF-8, and control characters, become escapes."""
    readable = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), readable)


def fetch(url: str, max_bytes: int = MAX_DOWNLOAD_BYTES, stall: float = STALL_SECONDS) -> bytes:
    """The body behind an http(s) URL, redirects followed to http(s) only.

    Args:
        url: as typed; spaces and letters beyond ASCII in its path are quoted.
        max_bytes: more than this is refused.
        stall: seconds to wait for the next byte; the whole may take `TOTAL_SECONDS`.

    Raises:
        ImageError: one line with the server's answer, or the reason that there was none.
    """
    try:
        asked = request.Request(parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers={"User-Agent": _USER_AGENT})
        with _opener().open(asked, timeout=stall) as response:
            return _body(response, _shown(url), max_bytes)
    except error.HTTPError as failure:
        failure.close()
        answer = f"{failure.code} {http.client.responses.get(failure.code, '')}".strip()
        raise ImageError(f"{_shown(url)}: the server answers {answer}; check the URL") from None
    except TimeoutError:
        raise ImageError(f"{_shown(url)}: no answer within {stall:g} s; try again later") from None
    except (OSError, http.client.HTTPException, ValueError) as failure:
        reason = " ".join(str(getattr(failure, "reason", failure)).split()) or type(failure).__name__
        raise ImageError(f"{_shown(url)}: cannot be fetched ({reason}); check the URL and the network") from failure


def _opener() -> request.OpenerDirector:
    """Python's own, without the handlers for file:, ftp: and data:, to which a redirect could lead."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _body(response: http.client.HTTPResponse, name: str, max_bytes: int) -> bytes:
    expected = response.headers.get("Content-Length", "")
    body, deadline = bytearray(), time.monotonic() + TOTAL_SECONDS
    while chunk := response.read(1 << 16):
        body += chunk
        if len(body) > max_bytes:
            raise ImageError(f"{name}: more than {max_bytes / 1e6:g} MB; download it yourself and give the file")
        if time.monotonic() > deadline:
            raise ImageError(f"{name}: not finished after {TOTAL_SECONDS:g} s; download it yourself and give the file")
    if expected.isdecimal() and len(body) < int(expected):
        raise ImageError(f"{name}: cut short after {len(body)} of {expected} bytes; try again")
    if body.lstrip().startswith((b"<", b"{")):
        kind = response.headers.get_content_type()
        raise ImageError(f"{name}: the server sent text ({kind}), not a picture; give the picture's own URL")
    return bytes(body)
