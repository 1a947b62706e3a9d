"""`Detections`: a sequence, an image, and what other libraries get of it; `DetectOptions` as keyword arguments."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from PIL import Image

import glip_cli
from glip_cli.errors import OutputError, UsageError
from glip_cli.options import DetectKeywords, DetectOptions, FeatureKeywords, FeatureOptions
from glip_cli.types import Detections

IMAGE = Image.new("RGB", (64, 48), "white")
FOUND = Detections(
    boxes=np.array([[1, 2, 30, 40], [5.5, 5, 20, 20], [0, 0, 64, 48]], np.float32),
    scores=np.array([0.9, 0.6, 0.25], np.float32),
    label_ids=np.array([1, 0, 1]),
    labels=("cat", "remote"),
    spans=((0, 3), (6, 12)),
    text="cat . remote .",
    size=(64, 48),
    image=IMAGE,
    name="a.jpg",
    model="m@1",
)
EMPTY = FOUND[FOUND.scores > 1]


def test_one_is_a_detection() -> None:
    assert FOUND[1] == ("cat", pytest.approx(0.6), (5.5, 5.0, 20.0, 20.0), 0)
    assert (FOUND[-1].label, FOUND[np.int64(0)].label) == ("remote", "remote")
    with pytest.raises(IndexError):
        FOUND[3]
    assert [one.label for one in FOUND] == FOUND.names == ["remote", "cat", "remote"]


@pytest.mark.parametrize("index", [slice(0, 2), FOUND.scores > 0.5, [0, 1], range(2), np.array([0, 1])], ids=str)
def test_some_are_detections(index: slice | list[int] | np.ndarray) -> None:
    some = FOUND[index]
    assert (len(some), some.names, some.labels, some.image) == (2, ["remote", "cat"], FOUND.labels, IMAGE)
    assert some == FOUND[:2] != FOUND
    assert hash(some) == hash(FOUND[:2])


def test_a_list_of_bools_chooses_as_an_array_of_them_does() -> None:
    assert FOUND[[name == "remote" for name in FOUND.names]].scores.tolist() == pytest.approx([0.9, 0.25])
    assert len(FOUND[[False] * 3]) == 0
    with pytest.raises(IndexError):
        FOUND[[True]]


def test_it_is_a_sequence() -> None:
    assert isinstance(FOUND, Sequence)
    assert (FOUND.index(FOUND[1]), FOUND.count(FOUND[1]), FOUND[1] in FOUND) == (1, 1, True)
    assert list(reversed(FOUND)) == [FOUND[2], FOUND[1], FOUND[0]]
    assert "cat" not in FOUND


INDICES = [0.5, None, "cat", (0, 1), ..., {0}, [0.5], ["cat"], [[0, 1], [1, 0]], [[0], [0, 1]], np.eye(2), [None]]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_that_is_none_is_one_line(index: Any) -> None:
    """`found[0, 1]` is of two axes, and no list of positions."""
    with pytest.raises(TypeError) as caught:
        FOUND[index]
    assert re.fullmatch(
        r"index .+: give a position, a slice, or a list of positions or of a bool for each", str(caught.value)
    )


def test_nothing_is_found() -> None:
    assert (len(EMPTY), list(EMPTY), len(FOUND[[]]), len(EMPTY[:5])) == (0, [], 0, 0)
    assert repr(EMPTY) == "Detections(0 in a.jpg, 64 x 48)"
    assert EMPTY.to_dict()["detections"] == []


def test_it_says_what_was_found() -> None:
    assert repr(FOUND) == "Detections(3 in a.jpg, 64 x 48: 2 remote (0.90), 1 cat (0.60))"


def test_copies_are_equal_and_come_without_the_image() -> None:
    again = pickle.loads(pickle.dumps(FOUND))
    assert again == FOUND
    assert (again.image, again.name, again.model) == (None, "a.jpg", "m@1")
    assert not again.boxes.flags.writeable


def test_it_draws_itself(tmp_path: Path) -> None:
    drawn = FOUND.plot()
    assert (drawn.size, drawn == IMAGE, IMAGE.getextrema()) == ((64, 48), False, ((255, 255),) * 3)
    assert Image.open(io.BytesIO(FOUND._repr_png_() or b"")).size == (64, 48)
    FOUND.save(tmp_path / "a.png")
    assert np.array_equal(Image.open(tmp_path / "a.png"), drawn)
    alone = replace(FOUND, image=None)
    assert alone._repr_png_() is None
    assert alone.plot(IMAGE) == drawn
    with pytest.raises(UsageError, match=r"found\.plot\(image\)"):
        alone.plot()


def test_it_becomes_a_record(tmp_path: Path) -> None:
    record = FOUND[:1].to_dict()
    assert {key: record[key] for key in ("schema", "image", "model", "width", "height")} == {
        "schema": "glip/1", "image": "a.jpg", "model": "m@1", "width": 64, "height": 48}  # fmt: skip
    assert record["detections"][0]["box"] == {"xmin": 1.0, "ymin": 2.0, "xmax": 30.0, "ymax": 40.0}
    FOUND.save(tmp_path / "a.JSON")
    assert json.loads((tmp_path / "a.JSON").read_text(encoding="utf-8")) == FOUND.to_dict()


def test_what_cannot_be_saved_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.txt: its suffix names no format; end it in \.jpg, \.png or \.json"):
        FOUND.save(tmp_path / "a.txt")
    (tmp_path / "file").touch()
    for name in ("file/a.jpg", "file/a.json"):
        with pytest.raises(OutputError, match="cannot be written"):
            FOUND.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    FOUND.save(tmp_path / "new" / "a.webp")
    with Image.open(tmp_path / "new" / "a.webp") as image:
        assert (image.size, image.format) == (IMAGE.size, "WEBP")


def test_pandas_and_supervision() -> None:
    frame = FOUND.to_pandas()
    assert list(frame.columns) == ["label", "score", "x1", "y1", "x2", "y2", "label_id"]
    assert (frame.label.tolist(), frame.x2.tolist()) == (FOUND.names, [30, 20, 64])
    boxes = FOUND.to_supervision()
    assert np.array_equal(boxes.xyxy, FOUND.boxes)
    assert (boxes["class_name"].tolist(), boxes.class_id.tolist()) == (FOUND.names, [1, 0, 1])
    assert len(EMPTY.to_pandas()) == len(EMPTY.to_supervision()) == 0
    assert EMPTY.to_pandas().dtypes.equals(frame.dtypes)


@pytest.mark.parametrize(("keywords", "options"), [(DetectKeywords, DetectOptions), (FeatureKeywords, FeatureOptions)])
def test_keywords_are_the_fields_of_the_options(
    keywords: type, options: type[DetectOptions] | type[FeatureOptions]
) -> None:
    """The keywords only say their types again, for type checkers."""
    hints = get_type_hints(options)
    assert get_type_hints(keywords) == {field.name: hints[field.name] for field in fields(options)}


@pytest.mark.parametrize("name", glip_cli.__all__)
def test_public_names(name: str) -> None:
    assert getattr(glip_cli, name)
    with pytest.raises(AttributeError, match="no attribute"):
        _ = glip_cli.nothing
