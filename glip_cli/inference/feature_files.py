"""`Features` as a safetensors file: tensors by name, and strings that say what they are.

    backbone.C3 .. C5, fpn.P3 .. P7, fused.P3 .. P7      [C, h, w], or [C] pooled (glip-nano: P3 .. P5)
    similarity [N, K], logits [N, T], centerness [N]     rows: P3 first, row by row (glip-nano: no centerness)
    boxes [N, 4], centres [N, 2], anchors [N, 4]         always float32, pixels of the original image
    text.encoded, text.fused                             [T, L]

The strings: schema "glip-features/1", image, model, prompt; as JSON labels, tokens, label_tokens, size, resized,
padded, scale, strides and sizes of the levels, which, pool, asked_size, dtype, saved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

from glip_cli.checkpoints.safetensors_io import sorted_header
from glip_cli.errors import OutputError, UsageError
from glip_cli.inference.features import LEVELS, Features, Placement
from glip_cli.outputs.files import atomic_write

SCHEMA = "glip-features/1"
DTYPES = {"float32": torch.float32, "float16": torch.float16}
EXACT = ("boxes", "centres", "anchors")  # float16 has no room for pixels
TEXT = {"text.encoded": "text", "text.fused": "fused_text"}
ROWS = ("similarity", "logits", "boxes", "centerness")
AS_THEY_ARE = ("schema", "image", "model", "prompt")


def tensors_of(features: Features) -> dict[str, Tensor]:
    """Name -> tensor, of what is there."""
    named = {f"{kind}.{level}": x for kind in LEVELS for level, x in getattr(features, kind).items()}
    named |= {name: getattr(features, name) for name in ROWS if getattr(features, name) is not None}
    named |= {name: getattr(features, key) for name, key in TEXT.items() if getattr(features, key) is not None}
    if features.boxes is not None:
        named |= {"centres": features.place.centres, "anchors": features.place.anchors}
    return named


def save(path: Path, features: Features, told: Mapping[str, Any], dtype: str = "float32") -> int:
    """Write one image's features; readers see the whole file or none. Returns its size in bytes.

    Args:
        path: ends in .safetensors.
        features: of the image.
        told: what the file says besides what the features know of themselves: image, model ...
        dtype: "float32" or "float16", of all but places in the image.

    Raises:
        UsageError: a value is too large for float16.
        OutputError: the file cannot be written.
    """
    chosen = {name: x if name in EXACT else x.to(DTYPES[dtype]) for name, x in tensors_of(features).items()}
    for name, tensor in chosen.items():
        if dtype != "float32" and not tensor.isfinite().all():
            raise UsageError(f"{path.name}: {name} has values beyond float16; save float32")
    try:
        # not by safetensors itself, whose files nobody else may read
        data = sorted_header(serialized(chosen, strings({**told, **_described(features)})))
        with atomic_write(path) as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())  # a name that outlives a power cut must not stand for a file that does not
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another --out-dir"
        ) from None
    return len(data)


def read(path: Path) -> Features:
    """What `save` wrote, in float32. Raises UsageError for another kind of file."""
    try:
        with safe_open(path, framework="pt") as file:
            told = dict(file.metadata() or {})
            named = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read as safetensors: {error}") from None
    if told.get("schema") != SCHEMA:
        raise UsageError(f"{path} holds no features: its schema is {told.get('schema')!r}, not {SCHEMA!r}")
    strides = tuple(stride for level, stride in json.loads(told["strides"]).items() if level in LEVELS["fpn"])
    size, resized, padded, scale = (tuple(json.loads(told[key])) for key in ("size", "resized", "padded", "scale"))
    place = Placement(size, resized, padded, scale, strides)
    maps: dict[str, Any] = {kind: {level: named[f"{kind}.{level}"] for level in levels if f"{kind}.{level}" in named}
            for kind, levels in LEVELS.items()}  # fmt: skip
    words: dict[str, Any] = {key: tuple(json.loads(told[key])) for key in ("labels", "tokens")}
    places = tuple(map(tuple, json.loads(told["label_tokens"])))
    rows: dict[str, Any] = {name: named.get(name) for name in ROWS}
    texts: dict[str, Any] = {key: named.get(name) for name, key in TEXT.items()}
    return Features(place, **maps, **rows, **texts, **words, prompt=told["prompt"], label_tokens=places)


def told_by(path: Path) -> dict[str, str] | None:
    """The strings of a file; None where there is none, or only a part of one."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return None


def strings(told: Mapping[str, Any]) -> dict[str, str]:
    """Values as a file holds them."""
    return {key: value if key in AS_THEY_ARE else json.dumps(value, ensure_ascii=False) for key, value in told.items()}


def _described(features: Features) -> dict[str, Any]:
    place = features.place
    every = {level: stride for levels in LEVELS.values() for level, stride in levels.items()}
    strides = {level: stride for level, stride in every.items() if stride in place.strides}
    return {
        "schema": SCHEMA,
        "prompt": features.prompt,
        "labels": features.labels,
        "tokens": features.tokens,
        "label_tokens": features.label_tokens,
        "size": place.size,
        "resized": place.resized,
        "padded": place.padded,
        "scale": place.scale,
        "strides": strides,
        "sizes": {level: place.cells(stride) for level, stride in strides.items()},
    }
