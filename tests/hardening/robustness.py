"""Whole files of each kind, to be damaged."""

from __future__ import annotations

import io
import json
import pickle
from typing import Any

import numpy as np
import torch
from PIL import Image, features
from safetensors.torch import save

from glip_cli.checkpoints import finetuned
from tests.runs.examples import made_record

CANARY = "GLIP_CANARY"  # set by code of a file that was run

# ------------------------------------------------------------------------------------------------------- images

_OPTIONS = {"TIFF": {"compression": "tiff_lzw"}, "TGA": {"compression": "tga_rle"}, "MPO": {"save_all": True}}
_KINDS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "PCX", "SGI", "DDS", "QOI", "MPO"]
_PARTS = (("WEBP", "webp"), ("JPEG2000", "jpg_2000"), ("AVIF", "avif"))


def _encoded(kind: str) -> bytes:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8))
    stream = io.BytesIO()
    options: dict[str, object] = dict(_OPTIONS.get(kind, {}))
    if kind in ("JPEG", "PNG", "WEBP"):
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    if kind == "MPO":
        options["append_images"] = [image]
    image.save(stream, kind, **options)
    return stream.getvalue()


IMAGES = {}
for _kind in [*_KINDS, *(kind for kind, part in _PARTS if features.check(part))]:
    try:
        IMAGES[_kind] = _encoded(_kind)
    except (KeyError, OSError):  # this Pillow does not write it
        continue

# ---------------------------------------------------------------------------------------------------- checkpoints


class Attack:
    """A pickle that runs code when an ordinary reader loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"import os; os.environ[{CANARY!r}] = '1'",)


def _saved(content: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


_OLD = {"_use_new_zipfile_serialization": False}
_STATE = {"bbox_head.head.x": torch.arange(12.0).reshape(3, 4), "backbone.y": torch.zeros(2, dtype=torch.float16)}
CHECKPOINTS = {
    "zip": _saved({"state_dict": _STATE, "meta": {"epoch": 3, "names": ("a", "b")}}),
    "old": _saved(_STATE, **_OLD),
    "safetensors": save(_STATE, {"format": "pt"}),
    "attack, zip": _saved({"state_dict": _STATE, "hook": Attack()}),
    "attack, old": _saved({"state_dict": _STATE, "hook": Attack()}, **_OLD),
    "attack, bare": pickle.dumps({"x": Attack()}, protocol=2),
}
CARD = {"format": finetuned.FORMAT, "mode": "prompt", "name": "cells", "architecture": "glip-mini",
        "base": "glip-mini@1", "base_sha256": "e150", "source": "glip-mini",
        "labels": ["red", "white"], "training": {"epochs": 3}}  # fmt: skip

# -------------------------------------------------------------------------------------------- annotations, results

COCO = {
    "info": {"year": 2026},
    "images": [
        {"id": 1, "file_name": "1.png", "width": 160, "height": 160, "neg_category_ids": [2],
         "not_exhaustive_category_ids": []},
        {"id": 2, "file_name": "2.png", "width": 160, "height": 160, "neg_category_ids": [],
         "not_exhaustive_category_ids": [1]},
    ],
    "categories": [{"id": 1, "name": "circle", "frequency": "f"}, {"id": 2, "name": "star", "supercategory": "shape"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40], "area": 2000, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [0, 0, 30.5, 30], "area": 915, "iscrowd": 1},
        {"id": 3, "image_id": 2, "category_id": 1, "bbox": [100, 100, 20, 20], "area": 400},
    ],
}  # fmt: skip
GROUNDING = {
    "images": [{"id": 1, "file_name": "1.png", "width": 160, "height": 160, "caption": "a circle and a star"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40], "area": 2000, "iscrowd": 0,
         "tokens_positive": [[2, 8]]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [60, 60, 50, 40], "area": 2000, "iscrowd": 0,
         "tokens_positive": [[13, 14], [15, 19]]},
    ],
}  # fmt: skip
RESULTS = [
    {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40], "score": 0.9},
    {"image_id": 2, "category_id": 2, "bbox": [0, 0, 30, 30], "score": 0.5},
]
_BOX = {"xmin": 10.0, "ymin": 10.0, "xmax": 60.0, "ymax": 50.0}
RECORD = {"schema": "glip/1", "image": "1.png", "width": 160, "height": 160, "model": "m", "prompt": "circle .",
          "labels": ["circle"],
          "detections": [{"label": "circle", "label_id": 0, "score": 0.9, "span": [0, 6], "box": _BOX}]}  # fmt: skip
YAML = b"path: .\ntrain: images\nnc: 2\nnames:\n  0: circle\n  1: 'star'\n"
YOLO = b"0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.2 0.2 0.9\n0 0.1 0.1 0.4 0.1 0.4 0.4\n"
VOC = b"""<annotation><filename>1.png</filename><size><width>160</width><height>160</height><depth>3</depth></size>
<object><name>circle</name><difficult>0</difficult>
<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>60</xmax><ymax>50</ymax></bndbox></object></annotation>"""
CSV = b"filename,width,height,class,xmin,ymin,xmax,ymax\n1.png,160,160,circle,10,10,60,50\n"
THRESHOLDS = b'# measured\n[thresholds]\n"circle" = 0.4  # F1 0.9\n"red star" = 0.55\n'

# -------------------------------------------------------------------------------------------- journals, settings

NAMES = ["a.png", "bad.png", "é图.png", "d.png"]
RECORDS = [made_record(name, [name]) for name in NAMES]
JOURNAL = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in RECORDS)
TOML = b'threshold = 0.4\ntop-k = 5\n[detect]\ntexts = ["cat", "dog"]\njson = true\n[batch]\nformat = ["coco"]\n'
