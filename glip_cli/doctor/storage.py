"""What lies in the caches, whether it is whole, and whether there is room for more."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from glip_cli.checkpoints import cache, registry
from glip_cli.doctor.checks import Check, CheckGroup, size
from glip_cli.utils.text_format import counted

ROOM = 3e9  # bytes: GLIP-T as published (1 GB) and converted
SAFETENSORS_HEAD = 8  # bytes: the length of the header
MOST_HEADER = 100_000_000  # bytes: longer ones no reader takes
NOTES = {".lock", ".version"}  # a few bytes each, about the files beside them
ZIP = b"PK\x03\x04"


def check_cache(verify: bool = False) -> CheckGroup:
    """The cache; with `verify` every file is read and its hash compared where one is known."""
    folder = cache.default_dir()
    findings = [_place(folder)]
    try:
        files = sorted(_files(folder))
    except OSError as error:
        remedy = "correct its rights, or set GLIP_CACHE to another folder"
        unreadable = Check("contents", "unknown", f"cannot be read ({error.strerror})", remedy)
        return CheckGroup("cache", (*findings, unreadable, _room(folder)))
    hashes = known_hashes() if verify else {}
    kept = [path for path in files if path.suffix not in NOTES and path.parent.name != "hashes"]
    findings += [_file(path, folder, hashes) for path in kept]
    findings.append(Check("total", f"{size(sum(map(_bytes, kept)))} in {counted(len(kept), 'file')}"))
    return CheckGroup("cache", (*findings, _room(folder)))


def _place(folder: Path) -> Check:
    there = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass  # permission bits alone would not tell of a read-only file system
    except OSError as error:
        problem = f"cannot be written ({error.strerror}): nothing can be fetched, and every start converts again"
        return Check("folder", str(folder), problem, "set GLIP_CACHE to a folder that can be written")
    return Check("folder", str(folder) + ("" if there == folder else "  (not there yet)"))


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    # os.path's, which takes what it may not look at for absent; Path's raises
    return next((path for path in (folder, *folder.parents) if os.path.exists(path)), Path("/"))


def _files(folder: Path) -> Iterator[Path]:
    """Raises OSError where a folder of the cache cannot be read; nothing where there is no cache."""

    def stop(error: OSError) -> None:
        raise error

    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    for path, _, names in os.walk(folder, onerror=stop):
        yield from (Path(path) / name for name in names)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone meanwhile, or a link to nothing
        return 0


def _file(path: Path, folder: Path, hashes: Mapping[str, str]) -> Check:
    name, value = str(path.relative_to(folder)), size(_bytes(path))
    if path.name.endswith(".part"):
        return Check(name, f"{value}, unfinished: the next fetch resumes it")
    if path.name.endswith(".tmp"):
        return Check(name, value, "is what a process that was killed left", f"rm '{path}'")
    try:
        damage = damage_of(path) or _other_than(path, hashes.get(path.name))
    except OSError as error:
        return Check(name, value, f"cannot be read ({error.strerror})", f"correct its rights, or rm '{path}'")
    if damage:
        return Check(name, value, damage, f"rm '{path}', then glip weights fetch")
    return Check(name, value + (", verified" if path.name in hashes else ""))


def damage_of(path: Path) -> str | None:
    """What is wrong with a file, from its head and its end alone; None where that looks right. Raises OSError."""
    length = path.stat().st_size
    if not length:
        return "is empty"
    with path.open("rb") as file:
        head = file.read(SAFETENSORS_HEAD + 1)
    if path.suffix == ".safetensors":
        header = int.from_bytes(head[:SAFETENSORS_HEAD], "little")
        whole = len(head) > SAFETENSORS_HEAD and head[-1:] == b"{" and header <= min(length, MOST_HEADER)
        return None if whole else "is cut short or damaged"
    if head.startswith(ZIP) and not zipfile.is_zipfile(path):  # the list of contents stands at the end
        return "is cut short"
    return None


def _other_than(path: Path, expected: str | None) -> str | None:
    if expected is None or cache.sha256(path).startswith(expected):
        return None
    return f"is not the published file: its hash does not begin with {expected[:8]}"


def known_hashes() -> dict[str, str]:
    """File name in the cache -> as many leading hex digits of its sha256 as are published."""
    rows = [(url, one.hash) for one in registry.all() for url in one.urls]
    return {url.rpartition("/")[2]: known for url, known in rows if known}


def _room(folder: Path) -> Check:
    try:
        free = shutil.disk_usage(_nearest(folder)).free
    except OSError as error:
        return Check("free disk space", f"unknown ({error.strerror})")
    if free < ROOM:
        remedy = "make room, or set GLIP_CACHE (and HF_HOME) to a folder on another disk"
        return Check("free disk space", size(free), f"is little: glip-t needs {size(ROOM)} to be fetched", remedy)
    return Check("free disk space", size(free))
