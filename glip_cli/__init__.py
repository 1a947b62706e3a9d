"""Open-vocabulary detection with GLIP (arXiv 2112.03857), exactly as published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glip_cli.detector import Detector

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Detector`, and with it torch, only when it is asked for: `glip --help` must stay instant."""
    if name == "Detector":
        from glip_cli.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
