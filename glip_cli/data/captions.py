"""Images with sentences about them, one sentence at a time.

    x.jsonl   {"image": "a.jpg", "caption": "a cat"} per line; "caption" may be a list
    x.csv     with the columns image and caption
    x.json    COCO's captions
    folder    with metadata.jsonl or metadata.csv, as Hugging Face's imagefolder
    folder    a.jpg and a.txt, at any depth, a caption per line
    x.tar     webdataset: members with one stem are a sample, jpg or png and txt or json

The sentences of one image follow each other where the file has them so, and then the model looks at it once.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from glip_cli.data.archives import is_image, members
from glip_cli.data.download import MAX_DOWNLOAD_BYTES
from glip_cli.data.image_files import check_folder, inside
from glip_cli.data.image_files_below import images_below
from glip_cli.data.image_input import ImageInput, shown_file
from glip_cli.data.values import Row, image_of, read_json, read_lines, read_rows, renamed, shown, spelling_of
from glip_cli.errors import DataError
from glip_cli.utils.json import parsed_object
from glip_cli.utils.text_format import encoding_of, one_line, quoted, shown_path, shown_url, valid_unicode

Passed = Callable[[str], None]
"""Gets the name of each image without a caption."""

_YOLO = re.compile(r"\s*\d+(\s+[\d.e+-]+){4,}\s*")  # a class and a box
_METADATA = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True)
class Captioned(ImageInput):
    """An image and one sentence about it.

    Attributes:
        caption: as typed, never blank.
    """

    caption: str = ""


@dataclass(frozen=True)
class CaptionsSummary:
    """Counts of a whole set of captions.

    Attributes:
        captions, images: how many; an image that comes back later counts again.
        unmarked: captions without [brackets], whose noun phrases are to be found.
        bare: images without a caption, which are skipped.
        digest: of every image's name and caption, in order.
    """

    captions: int
    images: int
    unmarked: int
    bare: int
    digest: str


def read_captions(
    path: Path,
    images: Path | None = None,
    *,
    offline: bool = False,
    contents: bool = True,
    passed: Passed = lambda name: None,
) -> Iterator[Captioned]:
    """Every caption with its image, in order; but of a .json memory does not grow with their number.

    Args:
        path: see above.
        images: the folder that the names of images are in; by default that of the captions.
        offline: images given as URLs then fail when they are opened.
        contents: False leaves out the bytes of images in a tar.
        passed: gets the name of each image without a caption.

    Raises:
        DataError: in its turn, for what cannot be read; names the place.
    """
    if images:
        check_folder(images)
    if path.is_dir():
        described = next((path / name for name in _METADATA if (path / name).is_file()), None)
        if described is None:
            return _from_folder(path, images or path, passed)
        path = described
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    if tarfile.is_tarfile(path):
        return _from_tar(path, contents, passed)
    return _from_rows(caption_rows(path), path, images or path.parent, offline, passed)


def summarise(path: Path, images: Path | None = None) -> CaptionsSummary:
    """Go through all of it once, without a look at an image. Raises DataError, also where there is no caption."""
    bare: list[None] = []
    captions = count = unmarked = 0
    last, digest = "", hashlib.blake2b(digest_size=16)
    for one in read_captions(path, images, contents=False, passed=lambda name: bare.append(None)):
        captions, count, last = captions + 1, count + (one.location != last), one.location
        unmarked += not is_marked(one.caption)
        digest.update(json.dumps([one.name, one.caption]).encode())
    if not captions:
        raise DataError(f"{path}: no image has a caption; {WRITE}, or a .txt beside each image")
    return CaptionsSummary(captions, count, unmarked, len(bare), digest.hexdigest())


def is_marked(caption: str) -> bool:
    """Whether its parts are given as [bracketed] words."""
    return "[" in caption or "]" in caption


def _from_rows(
    rows: Iterable[CaptionRow], path: Path, folder: Path, offline: bool, passed: Passed
) -> Iterator[Captioned]:
    """Raises DataError for an image outside of the folder."""
    for image, texts in rows:
        is_url = ImageInput(image, image).is_url
        location = image if is_url else _placed(folder, image, path)
        name = shown_url(image) if is_url else shown_file(image, location)
        yield from _captioned(name, location, texts, passed, offline=offline)


def _placed(folder: Path, image: str, captions: Path) -> str:
    """In the folder; a path of Windows with its backslashes read as slashes, where only so it exists."""
    paths = [inside(folder, image), inside(folder, image.replace("\\", "/"))]
    path = next((path for path in paths if path and os.path.exists(path)), paths[-1])
    if path is None:
        raise DataError(f"{captions}: the image {quoted(image)} leads out of {folder}; give the folder of the images")
    return str(path)


def _captioned(
    name: str, location: str, texts: Iterable[str], passed: Passed, offline: bool = False, content: bytes | None = None
) -> Iterator[Captioned]:
    captions = [text.strip() for text in texts if text.strip()]
    if not captions:
        passed(name)
    for caption in captions:
        yield Captioned(name, location, offline, caption=valid_unicode(caption), content=content)


def _from_folder(folder: Path, images: Path, passed: Passed) -> Iterator[Captioned]:
    for path in images_below(images):
        name = path.relative_to(images)
        text = (folder / name).with_suffix(".txt")
        texts = list(read_lines(text)) if text.is_file() else []
        if any(map(_YOLO.fullmatch, texts)):
            raise DataError(f"{text}: numbers, as labels of YOLO are, and no caption; give a folder of captions")
        yield from _captioned(shown_path(name.as_posix()), str(path), texts, passed)


# ---------------------------------------------------------------------------------------------------- webdataset's tars
# Neighbours with one stem are a sample, "x/0001.jpg" and "x/0001.txt". A tar is read in one pass, and nothing of it
# becomes a path of this machine.


MAX_TEXT_BYTES = 1_000_000
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError)


class _Part(NamedTuple):
    """One member: its stem, its name, what follows the stem's dot in lower case, and its bytes."""

    stem: str
    name: str
    ending: str
    content: bytes


