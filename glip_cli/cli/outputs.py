"""The outputs of a run: files for each image, lines on the terminal, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.cli.console import Console, print_json, print_line, say_error
from glip_cli.cli.exit import leave_if_failed
from glip_cli.errors import UsageError
from glip_cli.options import split_values
from glip_cli.utils.text_format import counted

if TYPE_CHECKING:
    from glip_cli.outputs.files import FileNames, Writer
    from glip_cli.outputs.images import AnnotatedImages
    from glip_cli.outputs.records import AnyRecord
    from glip_cli.outputs.video import AnnotatedVideos, VideoTracker
    from glip_cli.runs.local import ImageResult
    from glip_cli.types import Detections


def read_formats(given: Sequence[str] | None, usual: str, known: Collection[str]) -> list[str]:
    """The values of --format, each a name or several with commas, each once; `usual` where none is given.

    Raises UsageError for one that is not `known`, and for two that would write the same files.
    """
    names = split_values(given or [usual])
    for name in names or given or ():
        if name not in known:
            raise UsageError(f"--format {name}: there are {', '.join(known)}")
    if {"json", "mmdet"} <= set(names):
        raise UsageError("--format json and mmdet both write preds/NAME.json; take jsonl and mmdet")
    return list(dict.fromkeys(names))


@dataclass
class Files:
    """The files that are written for each image."""

    folder: Path
    formats: Sequence[str]
    annotated: AnnotatedImages
    names: FileNames
    videos: AnnotatedVideos
    tracker: VideoTracker | None = None
    with_scores: bool = False
    _open: ExitStack = field(default_factory=ExitStack)
    _writers: list[Writer] = field(default_factory=list)

    def __enter__(self) -> Files:
        from glip_cli.outputs.files import writing
        from glip_cli.outputs.formats import open_writers

        with writing(f"to {self.folder}"):
            for writer in open_writers(
                self.formats, self.folder, with_scores=self.with_scores, palette=self.annotated.palette
            ):
                self._writers.append(self._open.enter_context(closing(writer)))
            self._open.enter_context(closing(self.videos))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def save(self, outcome: ImageResult, model: str) -> dict[str, object]:
        """Write everything of one image; return its record. Raises OutputError where the folder cannot be written."""
        from glip_cli.outputs.files import writing
        from glip_cli.outputs.records import error_record, record

        name, file_name = outcome.source.name, self.names.of(outcome.source.name)
        made = (
            record(name, outcome.detections, model, outcome.source.position)
            if outcome.detections is not None
            else error_record(name, str(outcome.error), model)
        )
        if self.tracker:
            self.tracker.add(made)
        with writing(f"to {self.folder}"):
            self._save_images(outcome, file_name, made)
            for writer in self._writers:
                writer.add(made, file_name)
        return dict(made)

    def _save_images(self, outcome: ImageResult, name: str, made: AnyRecord) -> None:
        image, frame, clip = outcome.image, outcome.source.frame, outcome.source.clip
        if image is None or outcome.detections is None or "detections" not in made:
            return
        self.annotated.save(image, outcome.detections, name, made["image"], in_video=clip is not None)
        if self.annotated.drawn and clip and frame and frame.time is not None:
            self.videos.add(clip, image, frame.time, made)

    def show(self, outcome: ImageResult) -> bool:
        """Open the drawn image in a window; False where none can be opened."""
        if outcome.image is None or outcome.detections is None:
            return True
        from PIL import ImageShow

        drawn = self.annotated.draw(outcome.image, outcome.detections)
        try:
            return has_display() and ImageShow.show(drawn, outcome.source.name)
        except OSError:
            return False


def has_display() -> bool:
    """Whether there may be windows: always on macOS and Windows, elsewhere where a display server is named."""
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or bool(named)


@dataclass
class Summary:
    """Prints and counts the results, and sets the exit code."""

    console: Console
    images: int = 0
    detections: int = 0
    failed: int = 0

    def add(self, outcome: ImageResult, record: dict[str, object], as_json: bool) -> None:
        self.images += 1
        if outcome.error:
            self.failed += 1
            say_error(outcome.error)
        elif outcome.detections is not None:
            self.detections += len(outcome.detections)
        if as_json:
            print_json(record)
        elif outcome.detections is not None and not self.console.quiet:
            self._list(outcome.source.name, outcome.detections)

    def _list(self, name: str, detections: Detections) -> None:
        from glip_cli.outputs.records import as_recorded

        found = as_recorded(detections)
        width, height = found.size
        print_line(f"{name}  {width}x{height}  {len(found) or 'nothing'} found")
        longest = max(map(len, found.names), default=0)
        for name, score, box in zip(found.names, found.scores, found.boxes, strict=True):
            x1, y1, x2, y2 = (f"{corner:7.1f}" for corner in box)
            print_line(f"  {name:<{longest}}  {score:.2f}  {x1} {y1} {x2} {y2}")

    def close(self, files: Files) -> None:
        """Say where things are; leave with 1 when every image failed, 3 when some did."""
        saved = files.formats or (files.annotated.any and self.failed < self.images)
        saved_in = f"; saved in {files.folder}" if saved else ""
        failed = f", {self.failed} failed" if self.failed else ""
        self.console.info(f"{counted(self.images, 'image')}, {self.detections} found{failed}{saved_in}")
        leave_if_failed(self.failed, self.images)
