"""Files of earlier runs in a folder: refused where new results would mix with them, removed with --overwrite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from glip_cli.errors import OutputError, UsageError
from glip_cli.outputs.formats import MMDET_CLASSES, PARQUET_COLUMNS, mmdet_classes
from glip_cli.outputs.grid import GRID
from glip_cli.outputs.html import GENERATOR, PAGE
from glip_cli.outputs.images import THUMBNAILS
from glip_cli.outputs.records import SCHEMA
from glip_cli.outputs.yolo import IMAGES, is_yolo, lists_images, yolo_images, yolo_names
from glip_cli.utils.marks import MARK, is_marked
from glip_cli.utils.text_format import quoted

_RECORD = f'"schema": "{SCHEMA}"'
_WHOLE: dict[str, tuple[str, str | Callable[[Path], bool]]] = {
    "coco.json": ("coco", f'"version": "{SCHEMA}"'),
    "coco_results.json": ("coco-results", '[\n{"image_id": '),
    "coco_images.json": ("coco-results", '{"images": [\n{"id": '),
    "results.csv": ("csv", "image,label,score,xmin,"),
    "results.parquet": ("parquet", lambda path: _columns(path) == PARQUET_COLUMNS),
    "labelstudio.json": ("labelstudio", '[\n{"data": {"image": '),
    "labelstudio.xml": ("labelstudio", '<Image name="image" value="$image"'),
    "cvat.xml": ("cvat", "<task>\n      <labels>"),
    "grounding.json": ("grounding", '{"info": {"description": "made by glip annotate"}'),
    IMAGES: ("yolo", lists_images),
    MMDET_CLASSES: ("mmdet", lambda path: mmdet_classes(path.parent) is not None),
    PAGE: ("html", GENERATOR),
    GRID: ("grid", MARK.decode()),
    "results.jsonl": ("jsonl", _RECORD),
    "partial.jsonl": ("", _RECORD),
}
"""Files of all images: by which format, and how those of glip are known, or what their first bytes hold."""
_EMPTY = (b"", b"[]", b"[\n]")  # a list without images, of whoever wrote it
FOLDERS = ("labels", "Annotations", "preds", THUMBNAILS)
_HEAD_BYTES = 1000
_MOST_IMAGES = 1000  # in vis/ and crops/ that are looked at: runs of glip detect may have left any number


def check_earlier(folder: Path, formats: Sequence[str], labels: Sequence[str], overwrite: bool = False) -> None:
    """Raises UsageError unless results of `labels` can be added to the folder, or replace it with `overwrite`.

    Args:
        formats: those of `WRITERS`, "grid", "grounding"; "vis" and "crops", the images that are saved.

    Raises:
        UsageError: files that glip did not write would be replaced, or numbers of classes would mean other labels.
    """
    _refuse_foreign((folder / name for name, (form, _) in _WHOLE.items() if form in formats), _is_whole)
    if "yolo" in formats and not is_yolo(folder):
        _refuse_foreign(_files(folder / "labels", ".txt"), lambda path: False)
    elif "yolo" in formats and not overwrite:
        yolo_names(folder), yolo_images(folder)  # are read again at the end of the run
    if "voc" in formats:
        _refuse_foreign(_files(folder / "Annotations", ".xml"), _is_voc)
    if "html" in formats:
        _refuse_foreign(_files(folder / THUMBNAILS, ".jpg"), is_marked)
    for name in {"vis", "crops"} & set(formats) if not (folder / "run.json").exists() else ():
        _refuse_foreign(islice(_files(folder / name, ".jpg"), _MOST_IMAGES), is_marked, "glip")
    classes = mmdet_classes(folder)
    is_mmdet = classes is not None
    if "json" in formats:
        _refuse_foreign(_files(folder / "preds", ".json"), lambda path: _is_json(path) or (overwrite and is_mmdet))
    if "mmdet" in formats and not is_mmdet:
        _refuse_foreign(_files(folder / "preds", ".json"), lambda path: overwrite and _is_json(path))
    for old, new in zip(classes or (), labels, strict=False) if "mmdet" in formats and not overwrite else ():
        if old != new:
            raise UsageError(
                f"{folder / 'preds'} holds results of other labels ({quoted(old)}, not {quoted(new)}); choose another "
                "--out-dir, or --overwrite"
            )


def _refuse_foreign(
    paths: Iterable[Path], is_ours: Callable[[Path], bool], writer: str = "this format of glip"
) -> None:
    for path in paths:
        if not is_ours(path):
            raise UsageError(f"{path} was not written by {writer}; choose another --out-dir")


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    return (path for path in folder.rglob(f"*{suffix}") if path.is_file() and not path.name.startswith("."))


def _is_json(path: Path) -> bool:
    return _RECORD.encode() in _head(path)


def _is_whole(path: Path) -> bool:
    """Whether a file of all images is one of glip, or is not there."""
    head = _head(path) if path.is_file() else b""
    if head.strip() in _EMPTY:
        return True
    known = _WHOLE[path.name][1]
    return known.encode() in head if isinstance(known, str) else known(path)


def _columns(path: Path) -> list[str] | None:
    """The columns of a parquet file; None for any other file, or without pyarrow."""
    try:
        from pyarrow import parquet

        return list(parquet.read_schema(path).names)
    except (ImportError, OSError, ValueError):
        return None


def _is_voc(path: Path) -> bool:
    return b"<database>glip " in _head(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def clear_earlier(folder: Path) -> None:
    """Remove what formats of glip wrote there, and nothing else. Raises OutputError."""
    try:
        for path in list(written_by_formats(folder)):
            path.unlink(missing_ok=True)
        for name in FOLDERS:
            _remove_empty(folder / name)
    except OSError as error:
        raise OutputError(f"cannot remove results in {folder}: {error.strerror or error}") from None


def kept_images(folder: Path) -> tuple[str, ...]:
    """`kept_note` of the folder of a run."""
    return kept_note([str(folder / name) for name in ("vis", "crops") if any(_files(folder / name, ""))])


def kept_note(kept: Sequence[str]) -> tuple[str, ...]:
    """A note on images of an earlier run, which may be the input of this one, so that nothing removes them."""
    if not kept:
        return ()
    return (f"{' and '.join(kept)} may keep images of an earlier run; remove those that are not wanted",)


def written_by_formats(folder: Path) -> Iterator[Path]:
    """The files in a folder that formats of glip wrote, as their names and content tell; some may not be there."""
    yield from (folder / name for name in _WHOLE if name != "results.jsonl" and _is_whole(folder / name))
    with suppress(UsageError):  # a data.yaml of somebody else, whose labels stay too
        if is_yolo(folder):
            yield from _files(folder / "labels", ".txt")
            yield folder / "data.yaml"
    yield from filter(_is_voc, _files(folder / "Annotations", ".xml"))
    yield from filter(is_marked, _files(folder / THUMBNAILS, ".jpg"))
    is_mmdet = mmdet_classes(folder) is not None
    yield from (path for path in _files(folder / "preds", ".json") if is_mmdet or _is_json(path))


def _remove_empty(folder: Path) -> None:
    """And the folders in it, deepest first."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
