"""Drawn scenes with bracketed captions, as files; the captions of one set in every form that is read."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from glip_cli.data.synthetic import draw_scene

Rows = Sequence[tuple[str, str]]
"""(image, caption), the captions of one image in a row."""

WORDS = "a [red circle] and a [blue star] over the [green moon]"


def draw(folder: Path, count: int, size: int = 96) -> list[str]:
    """Scenes 0.png and on; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw_scene(np.random.default_rng(number), size, size).image.save(folder / f"{number}.png")
    return [f"{number}.png" for number in range(count)]


def captioned(names: Iterable[str]) -> list[tuple[str, str]]:
    """Two captions for each, the second of the scene's own things."""
    rows = []
    for name in names:
        things = draw_scene(np.random.default_rng(int(name.split(".")[0])), 96, 96).things
        own = ", ".join(f"[{thing.colour} {thing.shape}]" for thing in things)
        rows += [(name, WORDS), (name, f"there is {own}")]
    return rows


def write_jsonl(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"image": image, "caption": caption}) + "\n" for image, caption in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def write_csv(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["caption", "more", "image"])
        writer.writerows([caption, "x", image] for image, caption in rows)
    return path


def write_coco(path: Path, rows: Rows) -> Path:
    """As captions_val2017.json: an id for each image, and captions that refer to it."""
    ids = {image: i for i, image in enumerate(dict.fromkeys(image for image, _ in rows), 1)}
    images = [{"id": i, "file_name": image} for image, i in ids.items()]
    annotations = [{"id": i, "image_id": ids[image], "caption": text} for i, (image, text) in enumerate(rows)]
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}))
    return path


def write_list(path: Path, rows: Rows) -> Path:
    path.write_text(json.dumps([{"image": image, "caption": [text]} for image, text in rows]))
    return path


def write_metadata(folder: Path, rows: Rows) -> Path:
    """As Hugging Face's imagefolder has them."""
    folder.mkdir(exist_ok=True)
    lines = (json.dumps({"file_name": image, "text": text}) for image, text in rows)
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def write_folder(path: Path, rows: Rows, images: Path) -> Path:
    """x.txt beside x.png."""
    for image in dict.fromkeys(image for image, _ in rows):
        target = path / image
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((images / image).read_bytes())
        captions = [caption for name, caption in rows if name == image]
        target.with_suffix(".txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
    return path


def write_tar(path: Path, rows: Rows, images: Path, mode: str = "w") -> Path:
    """webdataset: a json with a list of captions before each image."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for image in dict.fromkeys(image for image, _ in rows):
            captions = [caption for name, caption in rows if name == image]
            add(tar, f"{image.split('.')[0]}.json", json.dumps({"caption": captions}).encode())
            add(tar, image, (images / image).read_bytes())
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
