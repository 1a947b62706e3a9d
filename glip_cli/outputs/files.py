"""Common parts of writers: files that are written whole, JSON, CSV and XML as bytes, and a name for each image."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import sys
import tempfile
import uuid
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol
from xml.etree import ElementTree

from glip_cli.errors import OutputError
from glip_cli.outputs.records import AnyRecord
from glip_cli.utils.frames import split_frame
from glip_cli.utils.text_format import counted, one_line

_NAME_BYTES = 180  # of the 255 that file systems allow; the rest is for a number, a suffix and ".tmp"
_BLOCK = 1 << 20  # bytes that are copied at once
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows keeps for itself
# https://www.w3.org/TR/xml/#charsets; a carriage return is allowed, but every reader takes it for a line feed
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def json_bytes(value: object, indent: int | None = None) -> bytes:
    """UTF-8 JSON, letters of every script as themselves; NaN is refused, because JSON has none."""
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False).encode("utf-8", "backslashreplace")


def save_json(path: Path, value: object, indent: int | None = None) -> None:
    with atomic_write(path) as stream:
        stream.write(json_bytes(value, indent) + b"\n")


def xml_text(text: str) -> str:
    """`text` with Python's escapes for the control characters that XML 1.0 cannot hold, not even as references."""
    return _NOT_IN_XML.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def save_xml(path: Path, root: ElementTree.Element) -> None:
    """`root`, indented (it is changed for that), as UTF-8."""
    ElementTree.indent(root)
    with atomic_write(path) as stream:
        stream.write(ElementTree.tostring(root, encoding="unicode").encode() + b"\n")


@contextmanager
def writing(target: object, way_out: str = "choose another --out-dir") -> Iterator[None]:
    """Turns what the system refuses into OutputError: "cannot write PLACE: why; WAY_OUT"; of a folder "to FOLDER"."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; {way_out}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path`, replacing another, only when the block ends well. Makes its folder if missing.

    Until then it has a temporary name beside its own, which a block that ends otherwise does not leave behind: no
    exception, Ctrl-C at any step included. (A context manager that is dropped gets an exception too.)
    """
    # no number of a process: containers that share a folder have the same ones
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"  # "." has no name
    path.parent.mkdir(parents=True, exist_ok=True)
    stream: BinaryIO | None = None
    try:
        stream = temporary.open("wb")
        yield stream
        stream.close()
        temporary.replace(path)
    except BaseException:
        if stream is not None:
            with suppress(OSError):  # what a full disk has refused, it refuses again
                stream.close()
        temporary.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def policy_hash(text: str) -> str:
    """The SHA-256 of a script or style, as a Content-Security-Policy has it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class Writer(Protocol):
    """The writer of a format: `add` each record in order, then `close` once; only then are the files complete.

    `name` is what files of one image are called, without suffix: see `FileNames`.
    """

    def add(self, record: AnyRecord, name: str) -> None: ...

    def close(self) -> None:
        return


class AtomicFile:
    """As `atomic_write`, but open for long: it has its name once it is closed, and is gone if dropped."""

    def __init__(self, path: Path) -> None:
        self._written = atomic_write(path)
        self.stream = self._written.__enter__()

    def write(self, data: bytes) -> None:
        self.stream.write(data)

    def close(self) -> None:
        self._written.__exit__(None, None, None)


class JsonList:
    """A JSON list that is written item by item, one per line."""

    def __init__(self, file: AtomicFile, opening: bytes, closing: bytes) -> None:
        self._file, self._closing = file, closing
        self._separator = b"\n"
        file.write(opening)

    def add(self, item: object) -> None:
        self._file.write(self._separator + json_bytes(item))
        self._separator = b",\n"

    def close(self, *after: bytes | Spool) -> None:
        """`after` follows the list."""
        self._file.write(self._closing)
        for part in after:
            for block in part.blocks() if isinstance(part, Spool) else (part,):
                self._file.write(block)
        self._file.close()


class Spool:
    """Content that is known before its position in a file; kept on the disk, so that memory does not fill up."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it has no name, and is gone when it is closed
        weakref.finalize(self, self._file.close)

    def write(self, data: bytes) -> None:
        self._file.write(data)

    @property
    def is_empty(self) -> bool:
        return self._file.tell() == 0

    def blocks(self) -> Iterator[bytes]:
        """All of it, once; nothing can be written afterwards."""
        with self._file:
            self._file.seek(0)
            yield from iter(partial(self._file.read, _BLOCK), b"")


