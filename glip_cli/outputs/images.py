"""The images that a run saves: each image with its boxes, and what is inside each box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from glip_cli.outputs.caption_image import add_caption
from glip_cli.outputs.draw import annotate, palette_colours, save_crops
from glip_cli.outputs.files import atomic_write
from glip_cli.outputs.records import as_recorded
from glip_cli.outputs.thumbnails import THUMBNAILS, save_thumbnail
from glip_cli.types import Detections
from glip_cli.utils.marks import MARK

JPEG_QUALITY = 92


@dataclass(frozen=True)
class AnnotatedImages:
    """Which to save, and where. Raises UsageError for a palette that cannot be meant."""

    folder: Path
    drawn: bool = False  # vis/NAME.jpg, the image with its boxes
    crops: bool = False  # crops/LABEL/NAME..., the content of each box
    palette: str = "bright"
    thumbnails: bool = False  # thumbnails/NAME.jpg, the image alone, small

    def __post_init__(self) -> None:
        palette_colours(self.palette, 1)  # a wrong one is refused before the work

    @property
    def folders(self) -> tuple[Path, Path, Path]:
        """Where the three kinds go."""
        return self.folder / "vis", self.folder / "crops", self.folder / THUMBNAILS

    @property
    def any(self) -> bool:
        return self.drawn or self.crops or self.thumbnails

    def save(
        self, image: Image.Image, detections: Detections, name: str, image_name: str, in_video: bool = False
    ) -> None:
        """Write what is wanted of one image. Raises OSError.

        Args:
            name: what the files are called, without suffix.
            image_name: what records call the image.
            in_video: it is a frame of a video, and drawn there.
        """
        if self.drawn and not in_video:
            with atomic_write(self.folders[0] / f"{name}.jpg") as stream:
                self.draw(image, detections).save(stream, "JPEG", quality=JPEG_QUALITY, comment=MARK + b"drawn")
        if self.crops:
            save_crops(image, as_recorded(detections), self.folders[1], name)
        if self.thumbnails:
            save_thumbnail(image, self.folders[2] / f"{name}.jpg", image_name)

    def draw(self, image: Image.Image, detections: Detections) -> Image.Image:
        return plot(image, detections, self.palette)


def plot(
    image: Image.Image, detections: Detections, palette: str | Sequence[str] = "bright", names: Sequence[str] = ()
) -> Image.Image:
    """The image with its boxes; below it the caption, where the prompt was one. Drawn is what the record says.

    `names`: what is written at each box, where that is not its label.
    """
    detections = as_recorded(detections)
    drawn = annotate(image, detections, palette, names)
    return add_caption(drawn, detections, palette) if detections.places else drawn
