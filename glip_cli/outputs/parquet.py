"""Records to Apache Parquet: a row per box, for data frames and query engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glip_cli.errors import UsageError
from glip_cli.outputs.files import AtomicFile
from glip_cli.outputs.records import AnyRecord, corners

if TYPE_CHECKING:
    import pyarrow

ROWS = 50_000  # of a row group, which is kept in memory until it is full
SIDES = ("xmin", "ymin", "xmax", "ymax")


class ParquetWriter:
    """`results.parquet`: image, width, height, label, label_id, score, xmin, ymin, xmax, ymax; corners in pixels.

    Images without a box, and those that failed, have no row. Raises UsageError without pyarrow.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise UsageError("--format parquet needs pyarrow: pip install 'glip-cli[parquet]'") from None
        text, whole, number = pyarrow.string(), pyarrow.int32(), pyarrow.float64()
        types = {"image": text, "width": whole, "height": whole, "label": text, "label_id": whole, "score": number}
        self._schema: pyarrow.Schema = pyarrow.schema(types | dict.fromkeys(SIDES, number))
        self._file = AtomicFile(folder / "results.parquet")
        self._writer = parquet.ParquetWriter(pyarrow.PythonFile(_Sink(self._file), mode="w"), self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, record: AnyRecord, name: str) -> None:
        if "detections" not in record:
            return
        image = {name: record[name] for name in ("image", "width", "height")}
        self._rows += [
            {**image, "label": found["label"], "label_id": found["label_id"], "score": found["score"],
             **dict(zip(SIDES, corners(found), strict=True))}
            for found in record["detections"]
        ]  # fmt: skip
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


class _Sink:
    """An `AtomicFile` as pyarrow writes to one."""

    closed = False

    def __init__(self, file: AtomicFile) -> None:
        self._file, self._place = file, 0

    def write(self, data: bytes) -> int:
        self._file.write(bytes(data))
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        return self._place

    def flush(self) -> None: ...

    def close(self) -> None: ...
