"""One xml file of Pascal VOC, in any encoding. No DTD is fetched, and a file that declares entities is not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from glip_cli.data.issues import DataIssue, Tally
from glip_cli.data.reading import read_bytes, stated_size, text_numbers
from glip_cli.errors import UsageError
from glip_cli.utils.text_format import encoding_of

_DECLARATION = re.compile(r"\s*<\?xml[^>]*?(?:encoding\s*=\s*[\"']([\w.:-]+)[\"'][^>]*?)?\?>")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FALSE = ("", "0", "false", "no", "unspecified")


class VocObject(NamedTuple):
    """`bbox` is [x, y, width, height] in pixels."""

    name: str
    bbox: list[float]
    is_difficult: bool


@dataclass(frozen=True)
class VocFile:
    """
    Attributes:
        image: the name of the image as the xml gives it, without folders, which may be those of another computer.
        size: `width` and `height` of the image as the xml states them; empty where it states none, or 0 x 0.
    """

    file: Path
    image: str
    size: dict[str, int]
    objects: tuple[VocObject, ...]


def read_voc_xml(file: Path, tally: Tally) -> VocFile:
    """Objects without four corners are counted. Raises UsageError where it is no xml."""
    root = _root(file)
    name = _text_of(root, "filename").replace("\\", "/").rstrip("/").rpartition("/")[2]
    size = stated_size(root.findtext("size/width") or "", root.findtext("size/height") or "")
    return VocFile(file, name, size, tuple(_objects(root, file, tally)))


def _root(file: Path) -> ElementTree.Element:
    """Raises UsageError."""
    data = read_bytes(file)
    try:
        text = _text(data)
        if "<!ENTITY" in text:  # a few lines of them can unfold to gigabytes, or name files of this machine
            raise UsageError(f"{file}: declares entities, which are not expanded; write it without them")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UsageError(f"{file}: not a whole xml file ({' '.join(str(error).split())}); write it again") from None


def _text(data: bytes) -> str:
    """Without the declaration, which names encodings that the parser does not know. Raises ValueError, LookupError."""
    declared = _DECLARATION.match(data[:200].decode("ascii", "replace"))
    text = data.decode(encoding_of(data, (declared and declared[1]) or "utf-8"))
    declaration = _DECLARATION.match(text)
    return text[declaration.end() :] if declaration else text


def _objects(root: ElementTree.Element, file: Path, tally: Tally) -> Iterator[VocObject]:
    """Corners count from 1, and xmax and ymax are the last pixel: one past it is as many from 0."""
    origin = 0 if _counts_from_0(root) else 1
    for i, thing in enumerate(root.iter("object"), 1):
        box = thing.find("bndbox")
        try:
            x1, y1, x2, y2 = text_numbers({key: None if box is None else box.findtext(key) for key in _CORNERS})
        except UsageError as error:
            tally.add(DataIssue.BOX_FORM, f"{file}: object {i}: {error}")
            continue
        bbox = [x1 - origin, y1 - origin, x2 - x1 + origin, y2 - y1 + origin]
        yield VocObject(_text_of(thing, "name"), bbox, _text_of(thing, "difficult").lower() not in _FALSE)


def _text_of(thing: ElementTree.Element, tag: str) -> str:
    return (thing.findtext(tag) or "").strip()


def _counts_from_0(root: ElementTree.Element) -> bool:
    """Whether an older glip wrote it: such a file names glip, but does not say where its pixels begin."""
    by_glip = root.findtext("source/database", "").startswith("glip ")
    return by_glip and root.findtext("source/annotation") is None
