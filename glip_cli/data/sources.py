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
from typing import TYPE_CHECKING, BinaryIO

from glip_cli.data.archives import Place, images_in_archive, is_archive, read_place, why_no_image
from glip_cli.data.download import fetch
from glip_cli.data.frame_inputs import Frame, FrameChoice, in_frames
from glip_cli.data.image_files_below import (
    Passed,
    has_image_suffix,
    images_below,
    images_matching,
    split_parts,
    split_pattern,
)
from glip_cli.data.stores import (
    check_installed,
    has_magic,
    images_in_store,
    is_object,
    is_stored,
    open_stored,
    read_stored,
)
from glip_cli.errors import ImageError, UnavailableError, UsageError
from glip_cli.utils.frames import Clip
from glip_cli.utils.text_format import one_line, open_text, shown_url, text_of, why_unreadable
from glip_cli.utils.threads import READ_SECONDS, within

if TYPE_CHECKING:
    from PIL import Image

    from glip_cli.outputs.records import Position

_NUMBERS = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_WEB = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class ImageInput:
    """One image that is still to be read.

    Attributes:
        name: what records and errors call it: as typed, or the path as found; always valid Unicode.
        location: a path, or a URL: http(s), or of a store.
        offline: True forbids the network.
        frame: which one of the file; None for the whole.
        place: where in the file `location` it lies, if that is one of many images; see `archives`.
    """

    name: str
    location: str
    offline: bool = False
    frame: Frame | None = None
    place: Place | None = None

    @property
    def is_url(self) -> bool:
        return _is_url(self.location)

    @property
    def clip(self) -> Clip | None:
        """The video that it is a frame of."""
        return self.frame.clip if self.frame else None

    @property
    def position(self) -> Position:
        """What its record says of a frame."""
        if self.frame is None:
            return {}
        if self.frame.time is None:
            return {"frame": self.frame.number}
        return {"frame": self.frame.number, "time": round(float(self.frame.time), 6)}

    def open(self) -> bytes | Path | Image.Image:
        """The bytes behind a URL, a path, or the image of a frame: what `read_image` takes.

        Raises:
            UnavailableError: the URL cannot be fetched.
            ImageError: `offline` forbids it, or no such scheme can be fetched; the body is no image; the frame cannot
                be decoded.
            UsageError: the package that reads such a store is missing.
        """
        if self.frame is not None:
            return self.frame.image()
        if self.is_url and self.offline:
            raise ImageError(f"{self.name}: --offline forbids fetching it; download it first or drop --offline")
        if self.place is not None:
            return read_place(self.location, self.place, self.name)
        if _is_web(self.location):
            return fetch(self.location)
        if is_archive(self.location) and not os.path.isdir(self.location):
            raise why_no_image(self.location, self.name)
        if is_stored(self.location):
            return read_stored(self.location, self.name)
        if "://" in self.location and not os.path.lexists(self.location):
            raise ImageError(f"{self.name}: no such file; only http, https, s3, gs and hf can be fetched")
        return Path(self.location)


