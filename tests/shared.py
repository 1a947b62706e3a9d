"""The reference material that lies beside the checkout, for tests that can use it and skip where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("GLIP_SHARED") or Path(__file__).resolve().parents[2] / "shared")
GOLDEN = Path(__file__).parent / "golden"


def shared(path: str) -> Path:
    """A file or folder of it; skips the test where it is absent."""
    if not (SHARED / path).exists():
        pytest.skip(f"needs {path} of the reference material (a folder `shared` beside the checkout, or GLIP_SHARED)")
    return SHARED / path


def golden(path: str) -> Path:
    """A golden of the repository, or else of the reference material; skips the test where neither has it."""
    own = GOLDEN / path
    return own if own.exists() else shared(f"parity/{path}")
