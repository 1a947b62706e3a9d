"""A folder in S3 or Google Cloud Storage that is written: each object whole or not at all.

Some are put only where there is no object of the name yet, and stay as they are.
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from glip_cli.data.stores import (
    PAGE,
    MissingError,
    codes_of,
    info_of,
    open_stored,
    path_of,
    paths_below,
    patiently,
    store_of,
)
from glip_cli.errors import UsageError
from glip_cli.utils.text_format import shown_url
from glip_cli.utils.threads import READ_SECONDS

T = TypeVar("T")
_WRITTEN = ("s3", "gs")
_SLOW = 1 << 20  # bytes a second; a put that is slower is given up


class StoredFolder:
    """Objects by their names below the URL of a folder. What may pass within seconds is tried three times.

    Every method raises UsageError where the store refuses, GlipError where it does not answer.
    """

    def __init__(self, url: str) -> None:
        """Raises UsageError for a URL of no bucket, and for a store of another kind."""
        scheme = url.partition(":")[0].lower()
        self.url = f"{scheme}://{path_of(url).rstrip('/')}"
        if scheme not in _WRITTEN:
            raise UsageError(
                f"{shown_url(url)}: the Hub takes fewer commits than a run makes; write to a folder of this machine, "
                "and put it there once the run is complete: hf upload --repo-type dataset OWNER/NAME FOLDER"
            )
        if not path_of(self.url):
            raise UsageError(f"{url}: no bucket is named; write {scheme}://BUCKET/FOLDER")

    def names(self, below: str = "") -> Iterator[str]:
        """The names of all objects below the folder, or below a subfolder; sorted within each folder."""
        prefix = f"{path_of(self.url)}/"
        for path in paths_below(self.url, f"{prefix}{below}"):
            if not path.endswith("/"):
                yield path.removeprefix(prefix)

    def version(self, name: str) -> str | None:
        """Another one for other content; None where there is no such object."""
        try:
            info = info_of(self._of(name))
        except MissingError:
            return None
        return str(info.get("ETag") or info.get("etag"))

    def read(self, name: str, most: int | None = None) -> bytes:
        """All of it, or its first `most` bytes."""
        read = partial(store_of(self.url).cat_file, path_of(self._of(name)), start=0 if most else None, end=most)
        return bytes(patiently(self._of(name), read))

    def fetch(self, name: str, path: Path) -> None:
        """Raises OSError too."""
        with open_stored(self._of(name)) as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file)

    def create(self, name: str, content: bytes) -> bool:
        """Put it where there is no such object yet. False where there is one of other content."""
        put = partial(store_of(self.url).pipe_file, path_of(self._of(name)), content, mode="create")
        # the answer to a try that was cut may have been that it is there
        return bool(self._write(name, partial(_is_put, put), len(content))) or self.read(name) == content

    def put(self, name: str, path: Path, create: bool = False) -> bool:
        """Put a file, in place of another of the name; with `create` where there is none yet, else False."""
        mode = "create" if create else "overwrite"
        put = partial(store_of(self.url).put_file, str(path), path_of(self._of(name)), mode=mode)
        return bool(self._write(name, partial(_is_put, put), path.stat().st_size))

    def remove(self, names: Sequence[str]) -> None:
        """Remove the objects of these names that exist."""
        paths = [glob.escape(path_of(self._of(name))) for name in names]
        for begin in range(0, len(paths), PAGE):
            with suppress(MissingError):
                patiently(self.url, partial(store_of(self.url).rm, paths[begin : begin + PAGE]), writes=True)

    def _write(self, name: str, ask: Callable[[], T], size: int) -> T:
        try:
            return patiently(self._of(name), ask, writes=True, seconds=READ_SECONDS + size / _SLOW)
        except MissingError:
            raise UsageError(f"{shown_url(self.url)}: no such bucket; check the URL") from None

    def _of(self, name: str) -> str:
        return f"{self.url}/{name}"


def _is_put(put: Callable[[], object]) -> bool:
    """False where it must not be there and is: the store says 412. Raises what else the store says."""
    try:
        put()
    except OSError as error:
        if isinstance(error, FileExistsError) or codes_of(error) & {"PreconditionFailed", "412"}:
            return False
        raise
    return True
