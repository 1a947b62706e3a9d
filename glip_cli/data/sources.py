"""From INPUT as typed to a stream of images, in order, one at a time.

    file | folder | glob | http(s) URL | s3://, gs://, hf:// | tar | parquet | @list.txt | -   ->   Source, Source, ...

A million images cost no more memory than the names of one folder, or of one page of a store's listing. An input that
can never give an image (an empty folder, a glob without a match) is a `UsageError` before the first image; a single
image that cannot be had is an `ImageError` when it is opened, so that the others go on.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from pathlib import Path
from typing import BinaryIO, TypeVar

from glip_cli.data.archives import images_in_archive, is_archive
from glip_cli.data.frame_inputs import FrameChoice, in_frames
from glip_cli.data.image_files_below import (
    Passed,
    has_image_suffix,
    images_below,
    images_matching,
    split_parts,
    split_pattern,
)
from glip_cli.data.image_input import ImageInput, is_url, is_web, shown_file
from glip_cli.data.stores import check_installed, has_magic, images_in_store, is_object, is_stored, open_stored
from glip_cli.errors import ImageError, UnavailableError, UsageError
from glip_cli.utils.text_format import one_line, shown_path, shown_url, text_of, why_unreadable
from glip_cli.utils.threads import READ_SECONDS, within

__all__ = ["ImageInput", "common_folder", "expand", "image_in_list", "is_cheap_to_count", "resolved"]

T = TypeVar("T")
_NUMBERS = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")


def expand(
    inputs: str | Iterable[str],
    *,
    offline: bool = False,
    stdin: BinaryIO | None = None,
    own: Sequence[Path | str] = (),
    passed: Passed | None = None,
    frames: FrameChoice | None = None,
) -> Iterator[ImageInput]:
    """Every image that `inputs` name, in their order; inside a folder or glob sorted by name, depth first.

    Folders are read recursively: images by their suffix, nothing hidden, each real folder once (so links
    that lead back do no harm). A folder called x.jpg in which there is no image is given too, and fails
    when it is opened, as a file called so that is none. A path that exists is taken as it is before it is
    read as a glob or a list. An image named twice comes twice.

    Args:
        inputs: the arguments as typed; a single str is one of them.
        offline: URLs then fail when they are opened.
        stdin: where `-` reads paths, one per line; by default the process's own.
        own: folders, or URLs of some, into which the command writes images: what is found there by a folder or glob
            above them is left out, or `glip batch . -o run` would go on with its own drawings.
        passed: counts what is passed over in folders.
        frames: which frames of videos and of images that hold several are read, each an input of its own, decoded
            when its turn comes; None: of images the first, and no videos.

    Raises:
        UsageError: at once, where a folder, glob or list names no image; when its turn comes, for `-`.
    """
    left_out = tuple(f"{one}/" if isinstance(one, str) else os.path.realpath(one) + os.sep for one in own)
    scan = _Scan(offline, stdin, left_out, passed or Passed(), frames)
    return chain.from_iterable([scan.begin(text) for text in ([inputs] if isinstance(inputs, str) else inputs)])


def image_in_list(text: str, folder: Path, offline: bool = False) -> ImageInput:
    """The one image that a line of a file in `folder` names: a URL, or a path from here or from that folder."""
    if is_url(text):
        return ImageInput(shown_url(text), text, offline)
    path = resolved(text, folder)
    return ImageInput(shown_file(text, path), path, offline)


def is_cheap_to_count(inputs: Iterable[str]) -> bool:
    """Whether a second look costs little: a pipe has none, and for its index all of a tar in a store is fetched."""
    return not any(text == "-" or (is_stored(text) and is_archive(text)) for text in inputs)


def common_folder(inputs: Iterable[str]) -> str:
    """The deepest folder that holds every file and folder that `inputs` name, as their names begin; "" without one.

    What is made from images mirrors the folders below it. A list, stdin and URLs of the web do not count.
    """
    folders = [_folder_of(text).parts for text in inputs if text != "-" and not is_web(text) and not _is_list(text)]
    common = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))]
    return shown_path(str(Path(*common))) if common else ""


def _folder_of(text: str) -> Path:
    if is_stored(text):
        fixed, _ = split_parts(Path(shown_url(text)).parts)
        is_one = has_image_suffix(fixed[-1]) or is_archive(fixed[-1])
        return Path(*fixed).parent if is_one else Path(*fixed)
    path, is_pattern = _path_of(text)
    if is_pattern:
        return split_pattern(path)[0]
    return Path(path) if _is_folder(path) else Path(path).parent


@dataclass(frozen=True)
class _Scan:
    """The state of `expand`. `own` are real paths and URLs of output folders, which end in a separator."""

    offline: bool
    stdin: BinaryIO | None
    own: tuple[str, ...]
    passed: Passed
    frames: FrameChoice | None

    def begin(self, text: str) -> Iterator[ImageInput]:
        """The images that `text` names, the first already looked up; those of `-` and lists come as written."""
        if "\0" in text:  # no shell can type it, but a program can, and systems refuse such paths each in its own way
            raise UsageError(f"{one_line(text)}: a NUL character is in no path; give a file, a folder, a glob or a URL")
        if text == "-" or text.startswith("@"):
            return self._begin(text)
        try:
            return within(READ_SECONDS, self._begin, text)
        except TimeoutError:
            raise UsageError(
                f"{one_line(text)}: not opened within {READ_SECONDS:g} s; check the disk or network it is on"
            ) from None

    def _begin(self, text: str) -> Iterator[ImageInput]:
        sources = self._without_own(text, self._expand(text))
        if self.frames:
            sources = chain.from_iterable(in_frames(source, self.frames) for source in sources)
        if text == "-":
            return sources
        first, sources = _peeked(sources)
        if first is None:
            notes = "".join(f" ({note})" for note in self.passed.notes)
            raise UsageError(f"{one_line(text)}: {_why_empty(text)}{notes}")
        return sources

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
            return self._from_stdin()
        if is_web(text):
            return iter([ImageInput(shown_url(text), text, self.offline)])
        if _is_list(text):
            return self._from_list(_path_of(text[1:])[0])
        if (numbered := _NUMBERS.search(text)) and not os.path.lexists(text):
            return chain.from_iterable(map(self._expand, _in_turn(numbered)))
        if is_stored(text):
            return self._from_store(text, is_pattern=has_magic(text))
        path, is_pattern = _path_of(text)
        if not is_pattern:
            return self._from_path(path, text)
        paths = map(str, images_matching(path, self.passed, self._videos))
        return chain.from_iterable(self._from_file(file, file) for file in paths)

    @property
    def _videos(self) -> bool:
        """Whether folders are searched for videos too."""
        return self.frames is not None and self.frames.all

    def _from_path(self, path: str, name: str) -> Iterator[ImageInput]:
        """A folder's images, or the one file, which may be missing.

        A folder that is called as an image is, and holds none, is taken for that image: it fails when it is opened.
        """
        if not _is_folder(path):
            return self._from_file(path, name)
        below = map(str, images_below(Path(path), self.passed, self._videos))
        first, found = _peeked(ImageInput(shown_path(one), one) for one in below)
        if first is None and has_image_suffix(path):
            return iter([ImageInput(shown_file(name, path), path)])
        return found

    def _from_file(self, location: str, name: str) -> Iterator[ImageInput]:
        """The file or object, or the images that it holds; one that cannot be read fails when it is opened."""
        name = shown_url(name) if is_stored(location) else shown_file(name, location)
        archive = ImageInput(name, location, self.offline)
        if not is_archive(location) or os.path.isdir(location):
            yield archive
            return
        if self.offline and archive.is_url:
            raise UsageError(f"{name}: --offline forbids reading it; copy it first or drop --offline")
        is_empty = True
        try:
            for inner, position in images_in_archive(location, name, self.passed):
                is_empty = False
                yield replace(archive, name=inner, member=position)
        except ImageError:
            is_empty = True
        if is_empty:
            yield archive

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
        first, found = _peeked(images_in_store(url if is_pattern else glob.escape(url), self.passed))
        for image in found:
            yield from self._from_file(image, image)
        if first is None and not is_pattern and not url.endswith("/"):
            yield ImageInput(shown_url(url), url)

    def _from_stdin(self) -> Iterator[ImageInput]:
        lines = (raw.decode("utf-8", "surrogateescape") for raw in self.stdin or _own_stdin())
        first, found = _peeked(self._from_lines(lines, "stdin", None))
        if first is None:
            raise UsageError("stdin named no image; write one path or URL per line")
        yield from found

    def _from_list(self, path: str) -> Iterator[ImageInput]:
        where = f"@{shown_url(path) if is_stored(path) else one_line(path)}"
        if is_stored(path) and self.offline:
            raise UsageError(f"{where}: --offline forbids fetching it; copy it first or drop --offline")
        folder = path.rpartition("/")[0] if is_stored(path) else Path(path).parent
        try:
            with text_of(open_stored(path) if is_stored(path) else open(path, "rb"), "surrogateescape") as lines:
                yield from self._from_lines(lines, where, folder)
        except UnavailableError as failure:
            raise UsageError(f"@{failure}") from None
        except (OSError, UnicodeError) as failure:
            reason = why_unreadable(failure)
            raise UsageError(f"{where}: the list cannot be read ({reason}); check the path") from failure

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


def _peeked(found: Iterator[T]) -> tuple[T | None, Iterator[T]]:
    """The first, and all."""
    first = next(found, None)
    return first, found if first is None else chain([first], found)


def _in_turn(numbers: re.Match[str]) -> Iterator[str]:
    """ "x-{000..012}.tar" as webdataset and shells mean it: "x-000.tar" and so on."""
    text, width = numbers.string, len(numbers[1])
    for number in range(int(numbers[1]), int(numbers[2]) + 1):
        yield f"{text[: numbers.start()]}{number:0{width}}{text[numbers.end() :]}"


def _why_empty(text: str) -> str:
    if is_stored(text) and not has_magic(text):
        return "no image below it; check the URL and the credentials, or name other files of it with a glob"
    if os.path.isdir(text):
        return "the folder holds no image; name one that does, or files of it with a glob such as 'folder/*.tar'"
    if text.startswith("@"):
        return "the list names no image; write one path or URL per line"
    return "no file matches; check the pattern, and that its quotes are the shell's"


def _path_of(text: str) -> tuple[str, bool]:
    """A typed path, expanded, and whether it is a pattern."""
    path = text if os.path.lexists(text) else os.path.expanduser(text)
    return path, glob.has_magic(path) and not os.path.lexists(path)


def _is_folder(path: str) -> bool:
    """False too where no answer comes: the file then fails alone, when it is read."""
    try:
        return within(READ_SECONDS, os.path.isdir, path)
    except TimeoutError:
        return False


def _is_list(text: str) -> bool:
    """Whether it is @LIST, and not the path of something called so."""
    return text.startswith("@") and not os.path.lexists(text)


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
