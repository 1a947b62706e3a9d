"""The boxes around COCO's polygons and RLE masks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from glip_cli.data.values import as_number, shown
from glip_cli.errors import DataError


def box_around(segmentation: object, where: str) -> list[float]:
    """[x, y, width, height] in pixels of polygons, or of an RLE mask, compressed or not.

    Raises DataError for what is neither, and for a mask of nothing.
    """
    if isinstance(segmentation, Mapping):
        return _around_mask(segmentation, where)
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(f"{where} is {shown(segmentation)}; there must be a bbox, or polygons or RLE to take it from")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    if not all(isinstance(one, list) and len(one) % 2 == 0 for one in polygons) or not any(polygons):
        raise DataError(f"{where} is {shown(segmentation)}; a polygon is [x1, y1, x2, y2, ...]")
    xs, ys = ([as_number(value, where) for value in chain(*(one[i::2] for one in polygons))] for i in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _around_mask(rle: Mapping[str, object], where: str) -> list[float]:
    from hotcoco import mask

    size, counts = rle.get("size"), rle.get("counts")
    try:
        box = mask.toBbox({"size": size, "counts": counts}).tolist()
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{where} is no RLE mask ({' '.join(str(error).split())[:80]})") from None
    if not (box[2] and box[3]):
        raise DataError(f"{where} is a mask of nothing, which has no box")
    return [float(value) for value in box]
