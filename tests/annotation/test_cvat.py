"""`glip_cli.integrations.cvat` as CVAT's own driver uses it: its types, its checks, its way of loading a module."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass

import numpy as np
import pytest

from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from glip_cli.errors import UsageError

pytest.importorskip("cvat_sdk.auto_annotation", reason="cvat-sdk is not installed: pip install 'glip-cli[cvat]'")

import cvat_sdk.auto_annotation as cvataa
from cvat_sdk import models
from cvat_sdk.auto_annotation import driver

from glip_cli.integrations.cvat import DetectionFunction

LABELS = "circle . red square . star ."


@dataclass(frozen=True)
class Context(cvataa.DetectionFunctionContext):  # type: ignore[misc]
    frame_name: str = "a.png"
    conf_threshold: float | None = None
    conv_mask_to_poly: bool = False


@pytest.fixture(scope="module")
def function() -> DetectionFunction:
    """As `cvat-cli --function-module glip_cli.integrations.cvat -p ...` makes it."""
    return importlib.import_module("glip_cli.integrations.cvat").create(model="glip-mini", labels=LABELS, device="cpu")


def test_the_spec_names_every_label_as_a_rectangle(function: DetectionFunction) -> None:
    assert isinstance(function.spec, cvataa.DetectionFunctionSpec)  # which validated itself
    assert [(label.name, label.id, label.type) for label in function.spec.labels] == [
        ("circle", 0, "rectangle"), ("red square", 1, "rectangle"), ("star", 2, "rectangle")]  # fmt: skip


def test_shapes_are_the_detectors_boxes(function: DetectionFunction) -> None:
    detector, many = Detector.load("glip-mini", device="cpu"), 0
    for number in range(4):
        image = draw_scene(np.random.default_rng(number), 240, 160).image
        for asked, threshold in ((None, 0.3), (0.1, 0.1)):
            found = detector(image, LABELS, threshold=threshold)
            shapes = function.detect(Context(conf_threshold=asked), image)
            assert [shape.label_id for shape in shapes] == found.label_ids.tolist()
            assert {(shape.type.value, shape.frame) for shape in shapes} <= {("rectangle", 0)}
            points = np.array([shape.points for shape in shapes]).reshape(-1, 4)
            np.testing.assert_allclose(points, found.boxes, atol=1e-3)
            np.testing.assert_allclose([shape.score for shape in shapes], found.scores, atol=1e-6)
            many += len(shapes)
    assert many > 4


def test_the_driver_takes_what_it_gives(function: DetectionFunction) -> None:
    """The driver gives shapes the label ids of the task, by name, and refuses those that break its rules."""
    task = [models.Label(name=name, id=number, type="rectangle", attributes=[], sublabels=[])
            for number, name in ((71, "star"), (72, "red square"), (73, "circle"), (74, "moon"))]  # fmt: skip
    mapper = driver._AnnotationMapper(
        logging.getLogger(), function.spec.labels, task, allow_unmatched_labels=False, conv_mask_to_poly=False
    )
    shapes = function.detect(Context(conf_threshold=0.05), draw_scene(np.random.default_rng(0)).image)
    before = [(71 + 2 - shape.label_id, shape.points) for shape in shapes]
    mapper.validate_and_remap(shapes, 5)
    assert [(shape.label_id, shape.points) for shape in shapes] == before != []
    assert {(shape.frame, shape.source) for shape in shapes} == {(5, "auto")}


def test_a_label_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        DetectionFunction(Detector.load("glip-mini", device="cpu"), ["a", "a"], None)  # type: ignore[arg-type]
