"""Records to files: one writer class per `--format`, listed in `WRITERS`. A new format is one more class here.

Writers take records one by one and keep none, so a million images stream through; what they remember is the
names of files and classes. Every file is written under a temporary name and renamed: a reader never sees half
of one. The formats of tools for annotation and training are in `annotation_tools`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from typing_extensions import TypedDict

from glip_cli.errors import UsageError
from glip_cli.outputs.annotation_tools import CvatWriter, LabelStudioWriter, VocWriter
from glip_cli.outputs.coco import CocoResultsWriter, CocoWriter
from glip_cli.outputs.files import AtomicFile, CsvFile, FileNames, Writer, json_bytes, save_json
from glip_cli.outputs.grid import GridWriter
from glip_cli.outputs.html import HtmlWriter
from glip_cli.outputs.images import ReadImage
from glip_cli.outputs.records import SIDES, AnyRecord, ClassNumbers, corners
from glip_cli.outputs.yolo import YoloWriter
from glip_cli.utils.json import parsed

if TYPE_CHECKING:
    import pyarrow


MMDET_CLASSES = "mmdet_classes.json"


class JsonWriter(Writer):
    """`preds/<name>.json`: each record, indented, those of images that failed included."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "preds"

    def add(self, record: AnyRecord, name: str) -> None:
        save_json(self._folder / f"{name}.json", record, indent=2)


class JsonlWriter:
    """`results.jsonl`: one record per line; also those of images that failed."""

    def __init__(self, folder: Path) -> None:
        self._file = AtomicFile(folder / "results.jsonl")

    def add(self, record: AnyRecord, name: str) -> None:
        self._file.write(json_bytes(record) + b"\n")

    def close(self) -> None:
        self._file.close()


class MmdetWriter(Writer):
    """`preds/<name>.json`: `{"labels", "scores", "bboxes": [[x1, y1, x2, y2]]}`, as mmdetection's inferencer does.

    `mmdet_classes.json` lists the labels, whose indices are the numbers in `labels`.
    """

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        """`labels`: of the whole run, where its images have prompts of their own; each counts once then."""
        self._folder = folder
        self._written = mmdet_classes(folder) or []
        self._numbers = ClassNumbers()
        self._numbers.learn([*self._written, *labels] if labels else [])

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        if (len(self._numbers) or len(record["labels"])) > len(self._written):
            self._written = list(self._numbers) or record["labels"]
            save_json(self._folder / MMDET_CLASSES, self._written)
        found = record["detections"]
        content = {
            "labels": [self._numbers[one["label"]] if self._numbers else one["label_id"] for one in found],
            "scores": [detection["score"] for detection in found],
            "bboxes": [list(corners(detection)) for detection in found],
        }
        save_json(self._folder / "preds" / f"{name}.json", content)


def mmdet_classes(folder: Path) -> list[str] | None:
    """The labels of what an earlier run left in preds/; None where there is no list of them."""
    try:
        found = parsed((folder / MMDET_CLASSES).read_bytes())
    except OSError:
        return None
    return found if isinstance(found, list) and all(isinstance(label, str) for label in found) else None


class CsvWriter:
    """`results.csv`: a row per box, `image,label,score,xmin,ymin,xmax,ymax`, corners in pixels.

    RFC 4180: UTF-8, lines end in CRLF, and a cell with a comma, a quotation mark or a line end is quoted. Cells
    are data: a name or label that begins with `=`, `+`, `-` or `@` stays as it is, so open a table of names
    that you do not trust as text, because a spreadsheet would take them for formulas. Images without a box,
    and those that failed, have no row.
    """

    def __init__(self, folder: Path) -> None:
        header = ("image", "label", "score", "xmin", "ymin", "xmax", "ymax")
        self._rows = CsvFile(AtomicFile(folder / "results.csv"), header)

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        for detection in record["detections"]:
            self._rows.add((record["image"], detection["label"], detection["score"], *corners(detection)))

    def close(self) -> None:
        self._rows.close()


