"""Files of captions -> (image, its captions), row by row.

x.jsonl, x.csv    a row per image, `image` and `caption`, which in json may be a list; of Hugging Face's metadata.jsonl
                  and metadata.csv `file_name` and `text`
x.json            COCO's captions (`images`, and `annotations` with `image_id` and `caption`), or a list of such rows
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from glip_cli.data.rows import Row, image_of, parsed, read_lines, read_rows, renamed
from glip_cli.data.values import read_json, shown, spelling_of
from glip_cli.errors import DataError
from glip_cli.utils.text_format import quoted

CaptionRow = tuple[str, list[str]]
"""An image as the file names it, and its captions as typed."""
WRITE = 'write {"image": "a.jpg", "caption": "..."} on each line'
_ALSO = {"file_name": "image", "text": "caption"}


def caption_rows(path: Path) -> Iterator[CaptionRow]:
    """Raises DataError, in its turn, for what cannot be read; names the place."""
    if path.suffix.lower() == ".json" and not _is_jsonl(path):
        rows = _json_rows(path)
    else:
        rows = read_rows(path, ("image", "caption"), WRITE, _ALSO)
    return ((image_of(row, WRITE), _texts_of(row)) for row in rows)


def _is_jsonl(path: Path) -> bool:
    """Whether the first line is a row by itself."""
    first = parsed(next(filter(str.strip, read_lines(path)), ""))
    return isinstance(first, dict) and "images" not in first


def _texts_of(row: Row) -> list[str]:
    where, values = row
    caption = values.get("caption")
    given = caption if isinstance(caption, list) else [caption]
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        raise DataError(f"{where}: 'caption' is {quoted(caption)}, neither a text nor a list of texts; {WRITE}")
    return texts


def _json_rows(path: Path) -> Iterator[Row]:
    content = read_json(path)
    if not isinstance(content, list):
        yield from _coco_rows(content, path)
        return
    for number, row in enumerate(content, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}, is no JSON object; {WRITE}")
        yield f"{path}, row {number}", renamed(row, _ALSO)


def _coco_rows(content: object, path: Path) -> Iterator[Row]:
    """Images in the order of the file, each with all its captions; also those without one."""
    content = content if isinstance(content, dict) else {}
    images, rows = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(rows, list):
        raise DataError(f"{path}: no captions of COCO, which have 'images' and 'annotations'; {WRITE} of a .jsonl")
    captions: dict[str, list[str]] = {_id_of(row, "id", f"{path}: images[{i}]"): [] for i, row in enumerate(images)}
    for i, row in enumerate(rows):
        where = f"{path}: annotations[{i}]"
        if (found := captions.get(_id_of(row, "image_id", where))) is None:
            raise DataError(f"{where}.image_id is {shown(row['image_id'])}, which no image has; the file is damaged")
        if not isinstance(row.get("caption"), str):
            raise DataError(f"{where} has no caption; give captions_....json, not that of boxes")
        found.append(row["caption"])
    for i, row in enumerate(images):
        where = f"{path}: images[{i}]"
        yield where, {"image": row.get("file_name"), "caption": captions[_id_of(row, "id", where)]}


def _id_of(row: object, key: str, where: str) -> str:
    spelling = spelling_of(row.get(key)) if isinstance(row, Mapping) else None
    if spelling is None:
        raise DataError(f"{where}.{key} is no id; the file is damaged")
    return spelling
