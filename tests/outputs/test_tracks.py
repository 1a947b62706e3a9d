"""Tracks: the same thing keeps its number, from the records alone."""

from __future__ import annotations

import copy
from typing import Any

from glip_cli.outputs.records import Record
from glip_cli.outputs.video import VideoTracker


def record(frame: int, *boxes: tuple[str, float, float], video: str = "a.mp4") -> Record:
    """`boxes`: label, score and left edge; each is 40 pixels wide and high."""
    found: list[Any] = [
        {"label": label, "label_id": 0, "score": score, "span": [0, 1],
         "box": {"xmin": left, "ymin": 10.0, "xmax": left + 40, "ymax": 50.0}}
        for label, score, left in boxes
    ]  # fmt: skip
    return {"schema": "glip/1", "image": f"{video}#frame={frame}", "frame": frame, "time": frame / 10,
            "width": 640, "height": 60, "model": "m", "prompt": "cat . dog .", "labels": ["cat", "dog"],
            "detections": found}  # fmt: skip


def tracked(records: list[Record]) -> list[list[int | None]]:
    tracker = VideoTracker(0.3, {})
    for one in records:
        tracker.add(one)
    return [[found.get("track") for found in one["detections"]] for one in records]


def test_two_that_pass_each_other_keep_their_numbers() -> None:
    """Best first, as records are: their order changes, their labels do not."""
    frames = [
        record(i, *sorted([("cat", 0.6 + i % 2 / 10, 10.0 + 8 * i), ("dog", 0.65, 200.0 - 8 * i)],
                          key=lambda box: -box[1]))
        for i in range(20)
    ]  # fmt: skip
    numbers = tracked(frames)
    assert numbers[0] == [None, None]
    of_label = [{one["label"]: one.get("track") for one in frame["detections"]} for frame in frames[1:]]
    assert len({frozenset(one.items()) for one in of_label}) == 1
    assert set(of_label[0].values()) == {0, 1}


def test_two_of_a_label_and_one_that_was_hidden() -> None:
    frames = [record(i, ("cat", 0.8, 10.0 + i), *([] if 5 <= i < 8 else [("cat", 0.7, 300.0 + i)])) for i in range(12)]
    numbers = tracked(frames)
    assert numbers[4] == numbers[9] == [0, 1]
    assert numbers[6] == [0]


def test_a_low_score_goes_on_with_a_track_and_begins_none() -> None:
    low_later = [record(i, ("cat", 0.8 if i < 3 else 0.32, 10.0 + i)) for i in range(6)]
    assert tracked(low_later)[-1] == [0]
    low = [record(i, ("cat", 0.32, 10.0 + i)) for i in range(6)]
    assert tracked(low) == [[None]] * 6


def test_each_video_begins_with_0_and_images_have_none() -> None:
    one = [record(i, ("cat", 0.8, 10.0)) for i in range(3)]
    image = record(0, ("cat", 0.8, 10.0))
    del image["time"]
    again = copy.deepcopy(one)
    other = [record(i, ("dog", 0.8, 10.0), video="b.mp4") for i in range(3)]
    numbers = tracked([*one, image, *again, *other])
    assert numbers == [[None], [0], [0], [None], [None], [0], [0], [None], [0], [0]]


def test_what_an_earlier_run_numbered_is_numbered_again() -> None:
    frames = [record(i, ("cat", 0.8, 10.0)) for i in range(3)]
    for frame in frames:
        frame["detections"][0]["track"] = 7
    assert tracked(frames) == [[None], [0], [0]]
    assert "track" not in frames[0]["detections"][0]
