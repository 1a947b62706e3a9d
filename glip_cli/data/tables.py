"""The rows of a data set before they are checked: those of a COCO file, whatever they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glip_cli.data.ids import Ids


@dataclass(frozen=True)
class Tables:
    """`images`, `annotations` and `categories` as in COCO; `folder` is where the images are looked for.

    Attributes:
        image_ids, category_ids: the file's own ids, for the numbers that stand in the rows.
        paths: image id -> its file, where the reader knows it.
        is_part: it is the split that was asked for; else there are none, and it is all.
        sizes: file -> (width, height) in pixels of the upright image, or why it has none, where the reader opened it.
    """

    name: str
    folder: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    is_grounding: bool = False
    image_ids: Ids = field(default_factory=Ids)
    category_ids: Ids = field(default_factory=Ids)
    is_part: bool = False
    paths: Mapping[int, Path] = field(default_factory=dict)
    sizes: Mapping[Path, tuple[int, int] | str] = field(default_factory=dict)
