"""Images of another size than their annotations state, and the way from the pixels of one to those of the other.

The size that is stated is what the boxes count in. An image that was resized after it was annotated, or annotated by
a tool that passes over EXIF's orientation, has its boxes elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from glip_cli.data.dataset import Annotation, ImageRow, Size
from glip_cli.data.image_headers import TURNED, read_headers
from glip_cli.data.issues import DataIssue, Issues
from glip_cli.data.values import shown
from glip_cli.utils.text_format import one_line, shorten

Corners = tuple[float, float, float, float]
_Interval = tuple[float, float]

_MOST = 0.9  # of the boxes lie within the stated size where that is what they count in
_LONGEST = 80  # characters of a name, in a line
_ROUNDING = 1.0  # pixels that a box may pass the edge by: tools round, and some count from 1
_UNDONE = {6: 8, 8: 6}  # EXIF orientation -> the one that turns back, where that is another


class BoxTransform(NamedTuple):
    """One image: its upright (width, height), the stated one, and EXIF's orientation where that is to be undone."""

    image: Size
    stated: Size
    orientation: int = 1

    def to_stated(self, box: Sequence[float]) -> list[float]:
        """[x, y, width, height] in pixels of the upright image -> in those of the stated size, to three decimals."""
        (x, y, width, height), image, stated = box, self.image, self.stated
        across, down = (x / image[0], (x + width) / image[0]), (y / image[1], (y + height) / image[1])
        if self.orientation in TURNED:
            across, down = _flipped(down, self.orientation in (7, 8)), _flipped(across, self.orientation in (6, 7))
        shares = across[0], down[0], across[1] - across[0], down[1] - down[0]
        return [round(share * side, 3) for share, side in zip(shares, (*stated, *stated), strict=True)]

    def to_image(self, box: Sequence[float]) -> list[float]:
        """The way back."""
        return BoxTransform(self.stated, self.image, _UNDONE.get(self.orientation, self.orientation)).to_stated(box)


def _flipped(interval: _Interval, flip: bool) -> _Interval:
    return (1 - interval[1], 1 - interval[0]) if flip else interval


@dataclass(frozen=True)
class BoxTransforms:
    """The images of a set that are of another size than stated.

    Attributes:
        by_id: image id -> transform, for those whose boxes have to be moved.
        issues: all of them, by what happens to their boxes.
    """

    by_id: Mapping[int, BoxTransform] = field(default_factory=dict)
    issues: Issues = field(default_factory=Issues, compare=False)

    def to_stated(self, image_id: int, box: list[float]) -> list[float]:
        """See `BoxTransform.to_stated`."""
        return self.by_id[image_id].to_stated(box) if image_id in self.by_id else box

    def to_image(self, image_id: int, box: list[float]) -> list[float]:
        """See `BoxTransform.to_image`."""
        return self.by_id[image_id].to_image(box) if image_id in self.by_id else box


def box_transforms_of(
    images: Iterable[ImageRow],
    annotations: Iterable[Annotation],
    sizes: Mapping[int, Size],
    files: Mapping[int, Path],
    issue: DataIssue | None = None,
) -> BoxTransforms:
    """The transforms from a data set's boxes to pixels of its upright images.

    An image of the stated proportions was resized; one whose proportions are those stated only when EXIF's orientation
    is undone was annotated as it lies in the file. Where the proportions are others, or a tenth of the boxes pass the
    edge of what is stated, the stated size is wrong and the boxes are pixels of the image.

    Args:
        sizes: image id -> upright size, where it is known.
        files: image id -> file, whose orientation is read where the sizes differ.
        issue: what is said of all these images, where the boxes are not moved by the transforms.

    Raises UnavailableError where the disk of one of the files does not answer.
    """
    odd = [row for row in images if row.width and row.height and sizes.get(row.id, row.stated_size) != row.stated_size]
    headers = read_headers(files[row.id] for row in odd if row.id in files)
    turns = {number: headers[file].orientation for number, file in files.items() if file in headers}
    made = {row.id: _transform(row.stated_size, sizes[row.id], turns.get(row.id, 1)) for row in odd}
    found = {number: transform for number, transform in made.items() if transform}
    inside = [_is_inside(row["bbox"], found[row["image_id"]].stated) for row in annotations if row["image_id"] in found]
    transforms = BoxTransforms(found if sum(inside) >= _MOST * len(inside) else {})
    for row in odd:
        (width, height), name = sizes[row.id], shorten(one_line(row.file_name or f"image {row.id}"), _LONGEST)
        turned = row.id not in files and _are_alike(row.stated_size, (height, width))
        kept = DataIssue.IMAGE_TURNED if turned else DataIssue.IMAGE_SIZE
        kind = issue or (DataIssue.IMAGE_SCALED if row.id in transforms.by_id else kept)
        transforms.issues.add(kind, f"{name}: {width} x {height}, stated {row.width} x {row.height}")
    return transforms


