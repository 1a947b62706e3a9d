"""The pictures below a folder, or that a glob names, as a shell finds them: lazily, sorted, each real folder once."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on
_ANY_DEPTH = "**"
_EVERYTHING = (_ANY_DEPTH, "*")
_START = frozenset([0])


def pictures_below(folder: Path) -> Iterator[Path]:
    """At any depth, by their suffix, nothing hidden. A folder called x.jpg without a picture is given too."""
    return _walk(folder, _EVERYTHING, _START, set())


def pictures_matching(pattern: str) -> Iterator[Path]:
    """`*`, `?`, `[ab]` within a name, `**` over any number of folders; a folder that matches gives its pictures."""
    parts = Path(pattern).parts
    parts += ("*",) if parts[-1] == _ANY_DEPTH else ()
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return _walk(Path(*parts[:fixed]), parts[fixed:], _START, set())


def has_image_suffix(path: str) -> bool:
    return os.path.splitext(path.rstrip("/\\"))[1].lower() in IMAGE_SUFFIXES


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
            alone = first is None and matched and has_image_suffix(entry.name)
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
    return not last_part.endswith("*") or has_image_suffix(name)
