"""What a model, or a file of results, says of a data set: boxes, and the images of which it says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glip_cli.data.frames import Frames, frames_of
from glip_cli.data.image_files import Size
from glip_cli.data.rows import ImageRow
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.utils.text_format import counted, one_line, shorten

Results = list[dict[str, Any]]

_LONGEST = 80  # characters of a name, in a line


@dataclass(frozen=True)
class Predictions:
    """COCO results and what is known of their images.

    Attributes:
        results: boxes in pixels of the size that the annotations state.
        frames: the images whose size is another one.
        failed: ids of the images that could not be read.
        absent: ids of the images that a file of results does not have.
        notes: what was odd about the file, one line each.
    """

    results: Results
    frames: Frames = field(default_factory=Frames)
    failed: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, truth: GroundTruth) -> Predictions:
        """Of some of the images alone."""
        ids = {image.id for image in truth.images}
        results = [row for row in self.results if row["image_id"] in ids]
        failed, absent = (tuple(i for i in some if i in ids) for some in (self.failed, self.absent))
        return replace(self, results=results, failed=failed, absent=absent)


def place(
    truth: GroundTruth, results: Iterable[dict[str, Any]], sizes: Mapping[int, Size], files: Mapping[int, Path]
) -> tuple[Results, Frames]:
    """Results in pixels of the upright images -> in pixels of the sizes that the annotations state.

    Args:
        truth: states the sizes.
        results: COCO results.
        sizes: image id -> size of the upright image, where it is known.
        files: image id -> file, where it is known.
    """
    frames = frames_of(truth.images, truth.annotations, sizes, files)
    if not frames.by_id:
        return list(results), frames
    return [{**row, "bbox": frames.to_stated(row["image_id"], row["bbox"])} for row in results], frames


def unread(truth: GroundTruth, predictions: Predictions) -> dict[str, str]:
    """Facts about the images that were not looked at, in words; empty where all were."""
    facts = {"failed": predictions.failed, "absent": predictions.absent}
    return {key: skipped(image_names(truth, ids), len(truth.images)) for key, ids in facts.items() if ids}


def skipped(names: Sequence[str], total: int, noun: str = "image") -> str:
    """ "2 of 20 images, scored as nothing found: a.png ..." """
    first, more = shorten(one_line(names[0]), _LONGEST), " ..." if len(names) > 1 else ""
    return f"{len(names)} of {counted(total, noun)}, scored as nothing found: {first}{more}"


def image_names(truth: GroundTruth, ids: Iterable[int]) -> list[str]:
    wanted = set(ids)
    return [image_name(image) for image in truth.images if image.id in wanted]


def image_name(image: ImageRow) -> str:
    return image.file_name or str(image.id)