def _from_tar(path: Path, contents: bool, passed: Passed) -> Iterator[Captioned]:
    """The captions of every sample with an image, in order. Raises DataError."""
    try:
        with tarfile.open(path) as tar:
            for _, group in groupby(_parts(tar, path, contents), key=lambda part: part.stem):
                parts = list(group)
                images = [part for part in parts if is_image(part.ending)]
                for image in sorted(images, key=lambda part: part.ending.count("."))[:1]:  # "jpg" before "mask.png"
                    name, texts = shown_path(image.name), list(_texts(parts, path))
                    yield from _captioned(name, f"{path}/{image.name}", texts, passed, content=image.content)
    except _DAMAGED as error:
        raise DataError(f"{path}: the tar cannot be read ({error}); make or fetch it again") from None


def _parts(tar: tarfile.TarFile, path: Path, contents: bool) -> Iterator[_Part]:
    for member, ending in members(tar):
        if is_image(ending) or ending in ("txt", "json"):
            folder, base = posixpath.split(member.name)
            content = b"" if is_image(ending) and not contents else _content(tar, member, path)
            yield _Part(posixpath.join(folder, base.partition(".")[0]), member.name, ending, content)


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
            if part.ending == "txt":
                yield from io.StringIO(content, None)
            else:
                value = json.loads(content)
                caption = value.get("caption") if isinstance(value, dict) else None
                captions = caption if isinstance(caption, list) else [caption]
                yield from (text for text in captions if isinstance(text, str))
        except (ValueError, RecursionError):
            where = f"{path}: its member {one_line(part.name)}"
            raise DataError(f"{where} is no {part.ending} in UTF-8; correct it") from None


# ----------------------------------------------------------------------------------------------------- rows of captions
# x.jsonl, x.csv    a row per image, `image` and `caption`, which in json may be a list; `file_name` and `text` of
#                   Hugging Face's metadata.jsonl and metadata.csv
# x.json            COCO's captions (`images`, and `annotations` with `image_id` and `caption`), or a list of such rows


CaptionRow = tuple[str, list[str]]
"""An image as the file names it, and its captions as typed."""
WRITE = 'write {"image": "a.jpg", "caption": "..."} on each line'
_ALSO = {"file_name": "image", "text": "caption"}


def caption_rows(path: Path) -> Iterator[CaptionRow]:
    """Raises DataError, in its turn, for what cannot be read; names the place."""
    if path.suffix.lower() == ".json" and not _is_jsonl(path):
        rows = _json_rows(path)
    else:
        rows = read_rows(path, ("image", "caption"), WRITE, _ALSO)
    return ((image_of(row, WRITE), _texts_of(row)) for row in rows)


def _is_jsonl(path: Path) -> bool:
    """Whether the first line is a row by itself."""
    first = parsed_object(next(filter(str.strip, read_lines(path)), ""))
    return first is not None and "images" not in first


def _texts_of(row: Row) -> list[str]:
    where, values = row
    caption = values.get("caption")
    given = caption if isinstance(caption, list) else [caption]
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        raise DataError(f"{where}: 'caption' is {quoted(caption)}, neither a text nor a list of texts; {WRITE}")
    return texts


def _json_rows(path: Path) -> Iterator[Row]:
    content = read_json(path)
    if not isinstance(content, list):
        yield from _coco_rows(content, path)
        return
    for number, row in enumerate(content, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}, is no JSON object; {WRITE}")
        yield f"{path}, row {number}", renamed(row, _ALSO)


def _coco_rows(content: object, path: Path) -> Iterator[Row]:
    """Images in the order of the file, each with all its captions; also those without one."""
    content = content if isinstance(content, dict) else {}
    images, rows = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(rows, list):
        raise DataError(f"{path}: no captions of COCO, which have 'images' and 'annotations'; {WRITE} of a .jsonl")
    captions: dict[str, list[str]] = {_id_of(row, "id", f"{path}: images[{i}]"): [] for i, row in enumerate(images)}
    for i, row in enumerate(rows):
        where = f"{path}: annotations[{i}]"
        if (found := captions.get(_id_of(row, "image_id", where))) is None:
            raise DataError(f"{where}.image_id is {shown(row['image_id'])}, which no image has; the file is damaged")
        if not isinstance(row.get("caption"), str):
            raise DataError(f"{where} has no caption; give captions_....json, not that of boxes")
        found.append(row["caption"])
    for i, row in enumerate(images):
        where = f"{path}: images[{i}]"
        yield where, {"image": row.get("file_name"), "caption": captions[_id_of(row, "id", where)]}


def _id_of(row: object, key: str, where: str) -> str:
    spelling = spelling_of(row.get(key)) if isinstance(row, Mapping) else None
    if spelling is None:
        raise DataError(f"{where}.{key} is no id; the file is damaged")
    return spelling