def checked_box_transforms(
    images: Sequence[ImageRow],
    annotations: Sequence[Annotation],
    files: Mapping[int, Path],
    sizes: Mapping[int, Size] | None = None,
    issue: DataIssue | None = None,
) -> BoxTransforms:
    """`box_transforms_of`; its issues also count the boxes, crowds aside, that do not lie in their images.

    `sizes` None: those that the files say. Raises UnavailableError.
    """
    if sizes is None:
        headers = read_headers(files[row.id] for row in images if row.width and row.height and row.id in files)
        sizes = {number: headers[path].size for number, path in files.items() if path in headers}
    transforms = box_transforms_of(images, annotations, sizes, files, issue)
    rows = {row.id: row for row in images}
    for box in annotations:
        image, (_, _, width, height) = rows[box["image_id"]], box["bbox"]
        size = sizes.get(image.id, image.stated_size)
        if all(size) and min(width, height) > 0 and not box["iscrowd"]:  # flat ones are an issue of the ground truth
            moved: Annotation = {**box, "bbox": transforms.to_image(image.id, box["bbox"])}
            corners_inside(moved, size, image.file_name, transforms.issues)
    return transforms


def corners_inside(row: Annotation, size: Size, image: str, issues: Issues) -> Corners | None:
    """The corners of the part of a box that lies in its image of `size`; None where there is not enough of it."""
    x, y, width, height = row["bbox"]
    right, bottom, (across, down) = x + width, y + height, size
    if x >= 0 and y >= 0 and width > 1 and height > 1 and right <= across and bottom <= down:
        return x, y, right, bottom
    if min(width, height) <= 1:  # less its far edge, nothing is left of it: `training.transforms`
        issues.add(DataIssue.BOX_SIZE, box_example(row, image))
        return None
    x1, y1 = max(x, 0.0), max(y, 0.0)
    x2, y2 = min(right, float(across)), min(bottom, float(down))
    if min(x2 - x1, y2 - y1) <= 1:
        issues.add(DataIssue.BOX_OUTSIDE, f"{box_example(row, image)} in {across} x {down}")
        return None
    if max(x1 - x, y1 - y, right - x2, bottom - y2) > _ROUNDING:
        issues.add(DataIssue.BOX_CLIPPED, f"{box_example(row, image)} in {across} x {down}")
    return x1, y1, x2, y2


def lies_inside(box: Sequence[float], size: Size) -> bool:
    """Whether [x, y, width, height] is larger than a pixel and passes no edge of an image of `size`."""
    return min(box[2:]) > 1 and _is_inside(box, size)


def box_example(row: Annotation, image: str) -> str:
    """The image and the id of a box, for an issue."""
    return f"{image}: box {shown(row['bbox'])}, id {row['id']}"


def _transform(stated: Size, image: Size, orientation: int) -> BoxTransform | None:
    """None where the one was not made from the other."""
    turned = orientation in TURNED and _are_alike(stated, image[::-1])
    if turned and (stated == image[::-1] or not _are_alike(stated, image)):
        return BoxTransform(image, stated, orientation)
    return BoxTransform(image, stated) if _are_alike(stated, image) else None


def _are_alike(a: Size, b: Size) -> bool:
    """Whether the proportions are the same, each side of the smaller one rounded either way."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(sum(a), sum(b))


def _is_inside(box: Sequence[float], size: Size) -> bool:
    x, y, width, height = box
    return min(x, y) >= -_ROUNDING and x + width <= size[0] + _ROUNDING and y + height <= size[1] + _ROUNDING
