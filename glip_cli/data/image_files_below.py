"""The images below a folder, or that a glob names, as a shell finds them: lazily, sorted, each real folder once."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from glip_cli.utils.marks import holds_records, is_marked
from glip_cli.utils.text_format import counted, one_line
from glip_cli.utils.threads import READ_SECONDS, within

SHOWN_SUFFIXES = 8  # in a note

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Of phones; read where pillow-heif is installed."""
HEIF_EXTRA = "pip install 'glip-cli[heic]'"
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
"""Read where they are named, and in folders where that is asked for."""
VIDEO_ADVICE = "videos are read where they are named, or in folders with --frames all"
# Also taken for images: other formats, cameras' raw files, drawings, videos.
# fmt: off
UNREAD_SUFFIXES = frozenset({
    ".3fr", ".3gp", ".ai", ".arw", ".avi", ".avci", ".cr2", ".cr3", ".dcm", ".dng", ".eps", ".exr", ".fits", ".flv",
    ".hdr", ".heics", ".heifs", ".ico", ".icns", ".jxl", ".jxr", ".m2ts", ".m4v", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".nef", ".nrw", ".orf", ".pdf", ".pef", ".psd", ".raf", ".raw", ".rw2",
    ".sr2", ".srw", ".svg", ".webm", ".wmv", ".xcf",
})
# fmt: on
OUTPUTS = frozenset({"vis", "crops", "thumbnails", "grid.jpg"})
"""Folders into which glip writes images, and a file, beside its results."""
_ANY_DEPTH = "**"
_EVERYTHING = (_ANY_DEPTH, "*")
_START = frozenset([0])


@dataclass
class Passed:
    """Counts of files in folders that are no images, by kind.

    Attributes:
        files: by suffix, in lower case, those that may be taken for images.
        folders: that could not be opened.
        outputs: folders of images, and files, that glip wrote.
        reads_outputs: nothing is passed over for that.
        advice: what is said where videos are among the files.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    reads_outputs: bool = False
    advice: str = ""

    def add(self, name: str) -> None:
        suffix = os.path.splitext(name)[1].lower()
        if suffix in UNREAD_SUFFIXES | HEIF_SUFFIXES:
            self.files[suffix] += 1

    def is_output(self, path: Path, first: Path) -> bool:
        """Whether glip wrote this file, or this folder, of which `first` is the first image; counts it."""
        if self.reads_outputs or path.name not in OUTPUTS or not within(READ_SECONDS, _is_written, path, first):
            return False
        self.outputs.append(one_line(str(path)))
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each kind of thing."""
        files, folders, outputs = self.files.most_common(SHOWN_SUFFIXES), self.folders, self.outputs
        each = ", ".join(f"{suffix} {count}" for suffix, count in files) + " ..." * (len(self.files) > len(files))
        if HEIF_SUFFIXES & self.files.keys():
            each += f" (to read HEIC: {HEIF_EXTRA})"
        if self.advice and VIDEO_SUFFIXES & self.files.keys():
            each += f" ({self.advice})"
        return tuple(
            line
            for there, line in (
                (files, f"{counted(self.files.total(), 'file')} of formats that are not read: {each}"),
                (folders, f"{counted(len(folders), 'folder')} cannot be opened: {' ...'.join(folders[:1])}"),
                (
                    outputs,
                    f"{counted(len(outputs), 'output')} of glip passed over: {', '.join(outputs[:2])}"
                    f"{' ...' * (len(outputs) > 2)}; name it as INPUT to read it",
                ),
            )
            if there
        )


def images_below(folder: Path, passed: Passed | None = None, videos: bool = False) -> Iterator[Path]:
    """At any depth, by their suffix, nothing hidden. A folder called x.jpg without an image is given too.

    With `videos` those too. With `passed`, which then counts them, nothing that glip wrote below the folder.
    """
    return _walk(folder, _EVERYTHING, _START, set(), passed or Passed(reads_outputs=True), videos)


