r"""GLIP as an auto-annotation function of CVAT: pre-labels for annotators.

    cvat-cli task auto-annotate 137 --function-module glip_cli.integrations.cvat \
        -p model=str:glip-t -p labels=str:"cat . dog ." -p threshold=float:0.3

CVAT calls `create` with the parameters and then `detect` with every image of the task. Labels are matched by name
with those of the task. Needs the package cvat-sdk: `pip install 'glip-cli[cvat]'`.
"""

from __future__ import annotations

import cvat_sdk.auto_annotation as cvataa
import cvat_sdk.models as models
from PIL import Image

from glip_cli.data.image_io import read_image
from glip_cli.detector import Detector
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions
from glip_cli.prompts.compile import PromptLike
from glip_cli.prompts.prompt import texts_prompt
from glip_cli.types import Detections


class DetectionFunction:
    """Rectangles for labels, see `cvat_sdk.auto_annotation.DetectionFunction`.

    Attributes:
        spec: the labels, with their places as ids.
    """

    def __init__(self, detector: Detector, prompt: PromptLike, options: DetectOptions) -> None:
        """`options.threshold` is used where CVAT asks for none. Raises PromptError, UsageError."""
        self.detector, self.options = detector, options
        self.compiled = detector.compile_prompt(prompt, options)
        labels = self.compiled.labels
        if len(set(labels)) < len(labels):
            raise UsageError("a label is given twice, and CVAT knows each name once; leave one out")
        specs = [cvataa.label_spec(label, number, type="rectangle") for number, label in enumerate(labels)]
        self.spec = cvataa.DetectionFunctionSpec(labels=specs)

    def detect(self, context: cvataa.DetectionFunctionContext, image: Image.Image) -> list[models.LabeledShapeRequest]:
        """In pixels of the image, which CVAT hands over upright. Raises ImageError."""
        threshold = self.options.threshold if context.conf_threshold is None else context.conf_threshold
        chosen = DetectOptions(**{**vars(self.options), "threshold": threshold})
        found = next(self.detector.stream([read_image(image, context.frame_name)], self.compiled, chosen))
        return [_rectangle(found, number) for number in range(len(found))]


def create(
    labels: str,
    model: str | None = None,
    weights: str | None = None,
    adapter: str | None = None,
    bert: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threshold: float = 0.3,
    nms_iou: float | None = None,
    offline: bool = False,
) -> DetectionFunction:
    """The function that CVAT calls with its `-p` parameters: the flags of `glip detect` by their names.

    Args:
        labels: "cat . dog .", "cat, dog", "@labels.txt" or "$: coco"; "shipping container = container" for other words.

    Raises:
        GlipError: as `glip detect`.
    """
    options = DetectOptions(threshold=threshold, nms_iou=nms_iou)
    prompt = texts_prompt([labels])
    detector = Detector.load(
        model, weights=weights, adapter=adapter, bert=bert, device=device, dtype=dtype, offline=offline
    )
    return DetectionFunction(detector, prompt, options)


def _rectangle(found: Detections, number: int) -> models.LabeledShapeRequest:
    corners = [round(float(corner), 3) for corner in found.boxes[number]]
    return cvataa.rectangle(int(found.label_ids[number]), corners, score=round(float(found.scores[number]), 6))
