"""The files that the pages speak of, drawn: a block gets those that it names, in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from PIL import Image, ImageOps
from pyarrow import parquet

from glip_cli.data.synthetic import Scene, draw_scene
from glip_cli.evaluation.scenes import coco_of, draw_scenes
from tests.docs import shell
from tests.docs.pages import ROOT

MINI = ROOT / "glip_cli" / "assets" / "glip-mini"
PHOTOGRAPHS = ROOT / "tests" / "photographs"
SEED = 5


class World:
    """Makes each file or folder once, and hands out copies."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def give(self, text: str, folder: Path, page: str = "") -> None:
        """Put into `folder` whatever `text` names, as that page means it."""
        for name in named_in(text, page):
            made = self._made(name, page if name in OWN.get(page, {}) else "")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if made.is_dir():
                shutil.copytree(made, folder / name, dirs_exist_ok=True)
            else:
                shutil.copyfile(made, folder / name)

    def _made(self, name: str, page: str) -> Path:
        path = self._store / Path(page).stem / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            (OWN[page] if page else FILES)[name](path)
        return path


def named_in(text: str, page: str = "") -> list[str]:
    """The entries of FILES, and of that page, that stand in a text as a path or the beginning of one."""
    names = {**FILES, **OWN.get(page, {})}
    return [name for name in names if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w-]|\.\w)", text)]


def _photograph(name: str) -> Callable[[Path], None]:
    return lambda path: shutil.copyfile(ROOT / "docs" / "images" / name, path) and None


def _scene(seed: int) -> Scene:
    return draw_scene(np.random.default_rng((SEED, seed)))


def _photographs(*names: str) -> Callable[[Path], None]:
    """Some of tests/photographs, or all of them."""

    def copy(path: Path) -> None:
        path.mkdir(parents=True)
        for name in names or [file.name for file in PHOTOGRAPHS.glob("*.jpg")]:
            shutil.copyfile(PHOTOGRAPHS / name, path / name)

    return copy


def _large(path: Path) -> None:
    """Eight photographs in one image of 1600 x 800 pixels."""
    image = Image.new("RGB", (1600, 800))
    for i, name in enumerate(["astronaut", "boats", "camera", "cat", "coffee", "dog", "parrot", "sheep"]):
        with Image.open(PHOTOGRAPHS / f"{name}.jpg") as photograph:
            image.paste(ImageOps.fit(photograph.convert("RGB"), (400, 400)), (i % 4 * 400, i // 4 * 400))
    image.save(path, quality=90)


def _clip(path: Path) -> None:
    """A second of a camera that moves along the sheep, 12 frames of 480 x 320 pixels."""
    import av

    with av.open(str(path), "w") as container, Image.open(PHOTOGRAPHS / "sheep.jpg") as photograph:
        wide = photograph.convert("RGB").resize((660, 320))
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 480, 320, "yuv420p"
        for left in range(0, 180, 15):
            container.mux(stream.encode(av.VideoFrame.from_image(wide.crop((left, 0, left + 480, 320)))))
        container.mux(stream.encode())


def _scan(path: Path) -> None:
    """Three photographs as the pages of a TIFF."""
    pages = [Image.open(PHOTOGRAPHS / f"{name}.jpg") for name in ("cat", "coffee", "dog")]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def _album(path: Path) -> None:
    """With a file that is no image."""
    _photographs("astronaut.jpg", "cat.jpg", "dogs.jpg", "sheep.jpg")(path)
    (path / "broken.jpg").write_bytes(b"not an image")


def _photos(path: Path) -> None:
    draw_scenes(path, 8, SEED).unlink()


def _flawed(path: Path) -> None:
    """Annotations with a mistake of every common kind."""
    file = draw_scenes(path, 12, SEED)
    content = json.loads(file.read_bytes())
    used = {row["category_id"] for row in content["annotations"]}
    content["categories"] = [row for row in content["categories"] if row["id"] in used]
    boxes = {row["id"]: row for row in content["annotations"]}
    boxes[4]["bbox"][2] = 400
    boxes[6]["bbox"] = [500, 500, 20, 20]
    boxes[8]["bbox"][3] = 0
    content["images"].append({"id": 99, "file_name": "lost.png", "width": 160, "height": 160})
    file.write_text(json.dumps(content))


def _annotations(folder: str = "") -> Callable[[Path], None]:
    """COCO json of the scenes in photos/, their file names with `folder` in front."""

    def write(path: Path) -> None:
        content = coco_of([_scene(i) for i in range(8)])
        for image in content["images"]:
            image["file_name"] = folder + image["file_name"]
        path.write_text(json.dumps(content))

    return write


def _captions(path: Path) -> None:
    """Of the scenes in photos/: a caption each, and where in it every box is named."""
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "object"}]}
    for i in range(8):
        things = _scene(i).things
        names = [" ".join(thing.pair) for thing in things]
        caption = " and ".join(names)
        content["images"].append(
            {"id": i, "file_name": f"photos/{i:05d}.png", "width": 160, "height": 160, "caption": caption}
        )
        begin = 0
        for name, thing in zip(names, things, strict=True):
            x1, y1, x2, y2 = thing.box
            row = {"id": len(content["annotations"]), "image_id": i, "category_id": 1, "iscrowd": 0}
            row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "tokens_positive": [[begin, begin + len(name)]]}
            content["annotations"].append(row)
            begin += len(name) + len(" and ")
    path.write_text(json.dumps(content))


