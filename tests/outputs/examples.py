"""Records to write, and what a writer leaves: shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from glip_cli.outputs.files import FileNames, Writer
from glip_cli.outputs.records import AnyRecord, Record, record
from glip_cli.types import Detections

FOUND = Detections(
    boxes=np.array([[1.2, 3.4, 50.1, 60.0], [0.0, 0.1234567, 640.0, 480.0]], np.float32),
    scores=np.array([0.93, 0.3000001], np.float32),
    label_ids=np.array([0, 2]),
    labels=("cat", "remote", "犬"),
    spans=((0, 3), (6, 12), (15, 16)),
    text="cat . remote . 犬 .",
    size=(640, 480),
)
NOTHING = Detections(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("cat",), ((0, 3),), "cat .", (8, 6)
)
HOSTILE = (
    "a, b",
    "\"q\" 's' <b>&amp;</b> ]]>",
    "=SUM(A1:A9)",
    "@x",
    "line\nbreak\r\nand\ttab",
    "bell\x07nul\x00del\x7fnel\x85ls\u2028bom\ufeffend\uffff",
    "犬😀e\u0301",
    " spaces ",
    "yes: # {[%d]} %s \\ \\u0041",
    "$image",
)
"""Labels that some format could break on, or that could break it."""

on_disk = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For tests that write files, which take as long as the machine is busy."""

texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))


def image(
    name: str,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[str] = ("cat",),
    label_ids: Sequence[int] | None = None,
    size: tuple[int, int] = (640, 480),
) -> Record:
    """A record with boxes (x1, y1, x2, y2); without `label_ids` all are of the first label."""
    count = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(count, 4),
        np.linspace(0.9, 0.1, count, dtype=np.float32),
        np.array(label_ids if label_ids is not None else [0] * count, np.int64),
        tuple(labels),
        tuple((0, 1) for _ in labels),
        "text",
        size,
    )
    return record(name, found, "glip-t@c24ce662")


@st.composite
def images(draw: st.DrawFn) -> Record:
    """Any name, labels and boxes that lie in the image; some boxes have no width or height."""
    size = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    labels = draw(st.lists(texts, min_size=1, max_size=4))
    corner = st.tuples(*(st.floats(0, side, width=32) for side in size))
    spread = draw(st.lists(st.tuples(corner, corner), max_size=5))
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for (a, b), (c, d) in spread]
    ids = [draw(st.integers(0, len(labels) - 1)) for _ in boxes]
    return image(draw(texts), boxes, labels, ids, size)


def write(writer: Callable[[Path], Writer], folder: Path, *records: AnyRecord) -> dict[str, str]:
    """What the writer left, as `left_in` gives it."""
    opened, names = writer(folder), FileNames()
    for one in records:
        opened.add(one, names.of(one["image"]))
    opened.close()
    return left_in(folder)


def left_in(folder: Path) -> dict[str, str]:
    """Every file by its path in the folder, also temporary ones; line ends are as they were written."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode("latin-1" if ".parquet" in path.name else "utf-8")
        for path in files
    }


def written_by(writer: Callable[[Path], Writer], *records: AnyRecord) -> dict[str, str]:
    """As `write`, in a folder that is gone afterwards."""
    with TemporaryDirectory() as folder:
        return write(writer, Path(folder), *records)


def corners(record: Record) -> list[list[float]]:
    return [[one["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for one in record["detections"]]
