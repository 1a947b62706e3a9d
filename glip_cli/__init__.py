"""Open-vocabulary object detection with GLIP (arXiv 2112.03857), exactly as published."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glip_cli.annotation.run import annotate as annotate
    from glip_cli.detector import Detector as Detector
    from glip_cli.evaluation.run import evaluate as evaluate
    from glip_cli.onnx_export.export import export as export
    from glip_cli.options import DetectOptions as DetectOptions
    from glip_cli.prompts.prompt import caption_prompt as caption_prompt
    from glip_cli.prompts.prompt import label_prompt as label_prompt
    from glip_cli.training.run import finetune as finetune
    from glip_cli.types import Detection as Detection
    from glip_cli.types import Detections as Detections
    from glip_cli.types import Prompt as Prompt

__version__ = "0.1.0"

PUBLIC = {
    "Detector": "detector",
    "Detection": "types",
    "Detections": "types",
    "DetectOptions": "options",
    "Prompt": "types",
    "annotate": "annotation.run",
    "evaluate": "evaluation.run",
    "finetune": "training.run",
    "export": "onnx_export.export",
    "caption_prompt": "prompts.prompt",
    "label_prompt": "prompts.prompt",
}
"""Each public name and the module where it lives."""

__all__ = [*PUBLIC, "__version__"]


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for: `glip --help` must not wait for torch."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
