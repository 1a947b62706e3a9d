"""The caches: their files, damage, free space, and the hosts that files come from."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from glip_cli.checkpoints import cache, hub, registry
from glip_cli.checkpoints.fetch import hub_is_offline
from glip_cli.doctor.checks import Check
from glip_cli.utils.http import USER_AGENT, why_unreachable
from glip_cli.utils.text_format import byte_size, counted

ROOM = 3e9  # bytes: GLIP-T as published (1 GB) and converted
SAFETENSORS_HEAD = 8  # bytes: the length of the header
MOST_HEADER = 100_000_000  # bytes: longer ones no reader takes
NOTES = {".lock", ".version"}  # a few bytes each, about the files beside them
ZIP = b"PK\x03\x04"


def check_cache(verify: bool = False) -> Iterator[Check]:
    """The cache; with `verify` every file is read and its hash compared where one is known."""
    folder = cache.default_dir()
    yield _place(folder)
    try:
        files = sorted(_files(folder))
    except OSError as error:
        remedy = "correct its rights, or set GLIP_CACHE to another folder"
        yield Check("contents", "unknown", f"cannot be read ({error.strerror})", remedy)
    else:
        hashes = known_hashes() if verify else {}
        kept = [path for path in files if path.suffix not in NOTES and path.parent.name != "hashes"]
        yield from (_file(path, folder, hashes) for path in kept)
        yield Check("total", f"{byte_size(sum(map(_bytes, kept)))} in {counted(len(kept), 'file')}")
    yield _room(folder)


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
    """The folder, or the nearest one above it that exists."""
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
    name, value = str(path.relative_to(folder)), byte_size(_bytes(path))
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
    """The damage of a file, from its head and its end only; None if they look right. Raises OSError."""
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
        return Check(
            "free disk space", byte_size(free), f"is little: glip-t needs {byte_size(ROOM)} to be fetched", remedy
        )
    return Check("free disk space", byte_size(free))


# ---------------------------------------------------------------------------------------------------------------- hosts
# Whether the places that weights come from can be reached, each asked for the head of one of its files.


PATIENCE = 5.0  # seconds for one host, name look-up included
REACHABLE = "reachable"
REMEDY = f"check the connection and HTTPS_PROXY; without a network use --weights FILE, or -m {registry.EMBEDDED}"


def one_file_per_host() -> dict[str, str]:
    """Host -> the URL of one of its files, for every host of weights.toml; $HF_ENDPOINT replaces huggingface.co."""
    urls = [url for one in registry.all() for url in one.urls]
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    found: dict[str, str] = {}
    for url in urls:
        asked = endpoint + urlsplit(url).path if endpoint and hub.serves(url) else url
        found.setdefault(urlsplit(asked).netloc.rpartition("@")[2], asked)  # no password in a report
    return found


def check_network(
    offline: bool = False, files: Mapping[str, str] | None = None, patience: float = PATIENCE
) -> Iterator[Check]:
    """One finding per host; no request is sent where that is forbidden.

    Args:
        offline: the network is not to be used; HF_HUB_OFFLINE means the same.
        files: host -> URL; by default those of weights.toml.
        patience: seconds in which a host must have answered.
    """
    if offline or hub_is_offline():
        yield Check("hosts", f"not asked, because of {'--offline' if offline else 'HF_HUB_OFFLINE'}")
        return
    files = one_file_per_host() if files is None else files
    answers = request_heads(list(files.values()), patience)
    for host, url in files.items():
        if answer := answers.get(url, f"no answer for {patience:g} seconds"):
            yield Check(host, "not reachable", f"cannot be asked for files: {answer}", REMEDY)
        else:
            yield Check(host, REACHABLE)


def request_heads(urls: Sequence[str], patience: float) -> dict[str, str | None]:
    """URL -> its error or None, for those that answered in time.

    The threads are daemons: a name look-up that takes a minute blocks nothing.
    """
    answers: dict[str, str | None] = {}
    threads = [
        threading.Thread(target=lambda url=url: answers.update({url: request_head(url, patience)}), daemon=True)
        for url in urls
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(answers)


def request_head(url: str, patience: float) -> str | None:
    """None where the server would give the file, else why not."""
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": USER_AGENT})
        with urllib.request.urlopen(request, timeout=patience):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"answers {error.code} {error.reason}"
    except (OSError, HTTPException, ValueError) as error:
        return why_unreachable(error)
