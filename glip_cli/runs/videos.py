"""The outputs of a run's videos, once all their frames have records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from glip_cli.data.frame_inputs import FrameChoice, in_frames
from glip_cli.data.sources import ImageInput
from glip_cli.outputs.files import FileNames, json_bytes, sha256_of, writing
from glip_cli.outputs.records import AnyRecord
from glip_cli.outputs.video import VideoFile, VideoTracker, comment_of, draw_frame
from glip_cli.runs.journal import fsynced, read_records

_AGAIN = "make room, then run the same command again"


def noting_videos(sources: Iterable[ImageInput], videos: list[ImageInput]) -> Iterator[ImageInput]:
    """Pass `sources` on; the video of each frame is added to `videos`, once for each time it is read."""
    clip = None
    for source in sources:
        if source.clip is not None and source.clip is not clip:
            clip = source.clip
            videos.append(replace(source, name=clip.name, frame=None))
        yield source


def track_videos(results: Path, tracker: VideoTracker) -> None:
    """Give the detections in complete results their tracks, in place. Raises OutputError."""
    with writing(results, _AGAIN), fsynced(results) as stream:
        for record in read_records(results):
            tracker.add(record)
            stream.write(json_bytes(record) + b"\n")


def draw_videos(
    videos: Iterable[ImageInput], results: Path, choice: FrameChoice, palette: str, names: FileNames,
    begun: Callable[[Path], None] = lambda path: None,
) -> None:  # fmt: skip
    """vis/NAME.mp4 beside the results of each video, which is decoded once more.

    One that was drawn of these very results stays. `begun` is called with the path of each that is drawn. Raises
    OutputError.
    """
    comment = f"glip {palette} {sha256_of(results)}"
    records = read_records(results)
    for video in videos:
        path = results.parent / "vis" / f"{names.of(video.name)}.mp4"
        if comment_of(path) == comment:
            continue
        begun(path)
        with writing(path, _AGAIN):
            _draw(video, records, choice, palette, path, comment)


def _draw(
    video: ImageInput, records: Iterator[AnyRecord], choice: FrameChoice, palette: str, path: Path, comment: str
) -> None:
    file: VideoFile | None = None
    try:
        for source in in_frames(video, choice):
            record = next((record for record in records if record["image"] == source.name), None)
            if source.frame and source.frame.time is not None and source.clip and record and "detections" in record:
                file = file or VideoFile(path, source.clip.rate, comment)
                file.add(draw_frame(source.frame.image(), record, palette), source.frame.time)
        if file:
            file.close()
    finally:
        if file:
            file.discard()
