"""Packages that only `glip export` and `--onnx` need."""

from __future__ import annotations

import importlib
from types import ModuleType

from glip_cli.errors import UsageError


def needed(package: str) -> ModuleType:
    """Import it. Raises UsageError that says how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(f"ONNX needs {package}, which is not installed: pip install 'glip-cli[export]'") from error
