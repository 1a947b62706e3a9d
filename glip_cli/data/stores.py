"""Objects in S3, Google Cloud Storage and the Hugging Face Hub by their URLs: listed lazily, read in whole or in part.

    s3://BUCKET/KEY    s3fs             AWS_ACCESS_KEY_ID ..., AWS_PROFILE, AWS_ENDPOINT_URL
    gs://BUCKET/KEY    gcsfs            GOOGLE_APPLICATION_CREDENTIALS
    hf://PATH          huggingface_hub  HF_TOKEN, HF_ENDPOINT

Credentials come from where each library looks for them, and no error shows them.
"""

from __future__ import annotations

import glob
import io
import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from glip_cli.data.disk import MAX_FILE_BYTES, no_answer
from glip_cli.data.download import STALL_SECONDS
from glip_cli.data.image_files_below import Passed, is_matched, split_parts
from glip_cli.errors import GlipError, UnavailableError, UsageError
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import one_line, shorten, shown_url, words_of
from glip_cli.utils.threads import PAUSES, READ_SECONDS, within

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from typing_extensions import Buffer

T = TypeVar("T")

BLOCK_BYTES = 4_000_000  # that are fetched together of an object read from front to back
PAGE = 1000  # objects of a listing that are fetched together, the most that S3 gives
_WHY = 100  # characters of what a library says


class MissingError(UnavailableError):
    """There is no such object, or no such bucket."""


class _Library(NamedTuple):
    """The library for a kind of store: its package, how to install it, and how to give it credentials."""

    package: str
    requirement: str
    credentials: str
    options: JsonObject


# The tries are counted here: s3fs's own would multiply them.
_S3_OPTIONS = {
    "use_listings_cache": False,
    "config_kwargs": {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": STALL_SECONDS,
        "read_timeout": STALL_SECONDS,
        "max_pool_connections": 64,
    },
}
_S3_WAYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for what is public"
_LIBRARIES = {
    "s3": _Library("s3fs", "glip-cli[s3]", _S3_WAYS, _S3_OPTIONS),
    "gs": _Library("gcsfs", "glip-cli[gcs]", "set GOOGLE_APPLICATION_CREDENTIALS", {"use_listings_cache": False}),
    "hf": _Library("huggingface_hub", "huggingface_hub", "set HF_TOKEN", {}),
}
_URL = re.compile(rf"({'|'.join(_LIBRARIES)})://", re.IGNORECASE)


def is_stored(text: str) -> bool:
    """Whether it is the URL of something in a store."""
    return bool(_URL.match(text))


def check_installed(url: str) -> None:
    """Raises UsageError where the package that reads such URLs is missing."""
    library = _LIBRARIES[_scheme(url)]
    if find_spec(library.package) is None:
        raise UsageError(
            f"{_scheme(url)}:// needs {library.package}: pip install '{library.requirement}', or name a "
            f"file or folder of this machine instead of {shown_url(url)}"
        )


def read_stored(url: str, name: str, start: int = 0, end: int = MAX_FILE_BYTES) -> bytes:
    """An object's bytes from `start` to before `end`, fewer where it ends before. Tried once.

    Raises UnavailableError, one line that calls the object `name`; UsageError where a package is missing.
    """
    return bytes(_once(url, name, partial(store_of(url).cat_file, path_of(url), start=start, end=end)))


def images_in_store(url: str, passed: Passed) -> Iterator[str]:
    """URLs of the images below a folder, or of what a glob names, sorted; as `image_files_below` has it.

    One page of a listing is held at a time from S3, one folder from other stores. Raises UsageError for a bucket that
    is not there or not open, GlipError where the store does not answer any more.
    """
    fixed, parts = split_parts((*path_of(url).rstrip("/").split("/"),))
    if not fixed or not fixed[0]:
        raise UsageError(f"{shown_url(url)}: no bucket is named; write {_scheme(url)}://BUCKET/FOLDER/")
    prefix = "".join(f"{part}/" for part in fixed)
    for path in paths_below(url, prefix):
        if is_matched(path.removeprefix(prefix).split("/"), parts):
            yield f"{_scheme(url)}://{path}"
        else:
            passed.add(path)


def is_object(url: str) -> bool:
    """Whether there is an object of exactly this name. Raises UsageError, GlipError."""
    try:
        return bool(info_of(url)["type"] == "file")
    except MissingError:
        return False


class StoredFile(io.RawIOBase):
    """An object as a file that is open for reading. What cannot be read raises what `read` raises."""

    def __init__(self, url: str, read: Callable[[str, str, int, int], bytes] = read_stored) -> None:
        self._url, self._read, self._place = url, read, 0
        self._size: int | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._size is None:
            self._size = int(info_of(self._url)["size"])
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size or 0}[whence]
        return self._place

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read(self._url, shown_url(self._url), self._place, self._place + len(view))
        view[: len(data)] = data
        self._place += len(data)
        return len(data)


def open_stored(url: str) -> io.BufferedReader:
    """To read an object from front to back; each block is tried three times.

    Raises UsageError where a package is missing; as it is read, UnavailableError where there is no such object,
    UsageError where the store refuses, GlipError where it does not answer.
    """
    check_installed(url)
    return io.BufferedReader(StoredFile(url, read_patiently), BLOCK_BYTES)


