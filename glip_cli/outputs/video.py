"""Images to a video that browsers play: H.264 in mp4, written with PyAV (the extra `video`)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glip_cli.errors import OutputError, UsageError
from glip_cli.outputs.colours import PALETTES
from glip_cli.outputs.files import FileNames, atomic_write
from glip_cli.outputs.images import plot
from glip_cli.outputs.records import AnyRecord, DetectionRecord, Record, corners, detections_of
from glip_cli.utils.frames import Clip, split_frame

if TYPE_CHECKING:
    from av.container import OutputContainer
    from PIL import Image
    from trackers import ByteTrackTracker


_CODECS = ("libx264", "libopenh264")  # of H.264; the first that this PyAV has
_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "23"}}
_TICKS = 90_000  # per second: a whole number of them for every usual rate
_FRAGMENT_SECONDS = 1
_LARGEST = 10_000  # frames per second, or seconds per frame, that a file says: FFmpeg counts in 32 bits


class VideoFile:
    """A video that grows, and is whole at any moment.

    Until `close` it is called NAME.part.mp4, in fragments, so that also a process that is killed leaves what a player
    plays. `close` writes it once more under its name, with the index in front, without encoding it again.
    """

    def __init__(self, path: Path, rate: Fraction, comment: str = "") -> None:
        """`rate`: frames per second, as a player shows it; `comment`: what the file says of itself."""
        self.path, self._comment = path, comment
        self._rate = min(max(rate, Fraction(1, _LARGEST)), Fraction(_LARGEST)).limit_denominator(_LARGEST)
        self._part = path.with_name(f"{path.stem}.part.mp4")
        self._last = -1
        self._container: OutputContainer | None = None

    def add(self, image: Image.Image, time: Fraction) -> None:
        """The next frame, `time` seconds after the first; all are fitted into the size of the first.

        Raises OSError; OutputError where the encoder takes no such frames.
        """
        import av

        container = self._container or self._open(image.size)
        canvas = image if image.size == self._size else _fitted(image, self._size)
        frame = av.VideoFrame.from_image(canvas)
        frame.time_base = Fraction(1, _TICKS)
        frame.pts = max(round(time * _TICKS), self._last + 1)
        try:
            packets = self._stream.encode(frame)
        except av.FFmpegError as error:
            width, height = self._size
            raise OutputError(f"cannot write {self.path}: no video of {width} x {height} pixels can be encoded "
                              f"({error.strerror}); leave out the annotated video") from None  # fmt: skip
        self._last = frame.pts
        container.mux(packets)

    def close(self) -> None:
        """Give it its name. Raises OSError."""
        import av

        if self._last < 0:  # no frame was taken
            return self.discard()
        if self._container is None:
            return None
        container, self._container = self._container, None
        with container:
            container.mux(self._stream.encode())
        # an mp4 of FFmpeg goes back to its beginning, so that it takes a path
        with atomic_write(self.path) as stream, av.open(str(self._part)) as source:
            options = {"movflags": "faststart"}
            with av.open(stream.name, "w", format="mp4", options=options) as target:
                target.metadata["comment"] = self._comment
                stream = target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.stream = stream
                        target.mux(packet)
        self._part.unlink()

    def discard(self) -> None:
        """Leave nothing of it behind. Raises OSError."""
        container, self._container = self._container, None
        if container is not None:
            with suppress(OSError):  # what a full disk has refused, it refuses again
                container.close()
        self._part.unlink(missing_ok=True)

    def _open(self, size: tuple[int, int]) -> OutputContainer:
        import av

        codec = next((name for name in _CODECS if name in av.codecs_available), None)
        if codec is None:
            raise OutputError(f"cannot write {self.path}: this PyAV has no encoder of H.264; install another build")
        self._part.parent.mkdir(parents=True, exist_ok=True)
        fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        self._container = av.open(str(self._part), "w", format="mp4", options=fragments)
        stream = self._container.add_stream(codec, rate=self._rate, options=_OPTIONS.get(codec, {}))
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        # 4:2:0, which browsers need, has half as many colours each way
        self._size = stream.width, stream.height = size[0] + size[0] % 2, size[1] + size[1] % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.max_b_frames = 0  # so that the first time is 0 in fragments too
        stream.codec_context.gop_size = max(round(self._rate * _FRAGMENT_SECONDS), 1)
        stream.codec_context.time_base = Fraction(1, _TICKS)
        return self._container


class AnnotatedVideos:
    """Videos with their boxes, as vis/NAME.mp4, while their frames come; one is open at a time."""

    def __init__(self, folder: Path, palette: str, names: FileNames) -> None:
        """`names`: for videos alone."""
        self._folder, self._names, self._palette = folder / "vis", names, palette
        self._clip: Clip | None = None
        self._file: VideoFile | None = None

    def add(self, clip: Clip, image: Image.Image, time: Fraction, record: Record) -> None:
        """The next frame of a video; one of another video ends the one before. Raises OSError."""
        if clip is not self._clip or self._file is None:
            self.close()
            self._clip = clip
            self._file = VideoFile(self._folder / f"{self._names.of(clip.name)}.mp4", clip.rate)
        self._file.add(draw_frame(image, record, self._palette), time)

    def close(self) -> None:
        """End the video that is open. Raises OSError."""
        file, self._file, self._clip = self._file, None, None
        if file:
            file.close()


def draw_frame(image: Image.Image, record: Record, palette: str) -> Image.Image:
    """A frame with its boxes: each label has one colour, as shades, which follow the order of boxes, would flicker."""
    names = [f"{one['label']} #{one['track']}" if "track" in one else one["label"] for one in record["detections"]]
    return plot(image, detections_of(record), PALETTES.get(palette, palette), names)


def comment_of(path: Path) -> str | None:
    """The comment in a video's metadata; None for a missing or damaged file."""
    import av

    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment")
    except (OSError, ValueError, av.FFmpegError):
        return None


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """As large as it can be within (width, height), whose rest is black; one pixel that lacks repeats the edge's."""
    from PIL import Image, ImageOps

    missing = size[0] - image.width, size[1] - image.height
    if set(missing) <= {0, 1}:
        canvas = image.resize(size, Image.Resampling.NEAREST, box=(0, 0, image.width, image.height))
        canvas.paste(image)
        return canvas
    return ImageOps.pad(image, size)


