"""webdataset's tars: neighbours with one stem are a sample, "x/0001.jpg" and "x/0001.txt".

Read in one pass; nothing of a tar becomes a path of this machine.
"""

from __future__ import annotations

import io
import json
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from glip_cli.data.archives import is_image, members
from glip_cli.data.download import MAX_DOWNLOAD_BYTES
from glip_cli.errors import DataError
from glip_cli.utils.text_format import encoding_of, one_line

MAX_TEXT_BYTES = 1_000_000
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)


@dataclass(frozen=True)
class TarSample:
    """An image's member, its bytes (b"" where they are not wanted), and its captions."""

    name: str
    content: bytes
    texts: tuple[str, ...]


class _Part(NamedTuple):
    """One member: its name, what follows the first dot of it in lower case, and its bytes."""

    name: str
    ending: str
    content: bytes


def tar_samples(path: Path, contents: bool = True) -> Iterator[TarSample]:
    """Every sample with an image, in order; without a caption it has no texts. Raises DataError."""
    try:
        with tarfile.open(path) as tar:
            for _, group in groupby(_parts(tar, path, contents), key=lambda part: _stem(part.name)):
                parts = list(group)
                if images := [part for part in parts if is_image(part.ending)]:
                    image = min(images, key=lambda part: part.ending.count("."))  # "jpg" before "mask.png"
                    yield TarSample(image.name, image.content, tuple(_texts(parts, path)))
    except _DAMAGED as error:
        raise DataError(f"{path}: the tar cannot be read ({error}); make or fetch it again") from None


def _parts(tar: tarfile.TarFile, path: Path, contents: bool) -> Iterator[_Part]:
    for member, ending in members(tar):
        if is_image(ending) or ending in ("txt", "json"):
            skipped = is_image(ending) and not contents
            yield _Part(member.name, ending, b"" if skipped else _content(tar, member, path))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    most = MAX_TEXT_BYTES if member.name.lower().endswith((".txt", ".json")) else MAX_DOWNLOAD_BYTES
    if member.size > most:
        raise DataError(f"{path}: its member {one_line(member.name)} has {member.size / 1e6:.0f} MB; leave it out")
    stream = tar.extractfile(member)
    return stream.read() if stream else b""


def _texts(parts: list[_Part], path: Path) -> Iterator[str]:
    """The lines of the txt; where there is none, "caption" of the json."""
    texts = [part for part in parts if part.ending == "txt"]
    for part in texts or [part for part in parts if part.ending == "json"]:
        try:
            content = part.content.decode(encoding_of(part.content))
            yield from io.StringIO(content, None) if part.ending == "txt" else _caption(json.loads(content))
        except (ValueError, RecursionError):
            raise DataError(
                f"{path}: its member {one_line(part.name)} is no {part.ending} in UTF-8; correct it"
            ) from None


def _caption(value: object) -> list[str]:
    caption = value.get("caption") if isinstance(value, dict) else None
    return [text for text in (caption if isinstance(caption, list) else [caption]) if isinstance(text, str)]


def _stem(name: str) -> str:
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])
