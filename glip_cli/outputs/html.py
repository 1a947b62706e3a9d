"""Records to `index.html`, one page to look through the images of a run, which fetches nothing from elsewhere."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from glip_cli.outputs.colours import palette_colours
from glip_cli.outputs.files import AtomicFile, Spool, policy_hash
from glip_cli.outputs.images import THUMBNAILS, ReadImage, Thumbnails
from glip_cli.outputs.records import AnyRecord, ClassNumbers, corners
from glip_cli.utils.text_format import path_of_shown

PAGE = "index.html"
GENERATOR = '<meta name="generator" content="glip">'
"""In the head of each page, which tells it from a page of somebody else."""
_READERS = 8  # threads at most, and rows that wait for their thumbnails


class HtmlWriter:
    """`index.html`, and a thumbnail of each image in `thumbnails/`.

    The page holds the records: per image the URL of its thumbnail as seen from the page, its name, the URL of its file
    ("" where there is none), and width, height and six numbers per box (class, score, corners in pixels), or the error.
    """

    def __init__(
        self, folder: Path, read_image: ReadImage | None = None, palette: str | Sequence[str] = "bright"
    ) -> None:
        self._folder, self._thumbnails, self._palette = folder, Thumbnails(folder, read_image), palette
        self._file, self._rows = AtomicFile(folder / PAGE), Spool()
        self._classes, self._models = ClassNumbers(), dict[str, None]()
        self._readers = ThreadPoolExecutor(min(os.cpu_count() or 1, _READERS), "glip-thumbnail")
        self._waiting: deque[tuple[str, Future[bool] | None, str]] = deque()

    def add(self, record: AnyRecord, name: str) -> None:
        self._models[record["model"]] = None
        if "detections" in record:
            self._classes.learn(record["labels"])
            is_there = self._readers.submit(self._thumbnails.has, record["image"], name)
            self._waiting.append((f"{THUMBNAILS}/{quote(name)}.jpg", is_there, _json(self._row(record))))
        else:
            self._waiting.append(("", None, _json(self._row(record))))
        if len(self._waiting) > _READERS:
            self._write_row()

    def _row(self, record: AnyRecord) -> list[str | float]:
        row: list[str | float] = [record["image"], self._link(record["image"])]
        if "detections" not in record:
            return [*row, record["error"]]
        row += [record["width"], record["height"]]
        for found in record["detections"]:
            row += [self._classes[found["label"]], round(found["score"], 4), *(round(c, 1) for c in corners(found))]
        return row

    def _write_row(self) -> None:
        thumbnail, is_there, row = self._waiting.popleft()
        shown = thumbnail if is_there and is_there.result() else ""
        self._rows.write(f"{'' if self._rows.is_empty else ','}\n[{_json(shown)},{row[1:]}".encode())

    def _link(self, image: str) -> str:
        """The image's file as a relative URL; "" where there is none."""
        file = path_of_shown(image)
        if not os.path.isfile(file):
            return ""
        try:
            return quote(os.fsencode(Path(os.path.relpath(file, self._folder)).as_posix()))
        except ValueError:  # another drive
            return Path(file).absolute().as_uri()

    def close(self) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup

        while self._waiting:
            self._write_row()
        self._readers.shutdown()
        colours = palette_colours(self._palette, len(self._classes))
        labels = [[name, f"#{bytes(colour).hex()}"] for name, colour in zip(self._classes, colours, strict=True)]
        templates = Environment(
            loader=PackageLoader("glip_cli.outputs"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        templates.filters["sha256"] = policy_hash
        page = templates.get_template("index.html").generate(
            generator=Markup(GENERATOR),
            models=list(self._models),
            labels=Markup(_json(labels)),
            rows=(Markup(block.decode("ascii")) for block in self._rows.blocks()),
        )
        for part in page:
            self._file.write(part.encode())
        self._file.close()


def _json(value: object) -> str:
    """For an element <script type="application/json">: ASCII, and nothing that could end it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