def read_patiently(url: str, name: str, start: int, end: int) -> bytes:
    return bytes(patiently(url, partial(store_of(url).cat_file, path_of(url), start=start, end=end)))


def info_of(url: str) -> JsonObject:
    return dict(patiently(url, partial(store_of(url).info, path_of(url))))


def paths_below(url: str, prefix: str) -> Iterator[str]:
    """BUCKET/KEY of each object below a prefix that ends in a slash. Raises UsageError, GlipError."""
    store = store_of(url)
    if _scheme(url) == "s3":
        return _s3_paths(store, url, *prefix.split("/", 1))
    return _paths_by_folder(store, url, prefix.rstrip("/"))


def _s3_paths(store: AbstractFileSystem, url: str, bucket: str, prefix: str) -> Iterator[str]:
    """S3 gives them in the order of their UTF-8 bytes, a page at a time."""
    following: dict[str, str] = {}
    while True:
        ask = partial(store.call_s3, "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **following)
        try:
            page = patiently(url, ask)
        except MissingError:
            raise UsageError(f"{shown_url(url)}: no such bucket; check the URL") from None
        yield from (f"{bucket}/{entry['Key']}" for entry in page.get("Contents", ()))
        if not page.get("IsTruncated"):
            return
        following = {"ContinuationToken": page["NextContinuationToken"]}


def _paths_by_folder(store: AbstractFileSystem, url: str, folder: str) -> Iterator[str]:
    try:
        entries: list[JsonObject] = patiently(url, partial(store.ls, folder, detail=True))
    except MissingError:
        return
    store.invalidate_cache()  # of all folders it would fill the memory
    for entry in sorted(entries, key=lambda entry: str(entry["name"])):
        if entry["type"] == "directory":
            yield from _paths_by_folder(store, url, entry["name"])
        elif entry["name"].startswith(f"{folder}/"):  # of an object `ls` gives itself
            yield entry["name"]


def patiently(url: str, ask: Callable[[], T], writes: bool = False, seconds: float = READ_SECONDS) -> T:
    """Call `ask`; failures that may be temporary are tried three times, `seconds` each.

    Raises MissingError; UsageError where the store refuses, GlipError where it does not answer.
    """
    pauses = list(PAUSES)
    while True:
        try:
            return _once(url, shown_url(url), ask, writes, seconds)
        except MissingError:
            raise
        except UnavailableError as failure:
            if not (failure.brief or failure.hung):
                raise UsageError(str(failure)) from None
            if failure.hung or not pauses:
                raise GlipError(f"{failure}; once the store answers, the same command goes on") from None
        time.sleep(pauses.pop(0))


def _once(url: str, name: str, ask: Callable[[], T], writes: bool = False, seconds: float = READ_SECONDS) -> T:
    """Call `ask` once; b"" for a range after the end. Raises UnavailableError."""

    def asked() -> Any:
        try:
            return ask()
        except Exception as error:  # of any library below
            if codes_of(error) & {416, "416", "InvalidRange"}:  # an object without bytes has no range to be asked for
                return b""
            raise _unavailable(error, url, name, writes) from None

    try:
        return within(seconds, asked)
    except TimeoutError:
        raise no_answer(name) from None


def _unavailable(error: Exception, url: str, name: str, writes: bool = False) -> UnavailableError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, FileNotFoundError):
        return MissingError(f"{name}: no such object, or none that may be seen; check the URL and the credentials")
    forbidden = str(error).startswith("Forbidden: ")  # as gcsfs has it, in an OSError
    if forbidden or isinstance(error, PermissionError) or codes_of(error) & {401, 403}:
        return UnavailableError(
            f"{name}: no permission to {'write' if writes else 'read'} it ({_why(error)}); check the credentials"
        )
    if kinds & {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError"}:
        return UnavailableError(f"{name}: no credentials ({_why(error)}); {_LIBRARIES[_scheme(url)].credentials}")
    return UnavailableError(f"{name}: cannot be {'written' if writes else 'read'} ({_why(error)})", brief=True)


def codes_of(error: BaseException) -> set[object]:
    """The HTTP status in an error of huggingface_hub or gcsfs, and the S3 code in one of s3fs (botocore)."""
    status = getattr(getattr(error, "response", None), "status_code", getattr(error, "code", None))
    below = getattr(error.__cause__, "response", None)
    return {status, below["Error"].get("Code") if isinstance(below, dict) else None}


def _why(error: Exception) -> str:
    """The library's message on one line, without secrets in its URLs."""
    return shorten(re.sub(r"\w+://\S+", lambda url: shown_url(url[0]), one_line(words_of(error))), _WHY)


def store_of(url: str) -> AbstractFileSystem:
    """Raises UsageError where its package is missing."""
    check_installed(url)
    return _opened(_scheme(url))


@cache
def _opened(scheme: str) -> AbstractFileSystem:
    import fsspec

    logging.getLogger(_LIBRARIES[scheme].package).setLevel(logging.CRITICAL)  # some tell of each try
    store = fsspec.filesystem(scheme, skip_instance_cache=True, **_LIBRARIES[scheme].options)
    if scheme == "s3":
        store.retries = 1
    return store


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def path_of(url: str) -> str:
    return url.partition("://")[2]


def has_magic(url: str) -> bool:
    return glob.has_magic(path_of(url))
