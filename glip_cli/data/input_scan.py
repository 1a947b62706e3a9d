"""What one INPUT of a command line names, looked up lazily: folders, globs, lists, stores, files of many images."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from glip_cli.data.archives import images_in_archive, is_archive
from glip_cli.data.frame_inputs import FrameChoice, in_frames
from glip_cli.data.image_files_below import Passed, has_image_suffix, images_below, images_matching
from glip_cli.data.image_input import ImageInput, is_url, is_web, shown_file
from glip_cli.data.stores import check_installed, has_magic, images_in_store, is_object, is_stored, open_stored
from glip_cli.errors import ImageError, UnavailableError, UsageError
from glip_cli.utils.text_format import one_line, open_text, shown_path, shown_url, text_of, why_unreadable
from glip_cli.utils.threads import READ_SECONDS, within

_NUMBERS = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")


@dataclass(frozen=True)
class InputScan:
    """How inputs are looked up; see `expand`. `own` are real paths and URLs, which end in a separator."""

    offline: bool
    stdin: BinaryIO | None
    own: tuple[str, ...]
    passed: Passed
    frames: FrameChoice | None = None

    def begin(self, text: str) -> Iterator[ImageInput]:
        """What `text` names, its first image already looked up; of `-` and lists the writer may take its time."""
        if text == "-" or text.startswith("@"):
            return self._begin(text)
        try:
            return within(READ_SECONDS, self._begin, text)
        except TimeoutError:
            raise UsageError(
                f"{one_line(text)}: not opened within {READ_SECONDS:g} s; check the disk or network it is on"
            ) from None

    def _begin(self, text: str) -> Iterator[ImageInput]:
        found = self._without_own(text, self._expand(text))
        if self.frames:
            found = chain.from_iterable(in_frames(source, self.frames) for source in found)
        if text == "-":
            return found
        first = next(found, None)
        if first is None:
            raise UsageError(
                f"{one_line(text)}: {_why_empty(text)}{''.join(f' ({note})' for note in self.passed.notes)}"
            )
        return chain([first], found)

    @property
    def _videos(self) -> bool:
        """Whether folders are searched for videos too."""
        return self.frames is not None and self.frames.all

    def _without_own(self, text: str, found: Iterator[ImageInput]) -> Iterator[ImageInput]:
        if is_stored(text):
            is_own = text.startswith(self.own)
            return (source for source in found if is_own or not source.location.startswith(self.own))
        searched = not is_url(text) and (os.path.isdir(text) or glob.has_magic(text))
        if not searched or f"{os.path.realpath(text)}{os.sep}".startswith(self.own):
            return found
        return (source for source in found if not os.path.realpath(source.location).startswith(self.own))

    def _expand(self, text: str) -> Iterator[ImageInput]:
        if text == "-":
            yield from self._from_stdin()
        elif is_web(text):
            yield ImageInput(shown_url(text), text, self.offline)
        elif is_list(text):
            yield from self._from_list(text[1:])
        elif (numbered := _numbered(text)) is not None:
            for one in numbered:
                yield from self._expand(one)
        elif is_stored(text):
            yield from self._from_store(text, is_pattern=has_magic(text))
        else:
            path = text if os.path.lexists(text) else os.path.expanduser(text)
            is_pattern = glob.has_magic(path) and not os.path.lexists(path)
            if is_pattern:
                for found in images_matching(path, self.passed, self._videos):
                    yield from self._from_file(str(found), str(found))
            else:
                yield from self._from_path(path, text)

    def _from_path(self, path: str, name: str) -> Iterator[ImageInput]:
        """A folder's images, or the one file, which may be missing.

        A folder that is called as an image is, and holds none, is taken for that image: it fails when it is opened.
        """
        is_dir = is_folder(path)
        found = map(_found, images_below(Path(path), self.passed, self._videos)) if is_dir else iter(())
        first = next(found, None)
        if first is not None:
            yield from chain([first], found)
        elif not is_dir:
            yield from self._from_file(path, name)
        elif has_image_suffix(path):
            yield ImageInput(shown_file(name, path), path)

    def _from_file(self, location: str, name: str) -> Iterator[ImageInput]:
        """The file or object, or the images that it holds; one that cannot be read fails when it is opened."""
        name = shown_url(name) if is_stored(location) else shown_file(name, location)
        whole = ImageInput(name, location, self.offline)
        if not is_archive(location) or os.path.isdir(location):
            yield whole
            return
        if self.offline and whole.is_url:
            raise UsageError(f"{name}: --offline forbids reading it; copy it first or drop --offline")
        is_empty = True
        try:
            for inner, place in images_in_archive(location, name):
                is_empty = False
                yield replace(whole, name=inner, place=place)
        except ImageError:
            is_empty = True
        if is_empty:
            yield whole

    def _from_store(self, url: str, is_pattern: bool = False) -> Iterator[ImageInput]:
        """A folder's images, what a pattern names, or the one object, which may be missing."""
        is_one = has_image_suffix(url) or is_archive(url)
        if self.offline and not is_one:
            raise UsageError(f"{shown_url(url)}: --offline forbids listing it; copy it first or drop --offline")
        if not self.offline:
            check_installed(url)
        if is_one and (self.offline or not is_pattern or is_object(url)):
            yield from self._from_file(url, url)
            return
        found = images_in_store(url if is_pattern else glob.escape(url), self.passed)
        first = next(found, None)
        for image in chain([first], found) if first else ():
            yield from self._from_file(image, image)
        if first is None and not is_pattern and not url.endswith("/"):
            yield ImageInput(shown_url(url), url)

    def _from_stdin(self) -> Iterator[ImageInput]:
        stdin = self.stdin or _own_stdin()
        found = self._from_lines((raw.decode("utf-8", "surrogateescape") for raw in stdin), "stdin", None)
        first = next(found, None)
        if first is None:
            raise UsageError("stdin named no image; write one path or URL per line")
        yield from chain([first], found)

    def _from_list(self, path: str) -> Iterator[ImageInput]:
        if is_stored(path):
            yield from self._from_stored_list(path)
            return
        try:
            with open_text(path, errors="surrogateescape") as lines:
                yield from self._from_lines(lines, f"@{one_line(path)}", Path(path).parent)
        except (OSError, UnicodeError) as failure:
            reason = why_unreadable(failure)
            raise UsageError(f"@{one_line(path)}: the list cannot be read ({reason}); check the path") from failure

    def _from_stored_list(self, url: str) -> Iterator[ImageInput]:
        where = f"@{shown_url(url)}"
        if self.offline:
            raise UsageError(f"{where}: --offline forbids fetching it; copy it first or drop --offline")
        try:
            with text_of(open_stored(url), errors="surrogateescape") as lines:
                yield from self._from_lines(lines, where, url.rpartition("/")[0])
        except UnavailableError as failure:
            raise UsageError(f"@{failure}") from None

    def _from_lines(self, lines: Iterable[str], where: str, folder: Path | str | None) -> Iterator[ImageInput]:
        """One file, folder or URL per line; blank lines and those that begin with `#` are passed over.

        `folder` is what relative paths may begin in: of this machine, or the URL of a folder in a store.
        """
        for line in lines:
            if "\0" in line:
                raise UsageError(f"{where} holds binary data; give it one path or URL per line")
            line = line.strip("\ufeff \t\r\n")
            if is_web(line):
                yield ImageInput(shown_url(line), line, self.offline)
            elif is_stored(line):
                yield from self._from_store(line)
            elif not line or line.startswith("#"):
                continue
            elif isinstance(folder, str):
                yield from self._from_store(f"{folder}/{line}")
            else:
                yield from self._from_path(resolved(line, folder), line)