# --------------------------------------------------------------------------------------------------------------- tracks
# The same thing in the frames of a video: ByteTrack, as the package trackers has it (the extra `track`).


_ABOVE_THRESHOLD = 0.1  # as in ByteTrack's own code
TRACK_EXTRA = "pip install 'glip-cli[track]'"


class VideoTracker:
    """Numbers the things in videos, each video's from 0, with a tracker for each label.

    The numbers depend on the records alone, in their order.
    """

    def __init__(self, threshold: float, class_thresholds: Mapping[str, float]) -> None:
        """Both as in `DetectOptions`. Raises UsageError where trackers is not installed."""
        if find_spec("trackers") is None:
            raise UsageError(f"--track needs the package trackers: {TRACK_EXTRA}")
        self._threshold, self._thresholds = threshold, class_thresholds
        self._video, self._frame = "", -1
        self._trackers: dict[str, ByteTrackTracker] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        self._free = count()

    @property
    def has_video(self) -> bool:
        """Whether a frame of one was among the records."""
        return self._frame >= 0

    def add(self, record: AnyRecord) -> None:
        """Give the boxes of a video's next frame their `track`, but for things that are seen for the first time.

        Images are left as they are.
        """
        if "time" not in record or "detections" not in record:
            return
        video, frame = split_frame(record["image"])[0], record["frame"]
        if video != self._video or frame <= self._frame:
            self._trackers, self._numbers, self._free = {}, {}, count()
        self._video, self._frame = video, frame
        by_label: dict[str, list[DetectionRecord]] = {label: [] for label in self._trackers}
        for detection in record["detections"]:
            detection.pop("track", None)
            by_label.setdefault(detection["label"], []).append(detection)
        for label, found in by_label.items():
            self._follow(label, found, record["time"])

    def _follow(self, label: str, found: list[DetectionRecord], time: float) -> None:
        import supervision
        from trackers import ByteTrackTracker

        if label not in self._trackers:
            begins = self._thresholds.get(label, self._threshold) + _ABOVE_THRESHOLD
            self._trackers[label] = ByteTrackTracker(track_activation_threshold=begins, high_conf_det_threshold=begins)
        boxes = supervision.Detections(
            xyxy=np.array([corners(one) for one in found], np.float64).reshape(-1, 4),
            confidence=np.array([one["score"] for one in found], np.float64),
            data={"place": np.arange(len(found))},
        )
        tracked = self._trackers[label].update(boxes, timestamp=time)
        if len(tracked) == 0:
            return
        for stream, track in sorted(zip(tracked.data["place"].tolist(), tracked.tracker_id.tolist(), strict=True)):
            if track >= 0:
                if (label, track) not in self._numbers:
                    self._numbers[label, track] = next(self._free)
                found[stream]["track"] = self._numbers[label, track]
