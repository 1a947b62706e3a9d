"""Images inside files, each by its place: members of a tar, rows of a Parquet table; of this machine or of a store.

    x/0.tar        x/0.tar/a/b.jpg     place: where the member's bytes begin, and how many they are
    x/0.parquet    x/0.parquet/17      place: a group of rows, and the row in it; rows are counted over the file, from 0

A place is found in one pass over the file, and means the same in another process: a run goes on without reading what it
has done, and each worker of a cluster opens the file by itself.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from glip_cli.data.disk import MAX_FILE_BYTES, from_disk
from glip_cli.data.parquet_images import parquet_rows, read_row
from glip_cli.data.stores import is_stored, open_stored, read_stored
from glip_cli.data.tar_images import tar_images
from glip_cli.errors import GlipError, ImageError, UnavailableError
from glip_cli.utils.text_format import counted, one_line, why_unreadable

Place = tuple[int, int]
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
SUFFIXES = (".tar", ".parquet", *COMPRESSED)


def is_archive(location: str) -> bool:
    """Whether a path or URL is called as a file that holds images."""
    return location.lower().endswith(SUFFIXES)


def images_in_archive(location: str, name: str) -> Iterator[tuple[str, Place]]:
    """The name and place of each image, in the order of the file.

    Raises:
        ImageError: the file is damaged, or is none of its kind; UnavailableError: it is not there.
        UsageError: a package is missing, or a store refuses.
        GlipError: its disk or store does not answer any more.
    """
    find = parquet_rows if _is_parquet(location) else tar_images
    try:
        with _opened(location) as stream:
            if location.lower().endswith(COMPRESSED):
                raise ImageError(f"{name}: members of a compressed tar have no place of their own; decompress it first")
            for inner, place in find(stream, name):
                yield f"{name}/{one_line(inner)}", place
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UnavailableError(f"{name}: {why_unreadable(error)}; check the path and its rights") from None
    except OSError as error:
        raise GlipError(f"{name}: cannot be read ({why_unreadable(error)}); then run the same command again") from None
    except tarfile.TarError as error:
        raise ImageError(f"{name}: a damaged tar ({one_line(str(error))}); make or fetch it again") from None


def read_place(location: str, place: Place, name: str) -> bytes:
    """The file of one image. Raises ImageError; UnavailableError where that may pass."""
    if _is_parquet(location):
        return read_row(location, place, name)
    begin, size = place
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{name}: {size / 1e9:.1f} GB, too large for an image; leave it out of the tar")
    if is_stored(location):
        content = read_stored(location, name, begin, begin + size) if size else b""
    else:
        content = from_disk(name, partial(_slice, location, begin, size))
    if len(content) < size:
        raise UnavailableError(f"{name}: cut short after {len(content)} of {size} bytes; fetch the tar again")
    return content


def why_no_image(location: str, name: str) -> ImageError:
    """What is wrong with a file as a whole, of which there is no place. Raises what `images_in_archive` does."""
    count = sum(1 for _ in images_in_archive(location, name))
    if count:
        return ImageError(f"{name}: a file of {counted(count, 'image')}, where one image is read; name it as INPUT")
    return ImageError(f"{name}: holds no image; name a file that does")


def _is_parquet(location: str) -> bool:
    return location.lower().endswith(".parquet")


def _opened(location: str) -> BinaryIO:
    return open_stored(location) if is_stored(location) else Path(location).open("rb")


def _slice(location: str, begin: int, size: int) -> bytes:
    with open(location, "rb") as stream:
        stream.seek(begin)
        return stream.read(size)
