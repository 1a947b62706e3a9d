"""What a record says is all that is drawn, printed and written: made from it, detections are the same again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glip_cli.outputs.images import AnnotatedImages
from glip_cli.outputs.records import as_recorded, detections_of, record
from glip_cli.types import Detections
from tests.outputs.examples import FOUND, NOTHING, texts

SIDE = 96


def score() -> st.SearchStrategy[float]:
    return st.floats(0, 1, width=32)


def corner(most: float) -> st.SearchStrategy[float]:
    """Anywhere, and near the middle between two thousandths or two pixels, where rounding decides."""
    edge = st.integers(0, int(2000 * min(most, SIDE))).map(lambda number: float(np.float32(number / 2000)))
    return st.one_of(st.floats(-most, most, width=32), edge)


@st.composite
def detections(draw: st.DrawFn, most: float) -> Detections:
    """Any labels and boxes; of a list of labels or of a caption."""
    labels = tuple(draw(st.lists(texts, min_size=1, max_size=4)))
    count = draw(st.integers(0, 5))
    span = st.integers(0, 8).map(lambda begin: (begin, begin + 3))
    places = tuple(tuple(draw(st.lists(span, min_size=1, max_size=2))) for _ in labels) if draw(st.booleans()) else ()
    return Detections(
        boxes=np.array([[draw(corner(most)) for _ in range(4)] for _ in range(count)], np.float32).reshape(-1, 4),
        scores=np.array(sorted((draw(score()) for _ in range(count)), reverse=True), np.float32),
        label_ids=np.array([draw(st.integers(0, len(labels) - 1)) for _ in range(count)], np.int64),
        labels=labels,
        spans=tuple(spans[0] for spans in places) or tuple(draw(span) for _ in labels),
        text="a prompt of words",
        size=(SIDE, SIDE),
        all_spans=places,
    )


@given(st.one_of(detections(2.0**20), detections(2.0**127)))
@settings(max_examples=100)
def test_a_record_becomes_detections_of_the_same_record(found: Detections) -> None:
    first = record("a.jpg", found, "m@1")
    read = detections_of(json.loads(json.dumps(first)))
    assert record("a.jpg", read, "m@1") == first == read.to_dict()
    assert (read.names, read.text, read.size, read.all_spans) == (found.names, found.text, found.size, found.all_spans)
    assert as_recorded(read) == read


@given(found=detections(2.0 * SIDE))
@settings(max_examples=25)
def test_both_draw_the_same_files(found: Detections, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, read = tmp_path_factory.mktemp("drawn"), detections_of(record("a.jpg", found, "m@1"))
    image = Image.effect_noise((SIDE, SIDE), 60).convert("RGB")
    for name, one in (("first", found), ("second", read)):
        AnnotatedImages(folder / name, drawn=True, crops=True).save(image, one, "a", "a.png")
    first, second = files(folder / "first"), files(folder / "second")
    assert first == second
    assert "vis/a.jpg" in first


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("found", [FOUND, NOTHING], ids=("some", "none"))
def test_what_a_label_without_a_box_has_is_not_known(found: Detections) -> None:
    read = as_recorded(found)
    assert [span for span, label in zip(read.spans, read.labels, strict=True) if label not in read.names] == [(0, 0)]


@pytest.mark.parametrize(
    "damaged",
    [{}, {"detections": None}, {"labels": []}, {"width": None}, {"detections": [{}]}, {"spans": [[], [], []]}],
    ids=str,
)
def test_what_is_no_record_is_refused(damaged: dict[str, object]) -> None:
    whole = dict(record("a.jpg", FOUND, "m@1"))
    with pytest.raises((LookupError, TypeError, ValueError)):
        detections_of({**whole, **damaged} if damaged else {})  # type: ignore[typeddict-item]
