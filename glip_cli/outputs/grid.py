"""Records to `grid.jpg`, one page of images with their boxes: the best of a run, and the doubtful."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from glip_cli.outputs.draw import annotate, shorten_to_width
from glip_cli.outputs.files import atomic_write, path_parts
from glip_cli.outputs.fonts import font_for
from glip_cli.outputs.images import SIDE, ReadImage, Thumbnails
from glip_cli.outputs.records import AnyRecord, Record, detections_of
from glip_cli.utils.marks import MARK

GRID = "grid.jpg"
_COLUMNS, _ROWS = 6, 2  # of each of the two kinds
_EACH = _COLUMNS * _ROWS
_WIDTH, _HEIGHT = SIDE, SIDE * 3 // 4  # pixels of a cell
_GAP, _NAME, _HEADING = 16, 24, 44
_PAPER, _INK, _SOFT, _MAT = "#fcfcfa", "#1d1f21", "#5c6166", "#e9e9e4"

Ranked = tuple[float, int, Record, str]
"""How good it is, minus its place in the run, its record, and the name of its files."""


class GridWriter:
    """`grid.jpg`: the images whose best box scores highest, and those whose best box scores lowest.

    The latter are doubtful, since of what is kept their answer lies nearest to the threshold; an image without a box is
    neither. No image is shown twice. Images are drawn from their thumbnails; one without any is a grey cell.
    """

    def __init__(
        self, folder: Path, read_image: ReadImage | None = None, palette: str | Sequence[str] = "bright"
    ) -> None:
        self._path, self._palette = folder / GRID, palette
        self._thumbnails = Thumbnails(folder, read_image)
        self._best: list[Ranked] = []
        self._doubtful: list[Ranked] = []
        self._count = 0

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record or not record["detections"]:
            return
        score = max(found["score"] for found in record["detections"])
        self._count += 1
        for kept, rank in ((self._best, score), (self._doubtful, -score)):
            heapq.heappush(kept, (rank, -self._count, record, name))
            if len(kept) > 2 * _EACH:  # as many again, where the two kinds overlap
                heapq.heappop(kept)

    def close(self) -> None:
        half = _EACH if self._count >= 2 * _EACH else -(-self._count // 2)
        best = sorted(self._best, reverse=True)[:half]
        shown = {one[1] for one in best}
        doubtful = [one for one in sorted(self._doubtful, reverse=True) if one[1] not in shown][:_EACH]
        kinds = [("Best: highest score first", best), ("Doubtful: lowest best score first", doubtful)]
        page = self._page([(title, images) for title, images in kinds if images] or [("No image with a box", [])])
        with atomic_write(self._path) as stream:
            page.save(stream, "JPEG", quality=90, subsampling=0, comment=MARK + b"grid")

    def _page(self, kinds: Sequence[tuple[str, Sequence[Ranked]]]) -> Image.Image:
        columns = min(_COLUMNS, max(max(len(images) for _, images in kinds), 2))
        rows = [-(-len(images) // columns) for _, images in kinds]
        height = _GAP + sum(_HEADING + count * (_HEIGHT + _NAME + _GAP) for count in rows)
        page = Image.new("RGB", (_GAP + columns * (_WIDTH + _GAP), height), _PAPER)
        pen, top = ImageDraw.Draw(page), _GAP
        for title, images in kinds:
            pen.text((_GAP, top), title, fill=_INK, font=font_for(title, 24))
            top += _HEADING
            for i, (_, _, record, name) in enumerate(images):
                corner = _GAP + i % columns * (_WIDTH + _GAP), top + i // columns * (_HEIGHT + _NAME + _GAP)
                page.paste(self._cell(record, name), corner)
                text = path_parts(record["image"])[-1]
                font = font_for(text, 15)
                pen.text(
                    (corner[0], corner[1] + _HEIGHT + 3), shorten_to_width(text, font, _WIDTH), fill=_SOFT, font=font
                )
            top += -(-len(images) // columns) * (_HEIGHT + _NAME + _GAP)
        return page

    def _cell(self, record: Record, name: str) -> Image.Image:
        cell = Image.new("RGB", (_WIDTH, _HEIGHT), _MAT)
        if self._thumbnails.has(record["image"], name):
            with Image.open(self._thumbnails.path(name)) as thumbnail:
                small = ImageOps.contain(thumbnail.convert("RGB"), cell.size)
            found = detections_of(record)
            scale = np.array((small.width / found.size[0], small.height / found.size[1]) * 2, np.float32)
            drawn = annotate(small, replace(found, boxes=found.boxes * scale, size=small.size), self._palette)
            cell.paste(drawn, ((cell.width - drawn.width) // 2, (cell.height - drawn.height) // 2))
        return cell
