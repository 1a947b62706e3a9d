"""Images in a tar, found by its members' heads alone: names, and where their bytes lie."""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from glip_cli.data.image_files_below import IMAGE_SUFFIXES


def tar_images(stream: BinaryIO, name: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each image: its member's name, where its bytes begin, and how many they are. Raises tarfile.TarError, OSError.

    `name`, of the tar, is not used here.
    """
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in members(tar):
            ending = posixpath.basename(member.name).partition(".")[2].lower()
            if member.isreg() and is_image(ending) and not posixpath.basename(member.name).startswith("."):
                yield re.sub(r"^(\.?/)+", "", member.name), (member.offset_data, member.size)


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All of them. Raises tarfile.ReadError for one that is cut short or damaged, which Python takes for the end."""
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # which would grow with the tar
        yield member
    stream = tar.fileobj
    assert stream is not None
    stream.seek(tar.offset)
    if any(stream.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError(f"no member begins at byte {tar.offset}")


def is_image(ending: str) -> bool:
    """Whether a member is an image, by what follows the first dot of its name, in lower case."""
    return posixpath.splitext(f".{ending}")[1] in IMAGE_SUFFIXES or f".{ending}" in IMAGE_SUFFIXES