ROWS = 50_000  # of a row group, which is kept in memory until it is full
PARQUET_COLUMNS = ["image", "width", "height", "label", "label_id", "score", *SIDES]


class ParquetWriter:
    """`results.parquet`: a row per box, of `PARQUET_COLUMNS`; corners in pixels.

    Images without a box, and those that failed, have no row. Raises UsageError without pyarrow.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise UsageError("--format parquet needs pyarrow: pip install 'glip-cli[parquet]'") from None
        text, whole, number = pyarrow.string(), pyarrow.int32(), pyarrow.float64()
        types = [text, whole, whole, text, whole, *[number] * 5]
        self._schema: pyarrow.Schema = pyarrow.schema(list(zip(PARQUET_COLUMNS, types, strict=True)))
        self._file = AtomicFile(folder / "results.parquet")
        self._writer = parquet.ParquetWriter(self._file.stream, self._schema)
        self._rows: list[dict[str, object]] = []

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        image = {name: record[name] for name in ("image", "width", "height")}
        self._rows += [{**image, **found, **found["box"]} for found in record["detections"]]  # more than its columns
        if len(self._rows) >= ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()
        self._file.close()

    def _flush(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows = []


WRITERS: dict[str, Callable[[Path], Writer]] = {
    "json": JsonWriter,
    "jsonl": JsonlWriter,
    "coco": CocoWriter,
    "coco-results": CocoResultsWriter,
    "mmdet": MmdetWriter,
    "yolo": YoloWriter,
    "voc": VocWriter,
    "labelstudio": LabelStudioWriter,
    "cvat": CvatWriter,
    "csv": CsvWriter,
    "parquet": ParquetWriter,
    "html": HtmlWriter,
}
"""`--format` -> what opens a writer in a folder, which is made where it is missing."""
WITH_THUMBNAILS = frozenset({"html", "grid"})
"""Those that show images; "grid" has a flag of its own."""


class WriterOptions(TypedDict, total=False):
    """What some formats take.

    Attributes:
        with_scores: YOLO's lines have a sixth column.
        labels: of the whole run, where its images have prompts of their own.
        read_image: for thumbnails that are not there yet.
        palette: see `colours.palette_colours`.
    """

    with_scores: bool
    labels: Sequence[str]
    read_image: ReadImage | None
    palette: str


def open_writers(formats: Sequence[str], folder: Path, **options: Unpack[WriterOptions]) -> list[Writer]:
    """One for each format. Raises OSError, OutputError, UsageError."""
    labels = options.get("labels", ())
    read_image, palette = options.get("read_image"), options.get("palette", "bright")
    special: dict[str, Callable[[Path], Writer]] = {
        "yolo": partial(YoloWriter, with_scores=options.get("with_scores", False), labels=labels),
        "mmdet": partial(MmdetWriter, labels=labels),
        "html": partial(HtmlWriter, read_image=read_image, palette=palette),
        "grid": partial(GridWriter, read_image=read_image, palette=palette),
    }
    return [{**WRITERS, **special}[name](folder) for name in formats]


NAMED = frozenset({"json", "mmdet", "yolo", "voc", "html", "grid"})
"""Those that write a file for each image."""


def write_formats(
    records: Iterable[AnyRecord], formats: Sequence[str], folder: Path, names: FileNames | None = None,
    **options: Unpack[WriterOptions],
) -> None:  # fmt: skip
    """Make formats of complete results, which are jsonl already; files of an image are called as `names` says.

    Raises what `open_writers` does.
    """
    names = names or FileNames()
    chosen = [name for name in formats if name != "jsonl"]
    if not chosen:
        return
    writers = open_writers(chosen, folder, **options)
    for record in records:
        name = names.of(record["image"]) if NAMED & set(chosen) else ""
        for writer in writers:
            writer.add(record, name)
    for writer in writers:  # not where something failed: closing gives a file its name
        writer.close()
