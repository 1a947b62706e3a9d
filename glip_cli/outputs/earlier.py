"""What earlier runs left in a folder: refused where new results would mix with it, removed with --overwrite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from glip_cli.errors import OutputError, UsageError
from glip_cli.outputs.formats import MMDET_CLASSES, mmdet_classes
from glip_cli.outputs.grid import GRID
from glip_cli.outputs.html import GENERATOR, PAGE
from glip_cli.outputs.images import THUMBNAILS
from glip_cli.outputs.records import SCHEMA
from glip_cli.outputs.yolo import yolo_names
from glip_cli.utils.marks import is_marked

_RECORD = f'"schema": "{SCHEMA}"'
_WHOLE = {
    "coco.json": ("coco", f'"version": "{SCHEMA}"'),
    "coco_results.json": ("coco-results", '[\n{"image_id": '),
    "coco_images.json": ("coco-results", '{"images": [\n{"id": '),
    "results.csv": ("csv", "image,label,score,xmin,"),
    "results.parquet": ("parquet", "PAR1"),
    "labelstudio.json": ("labelstudio", '[\n{"data": {"image": '),
    "labelstudio.xml": ("labelstudio", '<Image name="image" value="$image"'),
    "cvat.xml": ("cvat", "<task>\n      <labels>"),
    "results.jsonl": ("jsonl", _RECORD),
}
"""Files of all images: by which format, and what the first bytes of those of glip hold."""
_EMPTY = (b"", b"[]", b"[\n]")  # a list without images, of whoever wrote it
FOLDERS = ("labels", "Annotations", "preds", THUMBNAILS)
_HEAD_BYTES = 1000


def check_earlier(folder: Path, formats: Sequence[str], labels: Sequence[str], overwrite: bool = False) -> None:
    """Whether results of `labels` can be added to what is there, or take its place with `overwrite`.

    Raises:
        UsageError: files that glip did not write would be replaced, or numbers of classes would mean other labels.
    """
    for name, (form, _) in _WHOLE.items():
        if form in formats and not _is_whole(folder / name):
            raise UsageError(f"{folder / name} was not written by this format of glip; choose another --out-dir")
    classes = mmdet_classes(folder)
    if "yolo" in formats and yolo_names(folder) is None:
        _refuse_foreign(folder / "labels", ".txt", lambda path: False)
    if "voc" in formats:
        _refuse_foreign(folder / "Annotations", ".xml", _is_voc)
    if "html" in formats:
        _refuse_foreign(folder / THUMBNAILS, ".jpg", _is_thumbnail)
        if (page := folder / PAGE).exists() and not _is_page(page):
            raise UsageError(f"{page} was not written by this format of glip; choose another --out-dir")
    if "grid" in formats and (grid := folder / GRID).exists() and not _is_thumbnail(grid):
        raise UsageError(f"{grid} was not written by glip; choose another --out-dir")
    if "json" in formats:
        _refuse_foreign(folder / "preds", ".json", lambda path: _is_json(path) or (overwrite and classes is not None))
    if "mmdet" in formats and classes is None:
        _refuse_foreign(folder / "preds", ".json", lambda path: overwrite and _is_json(path))
    if "mmdet" in formats and not overwrite:
        _compare(classes or [], labels, folder / "preds")


def _compare(before: Sequence[str], labels: Sequence[str], folder: Path) -> None:
    for old, new in zip(before, labels, strict=False):
        if old != new:
            raise UsageError(
                f"{folder} holds results of other labels ({_short(old)}, not {_short(new)}); choose another --out-dir, "
                "or --overwrite"
            )


def _short(label: str) -> str:
    return repr(label if len(label) <= 30 else f"{label[:29]}…")


def _refuse_foreign(folder: Path, suffix: str, is_ours: Callable[[Path], bool]) -> None:
    for path in _files(folder, suffix):
        if not is_ours(path):
            raise UsageError(f"{path} was not written by this format of glip; choose another --out-dir")


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    return (path for path in folder.rglob(f"*{suffix}") if path.is_file() and not path.name.startswith("."))


def _is_json(path: Path) -> bool:
    return _RECORD.encode() in _head(path)


def _is_whole(path: Path) -> bool:
    """Whether a file of all images is one of glip, or is not there."""
    head = _head(path) if path.is_file() else b""
    return head.strip() in _EMPTY or _WHOLE[path.name][1].encode() in head


def _is_voc(path: Path) -> bool:
    return b"<database>glip " in _head(path)


def _is_page(path: Path) -> bool:
    return path.is_file() and GENERATOR.encode() in _head(path)


def _is_thumbnail(path: Path) -> bool:
    return path.is_file() and is_marked(path)


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
    yield folder / "partial.jsonl"
    with suppress(UsageError):  # a data.yaml of somebody else, whose labels stay too
        if yolo_names(folder) is not None:
            yield from _files(folder / "labels", ".txt")
            yield from (folder / "data.yaml", folder / "yolo_images.csv")
    yield from filter(_is_voc, _files(folder / "Annotations", ".xml"))
    yield from filter(_is_page, (folder / PAGE,))
    yield from filter(_is_thumbnail, (folder / GRID, *_files(folder / THUMBNAILS, ".jpg")))
    is_mmdet = mmdet_classes(folder) is not None
    yield from (path for path in _files(folder / "preds", ".json") if is_mmdet or _is_json(path))
    yield folder / MMDET_CLASSES


def _remove_empty(folder: Path) -> None:
    """And the folders in it, deepest first."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
