"""`--onnx FILE`: what `glip export` wrote, in the place of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.errors import UsageError

if TYPE_CHECKING:
    from glip_cli.detector import Detector


def open_onnx(onnx: Path | None, *, device: str, dtype: str, **others: object) -> Detector | None:
    """The Detector of --onnx; None without the flag. `others`: flags that say something else.

    Raises UsageError, CheckpointError.
    """
    if onnx is None:
        return None
    if clash := [name for name, value in others.items() if value]:
        raise UsageError(f"--onnx does not go with --{clash[0].replace('_', '-')}: leave one of them out")
    from glip_cli.onnx_export.session import load_onnx

    return load_onnx(onnx, device, dtype)
