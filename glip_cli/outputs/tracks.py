"""The same thing in the frames of a video: ByteTrack, as the package trackers has it (the extra `track`)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from glip_cli.errors import UsageError
from glip_cli.outputs.records import AnyRecord, corners
from glip_cli.utils.frames import split_frame

if TYPE_CHECKING:
    from glip_cli.outputs.records import DetectionRecord

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
        self._trackers: dict[str, Any] = {}
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
        for place, track in sorted(zip(tracked.data["place"].tolist(), tracked.tracker_id.tolist(), strict=True)):
            if track >= 0:
                if (label, track) not in self._numbers:
                    self._numbers[label, track] = next(self._free)
                found[place]["track"] = self._numbers[label, track]
