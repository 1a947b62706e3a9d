"""vis/NAME.jpg: each image of an evaluation twice, side by side: with its ground truth, and with what was found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from glip_cli.data.box_transforms import BoxTransforms
from glip_cli.data.dataset import Annotation
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.report.examples import drawable, readable
from glip_cli.evaluation.results import CocoResult, by_image, image_name
from glip_cli.outputs.draw import annotate, sizes_for
from glip_cli.outputs.files import FileNames, atomic_write
from glip_cli.outputs.fonts import font_for
from glip_cli.outputs.images import JPEG_QUALITY, AnnotatedImages
from glip_cli.types import Detections
from glip_cli.utils.marks import MARK

_PAPER, _INK = (255, 255, 255), (40, 40, 40)
_WIDEST = 65_000  # pixels: JPEG ends at 65,535


def save_images(
    out: Path,
    truth: GroundTruth,
    results: Iterable[CocoResult],
    images: Mapping[int, Path],
    transforms: BoxTransforms,
    threshold: float,
) -> Path:
    """Write one file for each image that can be read; those of an earlier run with the same names are replaced.

    Args:
        results: boxes in pixels of the sizes that the ground truth states.
        images: image id -> file.
        transforms: the images of another size.
        threshold: detections that do not score more are not drawn.

    Returns:
        Their folder.

    Raises:
        DataError: there is no image to draw on.
    """
    if not images:
        raise DataError(f"{truth.name}: none of its images is in {truth.folder}, to draw on; give their folder")
    folder, names = AnnotatedImages(out).folders[0], FileNames()
    known, found = by_image(_as_results(truth.annotations)), by_image(results)
    for row in truth.images:
        name = names.of(image_name(row))
        if row.id not in images or (image := readable(images[row.id])) is None:
            continue
        kept = [one for one in found[row.id] if one["score"] > threshold]
        halves = [annotate(image, _detections(rows, truth, transforms, image.size)) for rows in (known[row.id], kept)]
        drawn = _side_by_side(halves, ("ground truth", f"found, score above {threshold:.2f}"))
        with atomic_write(folder / f"{name}.jpg") as stream:
            drawn.save(stream, "JPEG", quality=JPEG_QUALITY, comment=MARK + b"drawn")
    return folder


def _as_results(annotations: Iterable[Annotation]) -> Iterator[CocoResult]:
    """Without the crowds. Scores are NaN, which are not drawn."""
    for row in annotations:
        if not row["iscrowd"]:
            yield {
                "image_id": row["image_id"], "category_id": row["category_id"], "bbox": row["bbox"], "score": math.nan
            }  # fmt: skip


def _detections(
    rows: Sequence[CocoResult], truth: GroundTruth, transforms: BoxTransforms, size: tuple[int, int]
) -> Detections:
    """Best first."""
    labels = tuple(category.name for category in truth.categories)
    label_index = {category.id: i for i, category in enumerate(truth.categories)}
    rows = sorted(rows, key=lambda row: -row["score"])
    found = [drawable(transforms.to_image(row["image_id"], row["bbox"])) for row in rows]
    boxes = np.array(found, np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([row["score"] for row in rows], np.float32)
    label_ids = np.array([label_index[row["category_id"]] for row in rows], np.int64)
    return Detections(boxes, scores, label_ids, labels, ((0, 0),) * len(labels), "", size)


def _side_by_side(halves: Sequence[Image.Image], titles: Sequence[str]) -> Image.Image:
    """Each with its title above it; one below the other where both are too wide for a JPEG."""
    width, height = halves[0].size
    letter = sizes_for((width, height), 0).letter
    strip, gap = 2 * letter, letter // 2
    across = 2 * width + gap <= _WIDEST
    step = (width + gap, 0) if across else (0, height + strip)
    whole = Image.new("RGB", (width + step[0], height + strip + step[1]), _PAPER)
    pen = ImageDraw.Draw(whole)
    for i, (half, title) in enumerate(zip(halves, titles, strict=True)):
        x, y = i * step[0], i * step[1]
        pen.text((x + letter // 2, y + letter // 2), title, fill=_INK, font=font_for(title, letter))
        whole.paste(half, (x, y + strip))
    return whole