def _numbered(text: str) -> Iterator[str] | None:
    """ "x-{000..012}.tar" as webdataset and shells mean it: "x-000.tar" and so on; None for a text without."""
    match = _NUMBERS.search(text)
    if match is None or os.path.lexists(text):
        return None
    width = len(match[1])
    return (f"{text[: match.start()]}{number:0{width}}{text[match.end() :]}" for number in
            range(int(match[1]), int(match[2]) + 1))  # fmt: skip


def _why_empty(text: str) -> str:
    if is_stored(text) and not has_magic(text):
        return "no image below it; check the URL and the credentials, or name other files of it with a glob"
    if os.path.isdir(text):
        return "the folder holds no image; name one that does, or files of it with a glob such as 'folder/*.tar'"
    if text.startswith("@"):
        return "the list names no image; write one path or URL per line"
    return "no file matches; check the pattern, and that its quotes are the shell's"


def is_folder(path: str) -> bool:
    """False too where no answer comes: the file then fails alone, when it is read."""
    try:
        return within(READ_SECONDS, os.path.isdir, path)
    except TimeoutError:
        return False


def _found(path: Path) -> ImageInput:
    return ImageInput(shown_path(str(path)), str(path))


def _own_stdin() -> BinaryIO:
    """Standard input through a reader of its own: Python could not end while a thread waits in `sys.stdin`'s."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # not a real one: a test's, a notebook's
        return sys.stdin.buffer


def resolved(line: str, folder: Path | None) -> str:
    """The first that exists: `line` from here, from the list's folder, and each with backslashes read as slashes."""
    spellings = [line, line.replace("\\", "/")]
    candidates = spellings + [os.path.join(folder, spelling) for spelling in spellings if folder]
    try:
        return within(READ_SECONDS, lambda: next((path for path in candidates if os.path.exists(path)), line))
    except TimeoutError:
        return line


def is_list(text: str) -> bool:
    """Whether it is @LIST, and not the path of something called so."""
    return text.startswith("@") and not os.path.lexists(text)
