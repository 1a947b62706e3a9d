"""The rows of a training set before they are believed: those of a COCO file, whatever they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tables:
    """`images`, `annotations` and `categories` as in COCO; `folder` is where the pictures are looked for."""

    name: str
    folder: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    is_grounding: bool = False