def _of_photographs(path: Path) -> None:
    """COCO json of tests/photographs, in which COCO's crowds stand for what is difficult."""
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    labels = json.loads((PHOTOGRAPHS / "labels.json").read_bytes())
    names = sorted({one["label"] for things in labels.values() for one in things})
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    for i, (file, things) in enumerate(labels.items()):
        with Image.open(PHOTOGRAPHS / file) as image:
            content["images"].append({"id": i, "file_name": file, "width": image.width, "height": image.height})
        for one in things:
            x1, y1, x2, y2 = one["box"]
            row = {"id": len(content["annotations"]) + 1, "image_id": i, "category_id": names.index(one["label"]) + 1}
            row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            content["annotations"].append(row | {"iscrowd": int(one.get("difficult", False))})
    path.write_text(json.dumps(content))


def _results(path: Path) -> None:
    """Every box of the annotations, found with a middling score."""
    rows = coco_of([_scene(i) for i in range(8)])["annotations"]
    keys = ("image_id", "category_id", "bbox")
    path.write_text(json.dumps([{key: row[key] for key in keys} | {"score": 0.5} for row in rows]))


def _foreign(path: Path) -> None:
    """glip-mini as mmdetection would have saved it."""
    import torch
    from safetensors.torch import load_file

    from tests.checkpoints.support import foreign

    state = load_file(MINI / "glip-mini.safetensors")
    torch.save({"state_dict": foreign({k: v.float() for k, v in state.items()}, "mmdet")}, path)


def _told(path: Path) -> None:
    """A caption for each of photos/."""
    rows = [{"image": f"{i:05d}.png", "caption": "a red square and a star"} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _teaching(path: Path) -> None:
    """Captions of photographs: two of one image, brackets, and one that names nothing."""
    rows = [
        ("coffee.jpg", "A cup with a spoon on a table"),
        ("cat.jpg", "A tabby [cat] rolls on its back in the sun"),
        ("cat.jpg", "a sleepy [kitten], far from any [dog]"),
        ("wine.jpg", "A bottle and a wine glass on a low table behind a drum"),
        ("dog.jpg", "wow"),
    ]
    path.write_text("".join(json.dumps({"image": image, "caption": text}) + "\n" for image, text in rows))


def _questioned(path: Path) -> None:
    """Photographs, and prompts about them: two of one image."""
    _photographs("astronaut.jpg", "cat.jpg")(path)
    _text("image,prompt", "astronaut.jpg,human . animal .", "cat.jpg,animal", 'cat.jpg,"kitten, dog"')(
        path / "prompts.csv"
    )


def _text(*lines: str) -> Callable[[Path], None]:
    return lambda path: path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8") and None


def _by(command: str, *needs: str) -> Callable[[Path], None]:
    """What a command leaves, run beside other entries."""

    def make(path: Path) -> None:
        place = path.with_name(f"for-{path.name}")
        place.mkdir()
        World(place / ".store").give(" ".join(needs), place)
        with chdir(place):
            ran = shell.line(command)
        assert ran.code == 0, ran.printed
        os.rename(place / path.name, path)

    return make


FILES: dict[str, Callable[[Path], None]] = {
    **{f"docs/images/{name}": _photograph(name) for name in ("photo.jpg", "cat.jpg", "sheep.jpg")},
    **{name: _photograph(name) for name in ("photo.jpg", "cat.jpg", "sheep.jpg")},
    "large.jpg": _large,
    "clip.mp4": _clip,
    "scan.tif": _scan,
    "photos": _photos,
    "val2017": _photos,
    "album": _album,
    "tests/photographs": _photographs(),
    "flawed": _flawed,
    "labels.txt": _text("cup", "dining table", "spoon"),
    "words.json": _text('{"red circle": "round red thing"}'),
    "train.json": _annotations(),
    "val.json": _annotations(),
    "boxes.json": _annotations("photos/"),
    "captions.json": _captions,
    "captions.jsonl": _told,
    "instances_val2017.json": _annotations(),
    "photographs.json": _of_photographs,
    "results.json": _results,
    "glip_tiny_mmdet-c24ce662.pth": _foreign,
    "cells": _by("glip finetune --train train.json --images photos --mode head -o cells", "train.json", "photos"),
    "maps": _by("glip features photo.jpg cat.jpg -t 'cat . remote .' -o maps", "photo.jpg", "cat.jpg"),
}
"""What a page may name without making it itself. boxes.json and captions.json need photos/ beside them."""


def _shards(path: Path) -> None:
    path.mkdir(parents=True)
    for number, (name, photograph) in enumerate({"astronaut.jpg": "astronaut.jpg", "pets/cat.jpg": "cat.jpg"}.items()):
        with tarfile.open(path / f"{number:03}.tar", "w") as tar:
            tar.add(PHOTOGRAPHS / photograph, name)


def _table(path: Path) -> None:
    images = [{"bytes": (PHOTOGRAPHS / name).read_bytes(), "path": name} for name in ("dog.jpg", "sheep.jpg")]
    parquet.write_table(pyarrow.table({"image": images, "label": [0, 1]}), path)


OWN: dict[str, dict[str, Callable[[Path], None]]] = {
    "docs/batch.md": {"photographs": _questioned},
    "docs/stores.md": {"shards": _shards, "train.parquet": _table},
    "docs/features.md": {"photographs": _photographs("cat.jpg", "dog.jpg", "dogs.jpg", "sheep.jpg")},
    "docs/annotate.md": {"photographs": _photographs(), "captions.jsonl": _teaching},
}
"""What one page means by a name."""