class CsvFile:
    """Rows of a CSV file as RFC 4180 has it: UTF-8, lines end in CRLF, quotes where a cell needs them."""

    def __init__(self, file: AtomicFile, header: Sequence[str]) -> None:
        self._file = file
        self._rows = csv.writer(self)
        self.add(header)

    def add(self, cells: Sequence[object]) -> None:
        self._rows.writerow(cells)

    def write(self, line: str) -> None:
        """For the csv module, which hands each finished line over."""
        self._file.write(line.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        self._file.close()


class FileNames:
    """Names for what is made from each image: its path below `root` without suffix, so that folders are mirrored.

    `images/x/s.jpg` gives `x/s` where `images` is the root; a URL of the web gives the last part alone; the third frame
    of a file gives `x/s-000002`. Where two images of a folder differ in their suffix only, the later one keeps it
    (`x/s.png`); else it gets a number (`s-2`).
    Two names that differ in case only are kept apart too, for file systems that do not tell them apart. The same
    images in the same order get the same names. No name leads out of the folder that it is used in.

    Remembers a number for each name once given, about 80 bytes; two names whose numbers happen to agree (one chance in
    a million for a million images) cost the later image a `-2` that it did not need.

    Attributes:
        kept: how many names have the suffix.
        numbered: how many have a number.
    """

    def __init__(self, root: str = "") -> None:
        self._root = [part for part in path_parts(root) if part not in ("", ".")]
        self._given: dict[int, str] = {}  # digest of a name: the suffix of its image
        self._repeats: dict[int, int] = {}
        self.kept = self.numbered = 0
        self._kept_example = self._numbered_example = ""

    def of(self, image_name: str) -> str:
        folders, stem, suffix = self._parts(image_name)
        base = "/".join([*folders, stem])
        key = digest(base)
        if is_kept := self._given.get(key, suffix) != suffix:
            base += suffix
            key = digest(base)
        name, taken, repeats = base, key, self._repeats.get(key, 0)
        while taken in self._given:
            repeats += 1
            name = f"{base}-{repeats + 1}"
            taken = digest(name)
        self._given[taken] = suffix
        if repeats:
            self._repeats[key] = repeats
            self.numbered, self._numbered_example = self.numbered + 1, self._numbered_example or name
        elif is_kept:
            self.kept, self._kept_example = self.kept + 1, self._kept_example or name
        return name

    def _parts(self, image_name: str) -> tuple[list[str], str, str]:
        """Folders, stem and suffix, all of them safe."""
        folders: list[str] = []
        if not _is_web(image_name):
            parts = [part for part in path_parts(image_name)[:-1] if part not in ("", ".")]
            below = parts[len(self._root) :] if parts[: len(self._root)] == self._root else parts
            folders = [_safe_folder(part) for part in below if part != ".."]
        suffix = safe_name(os.path.splitext(path_parts(split_frame(image_name)[0])[-1])[1])
        return folders, file_stem(image_name), sys.intern(f".{suffix.lower()[:16]}") if suffix != "_" else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the names."""
        notes = []
        if self.kept:
            their = "shares its stem with another of its folder; its files keep the suffix"
            if self.kept > 1:
                their = "share their stems with others of their folders; their files keep the suffix"
            notes.append(f"{counted(self.kept, 'image')} {their}, as {one_line(self._kept_example)}")
        if self.numbered:
            their = counted(self.numbered, "image has a name that another has", "images have names that others have")
            notes.append(
                f"{their}, but for case or folder; the files have a number, as {one_line(self._numbered_example)}: "
                "what they say inside pairs them with their images, and for YOLO's yolo_images.csv"
            )
        return tuple(notes)


def _safe_folder(part: str) -> str:
    """As `safe_name`, and never called as a file that is made from an image."""
    name = safe_name(part)
    return f"{name}_" if name.lower().endswith((".jpg", ".json", ".safetensors", ".txt", ".xml")) else name


def digest(name: str) -> int:
    """59 bits, the most that an int of 32 bytes takes; unlike `hash`, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.casefold().encode(), digest_size=8).digest()) >> 5


def file_stem(image_name: str) -> str:
    """The last part of a path or URL without suffix and query, as a name that every file system takes."""
    image_name, frame = split_frame(image_name)
    stem = safe_name(os.path.splitext(path_parts(image_name)[-1])[0])
    return stem if frame is None else f"{stem}-{frame:06}"


def path_parts(image_name: str) -> list[str]:
    """The parts of a path or URL between slashes of either kind, of the web's without a query; at least one."""
    if _is_web(image_name):
        image_name = re.split(r"[?#]", image_name, maxsplit=1)[0]
    return re.split(r"[/\\]", image_name.rstrip("/\\"))


def _is_web(image_name: str) -> bool:
    """Whether a URL is of the web. In a store's URL folders have a meaning, and "?" is part of a name."""
    return image_name[:8].lower().startswith(("http://", "https://"))


def safe_name(text: str) -> str:
    """`text` as a file name: no separator, control character or name that Windows keeps, at most 180 bytes."""
    clean = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", text)
    clean = clean.encode("utf-8", "replace")[:_NAME_BYTES].decode("utf-8", "ignore").strip(" .")
    return f"_{clean}" if not clean or _RESERVED.fullmatch(clean) else clean