def expand(
    inputs: str | Iterable[str],
    *,
    offline: bool = False,
    stdin: BinaryIO | None = None,
    own: Sequence[Path] = (),
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
        own: folders into which the command writes images: what is found there by a folder or glob above them is
            left out, or `glip batch . -o run` would go on with its own drawings.
        passed: counts what is passed over in folders.
        frames: which frames of videos and of images that hold several are read, each an input of its own, decoded
            when its turn comes; None: of images the first, and no videos.

    Raises:
        UsageError: at once, where a folder, glob or list names no image; when its turn comes, for `-`.
    """
    given = (inputs,) if isinstance(inputs, str) else inputs
    left_out = tuple(os.path.realpath(folder) + os.sep for folder in own)
    look = InputScan(offline, stdin, left_out, passed or Passed(), frames)
    return chain.from_iterable([look.begin(_without_nul(text)) for text in given])


def image_in_list(text: str, folder: Path, offline: bool = False) -> ImageInput:
    """The one image that a line of a file in `folder` names: a URL, or a path from here or from that folder."""
    if _is_url(text):
        return ImageInput(shown_url(text), text, offline)
    return ImageInput(one_line(text), _resolved(text, folder), offline)


def is_cheap_to_count(inputs: Iterable[str]) -> bool:
    """Whether a second look costs little: a pipe has none, and for its index all of a tar in a store is fetched."""
    return not any(text == "-" or (is_stored(text) and is_archive(text)) for text in inputs)


def common_folder(inputs: Iterable[str]) -> str:
    """The deepest folder that holds every file and folder that `inputs` name, as their names begin; "" without one.

    What is made from images mirrors the folders below it. A list, stdin and URLs of the web do not count.
    """
    folders = [_folder_of(text).parts for text in inputs if text != "-" and not _is_web(text) and not _is_list(text)]
    common = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))]
    return one_line(str(Path(*common))) if common else ""


def _folder_of(text: str) -> Path:
    if is_stored(text):
        fixed, _ = split_parts(Path(shown_url(text)).parts)
        is_one = has_image_suffix(fixed[-1]) or is_archive(fixed[-1])
        return Path(*fixed).parent if is_one else Path(*fixed)
    path = text if os.path.lexists(text) else os.path.expanduser(text)
    if glob.has_magic(path) and not os.path.lexists(path):
        return split_pattern(path)[0]
    return Path(path) if _is_folder(path) else Path(path).parent


def _is_list(text: str) -> bool:
    return text.startswith("@") and not os.path.lexists(text)


def _without_nul(text: str) -> str:
    """No shell can type it, but a program can hand it over, and systems refuse such paths each in its own way."""
    if "\0" in text:
        raise UsageError(f"{one_line(text)}: a NUL character is in no path; give a file, a folder, a glob or a URL")
    return text


@dataclass(frozen=True)
class InputScan:
    """How inputs are looked up; see `expand`. `own` are real paths that end in a separator."""

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
        searched = not _is_url(text) and (os.path.isdir(text) or glob.has_magic(text))
        if not searched or f"{os.path.realpath(text)}{os.sep}".startswith(self.own):
            return found
        return (source for source in found if not os.path.realpath(source.location).startswith(self.own))

    def _expand(self, text: str) -> Iterator[ImageInput]:
        if text == "-":
            yield from self._from_stdin()
        elif _is_web(text):
            yield ImageInput(shown_url(text), text, self.offline)
        elif _is_list(text):
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
        is_folder = _is_folder(path)
        found = map(_found, images_below(Path(path), self.passed, self._videos)) if is_folder else iter(())
        first = next(found, None)
        if first is not None:
            yield from chain([first], found)
        elif not is_folder:
            yield from self._from_file(path, name)
        elif has_image_suffix(path):
            yield ImageInput(one_line(name), path)

    def _from_file(self, location: str, name: str) -> Iterator[ImageInput]:
        """The file or object, or the images that it holds; one that cannot be read fails when it is opened."""
        name = shown_url(name) if is_stored(location) else one_line(name)
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
            if _is_web(line):
                yield ImageInput(shown_url(line), line, self.offline)
            elif is_stored(line):
                yield from self._from_store(line)
            elif not line or line.startswith("#"):
                continue
            elif isinstance(folder, str):
                yield from self._from_store(f"{folder}/{line}")
            else:
                yield from self._from_path(_resolved(line, folder), line)


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
        return "the folder holds no image; name one that does, or files of it with a glob such as 'folder/*'"
    if text.startswith("@"):
        return "the list names no image; write one path or URL per line"
    return "no file matches; check the pattern, and that its quotes are the shell's"


def _is_folder(path: str) -> bool:
    """False too where no answer comes: the file then fails alone, when it is read."""
    try:
        return within(READ_SECONDS, os.path.isdir, path)
    except TimeoutError:
        return False


def _found(path: Path) -> ImageInput:
    return ImageInput(one_line(str(path)), str(path))


def _own_stdin() -> BinaryIO:
    """Standard input through a reader of its own: Python could not end while a thread waits in `sys.stdin`'s."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # not a real one: a test's, a notebook's
        return sys.stdin.buffer


def _resolved(line: str, folder: Path | None) -> str:
    """The first that exists: `line` from here, from the list's folder, and each with backslashes read as slashes."""
    spellings = [line, line.replace("\\", "/")]
    candidates = spellings + [os.path.join(folder, spelling) for spelling in spellings if folder]
    try:
        return within(READ_SECONDS, lambda: next((path for path in candidates if os.path.exists(path)), line))
    except TimeoutError:
        return line


def _is_url(text: str) -> bool:
    return _is_web(text) or is_stored(text)


def _is_web(text: str) -> bool:
    return bool(_WEB.match(text))