def images_matching(pattern: str, passed: Passed | None = None, videos: bool = False) -> Iterator[Path]:
    """`*`, `?`, `[ab]` within a name, `**` over any number of folders; a folder that matches gives its images.

    With `passed`, which then counts them, nothing that glip wrote and the pattern does not name.
    """
    folder, parts = split_pattern(pattern)
    return _walk(folder, parts, _START, set(), passed or Passed(reads_outputs=True), videos)


def split_pattern(pattern: str) -> tuple[Path, tuple[str, ...]]:
    """The folder in which a glob searches, and the parts that are to match below it."""
    fixed, parts = split_parts(Path(pattern).parts)
    return Path(*fixed), parts


def split_parts(parts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The parts before the first wildcard, and the rest; without a wildcard, all of them and "any image below"."""
    parts += ("*",) if parts[-1] == _ANY_DEPTH else ()
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return parts[:fixed], parts[fixed:] or _EVERYTHING


def is_matched(names: Sequence[str], parts: tuple[str, ...]) -> bool:
    """Whether the file with these folders and this name at their end is one that `_walk` finds."""
    states = _START
    for name in names[:-1]:
        states = _step(states, parts, name)
        if len(parts) in states:  # a folder that matches gives its images
            parts, states = _EVERYTHING, _START
    return len(parts) in _step(states, parts, names[-1]) and _is_wanted(names[-1], parts[-1])


def has_image_suffix(path: str) -> bool:
    suffix = os.path.splitext(path.rstrip("/\\"))[1].lower()
    return suffix in IMAGE_SUFFIXES or (suffix in HEIF_SUFFIXES and reads_heif())


@cache
def reads_heif() -> bool:
    return find_spec("pillow_heif") is not None


def _walk(
    folder: Path, parts: tuple[str, ...], states: frozenset[int], visited: set[tuple[int, int]], passed: Passed,
    videos: bool,
) -> Iterator[Path]:  # fmt: skip
    """Files below `folder` that match `parts`, sorted, each once; and folders called as images that hold none.

    A state is the number of parts matched so far. Several at once keep `**/a/**` from finding a file twice.
    """
    for entry in _opened(folder, visited, passed):
        after = _step(states, parts, entry.name)
        matched = len(parts) in after
        path, without_subfolders = folder / entry.name, matched and _is_wanted(entry.name, parts[-1], videos)
        if after and _is_folder(entry):
            below = (_EVERYTHING, _START) if matched else (parts, after)
            inner = _walk(path, *below, visited, passed, videos)
            first = next(inner, None)
            without_subfolders = first is None and matched and has_image_suffix(entry.name)
            if first and entry.name not in parts and passed.is_output(path, first):
                continue
            yield from chain([first] if first else [], inner)
        elif matched and not without_subfolders:
            passed.add(entry.name)
        if without_subfolders and (entry.name in parts or not passed.is_output(path, path)):
            yield path


def _is_written(path: Path, first: Path) -> bool:
    """Whether it has glip's mark, or holds videos and lies beside glip's records; False where it cannot be read."""
    try:
        if first.suffix.lower() in VIDEO_SUFFIXES:
            return holds_records(path.with_name("results.jsonl"))
        return is_marked(first)
    except OSError:
        return False


def _opened(folder: Path, visited: set[tuple[int, int]], passed: Passed) -> list[os.DirEntry[str]]:
    """The entries of a folder; none for one that was visited before or cannot be opened, as with a shell's glob."""
    try:
        info = within(READ_SECONDS, folder.stat)
        if (info.st_dev, info.st_ino) in visited:
            return []
        visited.add((info.st_dev, info.st_ino))
        return within(READ_SECONDS, _entries, folder)
    except FileNotFoundError:
        return []
    except OSError:
        passed.folders.append(one_line(str(folder)))
        return []


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return within(READ_SECONDS, entry.is_dir) if entry.is_symlink() else entry.is_dir()
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


def _is_wanted(name: str, last_part: str, videos: bool = False) -> bool:
    """A pattern that ends in `*` means images; one that spells its ending out is taken at its word."""
    video = videos and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
    return not last_part.endswith("*") or video or has_image_suffix(name)
