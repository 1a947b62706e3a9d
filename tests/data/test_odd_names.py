"""Files with backslashes, line ends, bytes that are not UTF-8 in their names: what glip writes is read as theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glip_cli.annotation.grounding import write_grounding
from glip_cli.data.formats import read_dataset
from glip_cli.data.image_files import find_images
from glip_cli.data.sources import expand
from glip_cli.outputs.files import FileNames, json_bytes
from glip_cli.outputs.formats import write_formats
from glip_cli.outputs.records import record
from glip_cli.types import Detections

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no such names")

NAMES = (
    *("b\\s.jpg", "b/s.jpg", "n\nl.jpg", "n\\nl.jpg", "n/nl.jpg", os.fsdecode(b"\xff\xfe.jpg"), "\\udcff\\udcfe.jpg"),
    *("10:00.jpg", "10_00.jpg", "day:1/a.jpg", "A.JPG", "a.jpg", "c.jpg", "c.png", "C:\\x\\e.jpg", "x\\C.jpg"),
)
"""Each is the first or the second of a pair that some rule would make one."""


def found_in(number: int) -> Detections:
    """One box, of its own width."""
    box = np.array([[8, 8, 20 + number, 40]], np.float32)
    return Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64), ("star",), ((0, 4),), "star", (160, 160),
                      (((0, 4),),))  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        path = tmp_path / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (160, 160)).save(path)
    return tmp_path


@pytest.mark.parametrize("form", ["coco", "yolo", "voc", "grounding"])
@pytest.mark.parametrize("is_below", [True, False])
def test_what_is_written_is_read_of_the_same_image(here: Path, form: str, is_below: bool) -> None:
    sources = list(expand(["odd"]))
    expected = {source.location: 12 + number for number, source in enumerate(sources)}
    assert len(expected) == len(NAMES)
    records = [record(source.name, found_in(number), "m") for number, source in enumerate(sources)]
    path, images = here / "out", Path("odd" if is_below or form in ("yolo", "voc") else ".")
    if form == "grounding":
        journal = here / "results.jsonl"
        journal.write_bytes(b"".join(json_bytes(one) + b"\n" for one in records))
        path = here / "grounding.json"
        write_grounding(journal, path)
    else:
        write_formats(records, [form], path, FileNames("odd"))
    dataset = read_dataset(path, images)
    read = {row["image_id"]: round(row["bbox"][2]) for row in dataset.annotations}
    files = find_images(dataset, images)
    assert not files.missing
    assert {os.path.relpath(file): read[number] for number, file in files.paths.items()} == expected
    shown = {source.location: source.name for source in sources}
    names = {os.path.relpath(files.paths[row.id]): row.file_name for row in dataset.images}
    assert all(shown[file].endswith(name) or name.endswith(shown[file]) for file, name in names.items())


@pytest.mark.parametrize("form", ["coco", "voc", "labelme"])
def test_a_backslash_is_a_slash_where_no_file_is_called_so(tmp_path: Path, form: str) -> None:
    """As Windows writes paths."""
    (tmp_path / "new").mkdir()
    Image.new("RGB", (160, 160)).save(tmp_path / "new/new.jpg")
    box = "<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>20</xmax><ymax>40</ymax></bndbox>"
    if form == "coco":
        image = {"id": 1, "file_name": "new\\new.jpg"}
        rows = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 12, 32]}]
        content = json.dumps({"images": [image], "annotations": rows, "categories": [{"id": 1, "name": "star"}]})
        (tmp_path / "x.json").write_text(content)
    elif form == "voc":
        thing = f"<object><name>star</name>{box}</object>"
        (tmp_path / "x.xml").write_text(f"<annotation><filename>new\\new.jpg</filename>{thing}</annotation>")
    else:
        shape = {"label": "star", "points": [[8, 8], [20, 40]], "shape_type": "rectangle"}
        (tmp_path / "x.json").write_text(json.dumps({"shapes": [shape], "imagePath": "C:\\new\\new.jpg"}))
    dataset = read_dataset(tmp_path)
    assert [row.file_name for row in dataset.images] == ["new/new.jpg"]
    assert find_images(dataset).paths == {1: tmp_path / "new/new.jpg"}
