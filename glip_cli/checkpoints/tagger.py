"""The tagger that finds the nouns of a caption: nltk's averaged perceptron, from three JSON files.

They are looked for in the cache and in nltk's own folders, else fetched once as nltk publishes them, in a zip. What
they say is verified wherever they lie, so what is loaded is always the same tagger; the cache keeps them in one
spelling, which is quick to verify. Pickles of older releases are never opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nltk.data
from filelock import FileLock
from nltk.tag.perceptron import PerceptronTagger

from glip_cli.checkpoints import cache, http, registry
from glip_cli.checkpoints.fetch import ProgressCallback, SilentDownload, hub_is_offline
from glip_cli.checkpoints.http import DownloadError
from glip_cli.errors import FetchError

WAYS_OUT = "ways out: name parts of the --caption with --phrases, or write them as [bracketed] words"
WEIGHTS, TAGS, CLASSES = "weights.json", "tagdict.json", "classes.json"
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError),
)
"""What zipfile raises for a file that is no zip, a broken or encrypted one, or one packed in an unknown way."""

Contents = dict[str, bytes]
"""The verified files of the tagger by name, in the spelling of `canonical`."""


@dataclass(frozen=True)
class TaggerFile:
    file: str
    sha256: str  # of what `canonical` makes of it
    size: int  # bytes as published

    def verified(self, content: bytes) -> bytes | None:
        """The canonical spelling of `content`; None where it is something else than was published."""
        if len(content) > 2 * self.size:
            return None
        if hashlib.sha256(content).hexdigest() == self.sha256:
            return content
        spelled = canonical(content)
        return spelled if hashlib.sha256(spelled).hexdigest() == self.sha256 else None


@dataclass(frozen=True)
class TaggerData:
    """The source of the tagger, and the hashes of its files."""

    name: str  # of nltk's package, and of the folder in which its files lie
    urls: tuple[str, ...]  # of zips, the preferred one first
    size: int | None  # bytes of the zip
    files: tuple[TaggerFile, ...]  # their names end in WEIGHTS, TAGS and CLASSES


def tagger_data() -> TaggerData:
    """The [tagger] of weights.toml."""
    row = registry._toml()["tagger"]
    files = tuple(TaggerFile(file["file"], file["sha256"], file["bytes"]) for file in row["files"])
    return TaggerData(row["name"], tuple(row["urls"]), row["bytes"], files)


def canonical(content: bytes) -> bytes:
    """JSON in one spelling: no blanks, sorted keys, a list of texts sorted. What is no JSON becomes b""."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return b""
    ordered = sorted(map(str, value)) if isinstance(value, list) else value
    return json.dumps(ordered, sort_keys=True, separators=(",", ":")).encode()


def load_tagger(
    data: TaggerData | None = None,
    *,
    cache_dir: Path | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> PerceptronTagger:
    """The tagger, ready to tag lists of words.

    Args:
        data: what is named in weights.toml if not given.
        cache_dir: `cache.default_dir()` if not given.
        offline: never use the network; HF_HUB_OFFLINE means the same.
        report: called during downloads.

    Raises FetchError, with the ways out that need no tagger.
    """
    tagger = data or tagger_data()
    return _tagger(is_cached(tagger, cache_dir) or _fetch(tagger, cache_dir, offline, report or SilentDownload()))


def is_cached(data: TaggerData, cache_dir: Path | None = None) -> Contents | None:
    """The tagger's files where they are on this machine already: in the cache, or where nltk's downloader put them."""
    cache_folder = (cache_dir or cache.default_dir()) / "taggers" / data.name
    if contents := _read(cache_folder, data):
        return contents
    for folder in _nltk_folders(data.name):
        if contents := _read(folder, data):
            with contextlib.suppress(OSError):  # without a cache they are converted again at every start
                _keep(contents, cache_folder)
            return contents
    return None


def _nltk_folders(name: str) -> Iterator[Path]:
    # nltk reads NLTK_DATA when it is imported; asked here too, a later change counts
    for base in (*os.environ.get("NLTK_DATA", "").split(os.pathsep), *map(str, nltk.data.path)):
        if base:
            yield Path(base) / "taggers" / name


def _read(folder: Path, data: TaggerData) -> Contents | None:
    contents: Contents = {}
    for part in data.files:
        try:
            with (folder / part.file).open("rb") as file:
                content = part.verified(file.read(2 * part.size + 1))
        except OSError:
            return None
        if content is None:
            return None
        contents[part.file] = content
    return contents


def _fetch(data: TaggerData, cache_dir: Path | None, offline: bool, report: ProgressCallback) -> Contents:
    what = f"the tagger that finds noun phrases ({data.name})"
    if offline or hub_is_offline():
        raise FetchError(f"{what} is not in the cache and the network is not to be used; {WAYS_OUT}")
    folder = cache.subfolder(cache_dir, "taggers")
    reasons = []
    try:
        with FileLock(folder / f".{data.name}.lock"):
            if contents := is_cached(data, cache_dir):  # another process was faster
                return contents
            for url in data.urls:
                report.started(data.name, url, data.size)
                try:
                    contents = _download(url, folder / f"{data.name}.zip.part", data, report)
                except DownloadError as error:
                    reasons.append(f"{url}: {error}")
                else:
                    _keep(contents, folder / data.name)
                    report.done()
                    return contents
    except OSError as error:
        raise FetchError(f"cannot keep {what} in {folder}: {error.strerror or error}; set GLIP_CACHE to a folder "
                         f"with room; {WAYS_OUT}") from error  # fmt: skip
    raise FetchError(f"cannot fetch {what}: {'; '.join(reasons)}; {WAYS_OUT}")


def _download(url: str, part: Path, data: TaggerData, report: ProgressCallback) -> Contents:
    """The verified files of the zip at `url`, which is deleted. Raises DownloadError, or OSError of the disk."""
    contents = http.download_verified(url, part, report, lambda archive: _unpack(archive, data))
    http.discard(part)
    return contents


def _unpack(archive: Path, data: TaggerData) -> Contents:
    """The wanted files and nothing else, read into memory: no path of the archive is ever followed.

    Raises DownloadError for an archive that is damaged, lacks a file, or holds another than the published one.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return {part.file: _member(opened, part) for part in data.files}
    except _DAMAGED as error:
        raise DownloadError(f"sent no zip that can be read ({error}; deleted)") from error


def _member(archive: zipfile.ZipFile, part: TaggerFile) -> bytes:
    """No more is unpacked than the file may have, whatever the archive promises or holds."""
    name = next((name for name in archive.namelist() if name.rpartition("/")[2] == part.file), None)
    if name is None:
        raise DownloadError(f"sent a zip without {part.file} (deleted)")
    with archive.open(name) as file:
        content = part.verified(file.read(2 * part.size + 1))
    if content is None:
        raise DownloadError(f"sent another {part.file} than the published one (deleted)")
    return content


def _keep(contents: Contents, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with cache.atomic(folder / name) as temporary:
            temporary.write_bytes(content)


def _tagger(contents: Contents) -> PerceptronTagger:
    """The tagger filled by hand: nltk's own loaders differ between its releases, and ask for a folder of its own."""
    tagger = PerceptronTagger(load=False)
    parts = {end: json.loads(next(text for name, text in contents.items() if name.endswith(end)))
             for end in (WEIGHTS, TAGS, CLASSES)}  # fmt: skip
    tagger.model.weights, tagger.tagdict = parts[WEIGHTS], parts[TAGS]
    tagger.classes = tagger.model.classes = set(parts[CLASSES])
    return tagger
